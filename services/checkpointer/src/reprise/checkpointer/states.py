"""One checkpoint of a program that hands out its state itself: GET it into a slot, which transfer takes like any other.

Safety (I2, I3): the state of a process that was not given its own back yet does not count: it would take the good one's place.
"""

import asyncio
import re
from typing import Any

from opentelemetry.trace import SpanKind
from reprise.checkpointer.decide import Failure, Skip
from reprise.checkpointer.dumping import Dumped
from reprise.checkpointer.ports import Accesses, Freezer, Slots, Starts
from reprise.contracts.errors import CheckpointError
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import now
from reprise.contracts.state import StateApi
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.stateapi import State, fetch
from reprise.runtime.telemetry import of_target, span

PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,98}[A-Za-z0-9])?")
UNCHANGED = Skip("Unchanged", "the program says that its state is still the one of the last checkpoint")
NOT_YET = Skip("HandingBack", "its state is being handed back to it: it has none of its own yet")


class States:
    """starts: how the node's containers were started. freezer: a planned move's last state ends with a frozen pod."""

    def __init__(self, accesses: Accesses, slots: Slots, starts: Starts, freezer: Freezer) -> None:
        self._accesses, self._slots, self._starts, self._freezer = accesses, slots, starts, freezer
        self._etags: dict[str, tuple[str, str, str]] = {}
        """By pod and container: of which process, its ETag, and the checkpoint that has that state."""

    async def take(self, event: CheckpointDue, pod: ProtectedPod, container: ProtectedContainer) -> Dumped | Failure | Skip:
        """Raises nothing."""
        api = pod.policy.state
        if api is None or not PLAIN.fullmatch(event.checkpoint_id):
            return Failure(
                "StateAccess", "it is not known where its state is", "see the workload's annotations reprise.dev/state-*"
            )
        start = self._starts.read_start(container.container_id)
        if start is not None and start.lacks_state:
            return NOT_YET
        home = f"{pod.namespace}/{pod.uid}/{container.name}"
        try:
            return await self._fetch(event, pod, container, api, home)
        except CheckpointError as error:
            return Failure(error.reason, error.message, error.remedy)
        except OSError as error:
            return Failure("NoSlot", f"its slot cannot be written: {error}",
                           "is the node's disk full? is /var/lib/reprise/slots mounted at REPRISE_SLOTS_DIR?")  # fmt: skip
        finally:
            self._slots.drop(home, event.checkpoint_id)

    async def _fetch(
        self, event: CheckpointDue, pod: ProtectedPod, container: ProtectedContainer, api: StateApi, home: str
    ) -> Dumped | Failure | Skip:
        # Whoever asks for one waits for it by its name.
        etag = self._etag(home, container.container_id) if event.trigger == "interval" else ""
        access = await self._accesses.of(api, pod.namespace, pod.ip)
        with self._slots.begin(home, event.checkpoint_id) as file:
            with span("state", kind=SpanKind.CLIENT, attributes=of_target(event.target)):
                state = await fetch(access, etag, file.write)
            if state is None:
                return UNCHANGED
            held = event.hold and await self._hold(container.container_id)
            told = _slot_json(event, pod, container, api, state)
            await asyncio.to_thread(self._slots.commit, home, event.checkpoint_id, file, told)
        self._etags[home] = (container.container_id, state.etag, event.checkpoint_id)
        return Dumped("", f"{home}/{event.checkpoint_id}", None, held)

    def _etag(self, home: str, container_id: str) -> str:
        """Of what is the newest on this node still: else nobody could give it back."""
        process, etag, checkpoint_id = self._etags.get(home, ("", "", ""))
        return etag if process == container_id and self._slots.live(home) == checkpoint_id else ""

    async def _hold(self, container_id: str) -> bool:
        """At once: what it does from its answer on is not in the state. An error fails the checkpoint."""
        return await asyncio.to_thread(self._freezer.freeze, container_id)


def _slot_json(
    event: CheckpointDue, pod: ProtectedPod, container: ProtectedContainer, api: StateApi, state: State
) -> dict[str, Any]:
    return {
        "version": 1, "kind": "http", "checkpoint_id": event.checkpoint_id, "namespace": pod.namespace, "pod": pod.name,
        "pod_uid": pod.uid, "container": container.name, "container_id": container.container_id, "image": container.image,
        "created_at": now().isoformat(), "size": state.size, "content_type": state.content_type, "etag": state.etag,
        "api": api.model_dump(mode="json"),
    }  # fmt: skip
