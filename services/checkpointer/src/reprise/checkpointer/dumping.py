"""One checkpoint, as the node's engine takes it: asked for by a file, begun by the kubelet, told in a file.

The request is there before the kubelet is called and gone when its answer is: without one the engine takes a checkpoint for
somebody else's, and `resume` lets the process run on. What is held is told as soon as the engine has told it: the runtime
still packs its own archive then (containerd 2.4: 1 s), for which a process that is to be moved need not stand still.
"""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from opentelemetry.trace import SpanKind, StatusCode
from reprise.checkpointer.decide import Failure, Refusal, criu_failure, explain
from reprise.checkpointer.ports import Files, Freezer, Kubelet
from reprise.contracts.events import CheckpointDue
from reprise.runtime.nodefiles import DumpFile, RequestFile, boottime_s
from reprise.runtime.telemetry import log, of_target, span

LOOK_S = 0.02
Answer = str | Refusal | Failure
"""The kubelet's, as ports.Kubelet has it."""


@dataclass(frozen=True)
class Dumped:
    """archive_path: the stub that the container runtime made; empty: none, or one that was not waited for (transfer sweeps it).
    held: the process has not run since, and does not.
    """

    archive_path: str
    slot: str
    pause_s: float | None
    """None: it was not paused."""
    held: bool = False


