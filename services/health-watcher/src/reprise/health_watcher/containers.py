"""The node's containers: what the runtime tells of them, as typed events in one order.

An end is told by the exit file of its monitor within milliseconds (CRI-O), or else by the runtime's event stream (containerd;
CRI-O with `enable_pod_events`); a listing each RELIST_S catches what they missed, and each FALLBACK_S where there is no stream.
One task handles all of it: first a Look, then an Ended for each container that ended, to each listener in the order in which
agent.py names them.
"""

import asyncio
import time
from collections.abc import Sequence

from prometheus_client import Histogram
from reprise.health_watcher.model import Exit
from reprise.health_watcher.ports import ContainerEvent, Ended, Exits, Listener, Look, Runtime
from reprise.runtime.cri import CriError, RunningContainer
from reprise.runtime.telemetry import log

RELIST_S = 1.0
FALLBACK_S = 0.05

NOTICED = Histogram(
    "reprise_death_noticed_seconds",
    "From a container's end to noticing it",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


class Containers:
    """listeners: told in this order."""

    def __init__(self, runtime: Runtime, exits: Exits, listeners: Sequence[Listener]) -> None:
        self._runtime, self._exits, self._listeners = runtime, exits, tuple(listeners)
        self._queue: asyncio.Queue[Exit | None] = asyncio.Queue()
        """None: look again."""
        self._known: dict[str, RunningContainer] = {}
        self._handled: set[str] = set()
        self._seen_at: dict[str, float | None] = {}
        """When each container was first seen; None if it ran before we did."""
        self._ran: set[str] = set()
        self._streaming = False

    def wake(self) -> None:
        """Look again: what is known of one of them changed."""
        self._queue.put_nowait(None)

    async def watch(self) -> None:
        """The exit files."""
        while True:
            try:
                async for ended in self._exits.follow():
                    self._queue.put_nowait(ended)
            except OSError as error:
                log().debug("exit files are not followed", error=str(error))
            await asyncio.sleep(RELIST_S)

    async def follow(self) -> None:
        """The event stream."""
        while True:
            try:
                async for event in self._runtime.events():
                    self._streaming = True
                    if event.kind == "stopped":
                        self._queue.put_nowait(Exit(event.container_id, event.finished_at_ns))
                    elif event.kind == "started":
                        self._queue.put_nowait(None)
            except CriError as error:
                log().debug("container event stream ended", error=str(error))
            self._streaming = False
            await asyncio.sleep(0.2)

    async def sweep(self) -> None:
        """The listing."""
        while True:
            if self._queue.empty():
                self._queue.put_nowait(None)
            await asyncio.sleep(RELIST_S if self._streaming else FALLBACK_S)

    async def run(self) -> None:
        while True:
            asked = await self._queue.get()
            try:
                await (self.look() if asked is None else self._exited(asked))
            except CriError as error:
                log().warning("the container runtime does not answer", error=str(error))
                await asyncio.sleep(FALLBACK_S)

    async def look(self) -> None:
        """Raises CriError."""
        listed = {c.id: c for c in await self._runtime.list_containers()}
        seen_at = time.monotonic() if self._known else None
        self._seen_at = {container_id: self._seen_at.get(container_id, seen_at) for container_id in listed}
        born = frozenset(c.id for c in listed.values() if c.state == "running" and c.id not in self._known)
        self._known = listed
        self._ran = (self._ran & listed.keys()) | {c.id for c in listed.values() if c.state == "running"}
        self._handled &= listed.keys()
        await self._tell(Look(tuple(listed.values()), born))
        for container in listed.values():
            if container.state == "exited":
                await self._ended(container, 0)

    async def _exited(self, told: Exit) -> None:
        """The runtime may not know it yet."""
        if told.container_id not in self._known and told.container_id not in self._handled:
            await self.look()
        if container := self._known.get(told.container_id):
            await self._ended(container, told.finished_at_ns)

    async def _ended(self, container: RunningContainer, finished_at_ns: int) -> None:
        if container.id in self._handled:
            return
        self._handled.add(container.id)
        noticed_after_s = max(0.0, (time.time_ns() - finished_at_ns) / 1e9) if finished_at_ns else 0.0
        if noticed_after_s:
            NOTICED.observe(noticed_after_s)
        seen_at = self._seen_at.get(container.id)
        lived_s = time.monotonic() - seen_at if seen_at is not None else None
        await self._tell(Ended(container, noticed_after_s, lived_s, self._superseded(container), container.id in self._ran))

    async def _tell(self, event: ContainerEvent) -> None:
        for listener in self._listeners:
            try:
                await listener.on_container(event)
            except Exception:  # one that fails keeps nothing from the others
                log().exception("a container's event was not handled", listener=type(listener).__name__)

    def _superseded(self, container: RunningContainer) -> bool:
        same = (container.pod_uid, container.name)
        others = [c for c in self._known.values() if (c.pod_uid, c.name) == same]
        return any(c.created_at_ns > container.created_at_ns for c in others)