class Dumping:
    """expires_s: how long the kubelet may take, after which the engine does not heed the request any more."""

    def __init__(self, kubelet: Kubelet, files: Files, freezer: Freezer, expires_s: float) -> None:
        self._kubelet, self._files, self._freezer, self._expires_s = kubelet, files, freezer, expires_s
        self._answering: dict[str, asyncio.Task[None]] = {}
        """Containers that were held before the kubelet had answered."""

    async def take(self, event: CheckpointDue, namespace: str) -> Dumped | Failure:
        """Raises nothing: what goes wrong is a Failure, which names the slot if one was written all the same."""
        target = event.target
        if answering := self._answering.get(target.container_id):
            await asyncio.wait([answering])  # the request that it removes is not to be ours
        home = f"{namespace}/{target.pod_uid}"
        request = RequestFile(
            checkpoint_id=event.checkpoint_id, slots=home, hold=event.hold, expires_at_s=boottime_s() + self._expires_s
        )
        try:
            self._files.write_request(target.container_id, request)
        except (OSError, ValueError) as error:
            return Failure("NoRequest", f"the request to the node's engine cannot be written: {error}",
                           "is the node's /run/reprise/requests mounted at REPRISE_RUN_DIR?")  # fmt: skip
        stood_still = self._freezer.is_frozen(target.container_id)
        asked = asyncio.create_task(self._ask(namespace, event))
        try:
            if event.hold and (early := await self._held(asked, event)):
                return await self._hold(event, "", early)
            answer = await asked
            dump = self._dump(event)
            held = event.hold and dump is not None and dump.held
            if not (stood_still or held or isinstance(answer, Failure)):
                await self._let_go(target.container_id)
            outcome = _read_answer(answer, dump, f"{home}/{target.container}/{event.checkpoint_id}")
            return await self._hold(event, outcome, dump)
        finally:
            self._forget_when_answered(asked, target.container_id)

    def _dump(self, event: CheckpointDue) -> DumpFile | None:
        """What the engine has told of this very checkpoint."""
        dump = self._files.read_dump(event.target.container_id)
        wanted = (event.checkpoint_id, event.target.container_id)
        return dump if dump and (dump.checkpoint_id, dump.container_id) == wanted else None

    async def _held(self, asked: asyncio.Task[Answer], event: CheckpointDue) -> DumpFile | None:
        """Once the engine has told that it is held; None if the kubelet answered before that."""
        while not asked.done():
            dump = self._dump(event)
            if dump and dump.outcome == "ok" and dump.held:
                return dump
            await asyncio.wait([asked], timeout=LOOK_S)
        return None

    def _forget_when_answered(self, asked: asyncio.Task[Answer], container_id: str) -> None:
        if asked.done():
            self._forget(container_id)
            return

        async def answered() -> None:
            try:
                answer = await asked
                if not isinstance(answer, str):
                    log().warning(
                        "the runtime did not pack its archive of what is held; its slot is whole", answer=repr(answer)[:300]
                    )
            finally:
                self._forget(container_id)
                self._answering.pop(container_id, None)

        self._answering[container_id] = asyncio.create_task(answered())

    def _forget(self, container_id: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._files.remove_request(container_id)

    async def _ask(self, namespace: str, event: CheckpointDue) -> Answer:
        with span("kubelet checkpoint", kind=SpanKind.CLIENT, attributes=of_target(event.target)) as current:
            answer = await self._kubelet.checkpoint(namespace, event.target)
            if not isinstance(answer, str):
                current.set_attribute("error.type", answer.reason if isinstance(answer, Failure) else str(answer.status))
                current.set_status(StatusCode.ERROR, answer.message if isinstance(answer, Failure) else answer.body[:200])
            return answer

    async def _hold(self, event: CheckpointDue, outcome: str | Failure, dump: DumpFile | None) -> Dumped | Failure:
        """The engine left the container frozen; its pod is frozen above it, which whoever ends the container cannot thaw."""
        container_id = event.target.container_id
        if isinstance(outcome, Failure) or dump is None:
            if dump and dump.held:
                await self._release(container_id)
            assert isinstance(outcome, Failure)
            return outcome
        dumped = Dumped(outcome, dump.slot, dump.pause_s)
        if not (event.hold and dump.held):
            return dumped
        try:
            held = await asyncio.to_thread(self._freezer.freeze, container_id)
        except OSError as error:
            await self._release(container_id)
            return Failure("CannotHold", f"the pod cannot be frozen: {error}",
                           "is the node's cgroup filesystem mounted at REPRISE_CGROUP_ROOT?",
                           archive_path=outcome, slot=dump.slot)  # fmt: skip
        return Dumped(outcome, dump.slot, dump.pause_s, held)

    async def _let_go(self, container_id: str) -> None:
        """An engine that was killed in the pause leaves the container's own cgroup frozen. Only once the kubelet has answered:
        before, it may still be at work. What stood still before was not frozen by it; the pod's cgroup is the agent's.
        """
        try:
            if await asyncio.to_thread(self._freezer.is_frozen, container_id):
                await asyncio.to_thread(self._freezer.thaw_alone, container_id)
                log().warning("it stood still after its checkpoint: let go on", id=container_id[:12])
        except OSError as error:
            log().error("a container stays frozen", id=container_id[:12], error=str(error))

    async def _release(self, container_id: str) -> None:
        """What is not to be moved any more runs on."""
        try:
            await asyncio.to_thread(self._freezer.thaw, container_id)
        except OSError as error:
            log().error("a container stays frozen", id=container_id[:12], error=str(error))


def _read_answer(answer: Answer, dump: DumpFile | None, slot: str) -> str | Failure:
    """The archive's path if the checkpoint was taken. dump: what the engine told of this one; slot: where it belongs."""
    lies_there = slot if dump and dump.outcome == "ok" and dump.slot == slot else ""
    if isinstance(answer, Failure):
        return replace(answer, slot=lies_there)
    if isinstance(answer, Refusal):
        error = dump.error or None if dump and dump.outcome == "failed" else None
        return replace(explain(answer.status, answer.body, error), slot=lies_there)
    if dump is None or (dump.outcome == "ok" and not lies_there):
        return Failure("EngineMissing", "the container runtime took the checkpoint without Reprise's engine, which wrote no slot",
                       "install the engine on this node (deploy/node)", archive_path=answer)  # fmt: skip
    if dump.outcome == "failed":
        return replace(criu_failure("the engine gave no cause", dump.error), archive_path=answer)
    return answer
