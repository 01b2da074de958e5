"""Sees to it that every failover ends, whatever became of the message that declared it.

A message can be lost while its failover is under way: a replica that found another one ahead of it has acknowledged it, and that
one died; NATS was set back; somebody emptied the stream. Behind a failover that nobody runs a process stands still for ever. Its
record outlives all that. So every replica follows the records, and the one that leads runs on what has not ended nor moved
for a while. If it is wrong, and another replica is at work, nothing comes of it: each step is idempotent, and only one of them
records it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from reprise.restorer.model import Saga
from reprise.restorer.saga import SagaRunner
from reprise.runtime.telemetry import log

LOOK_S = 5.0
STILL_S = 60.0
"""Longer than a message takes to come again (bus.py), so that its own handler is mostly first."""
QUIET_S = 600.0
AT_ONCE = 32


@dataclass(frozen=True)
class Open:
    """A record that has not ended. since: when it moved last, or was tried last, as this replica saw it."""

    failover_id: str
    revision: int
    since: float


class Reconciler:
    """attend: runs a failover to its end. leads: whether this replica is the one that acts."""

    def __init__(self, sagas: SagaRunner, attend: Callable[[Saga], Awaitable[None]], leads: Callable[[], bool]) -> None:
        self._sagas, self._attend, self._leads = sagas, attend, leads
        self._open: dict[str, Open] = {}
        self._running: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            while True:
                await asyncio.sleep(LOOK_S)
                for name in self._due() if self._leads() else ():
                    self._running.add(name)
                    group.create_task(self._run(name))

    async def _follow(self) -> None:
        """What waits for its node to be found lost again is nobody's to run."""
        async for change in self._sagas.sagas.watch(QUIET_S):
            saga, before = change.value, self._open.get(change.key)
            if saga is None or saga.ended or saga.step == "wait":
                self._open.pop(change.key, None)
            elif before is None or before.revision != change.revision:
                self._open[change.key] = Open(saga.failover_id, change.revision, asyncio.get_running_loop().time())

    def _due(self) -> list[str]:
        now_s, in_hand = asyncio.get_running_loop().time(), self._sagas.in_hand
        still = {name: each.failover_id for name, each in self._open.items() if now_s - each.since >= STILL_S}
        return [name for name, failover_id in still.items() if name not in self._running and failover_id not in in_hand]

    async def _run(self, name: str) -> None:
        try:
            async with self._slots:
                entry = await self._sagas.sagas.get(name)
                if entry is None or entry.value.ended:  # NATS lost it, or the watch is behind
                    self._open.pop(name, None)
                    return
                log().warning("nobody runs this failover: it is run on", failover=entry.value.failover_id, step=entry.value.step)
                await self._attend(entry.value)
        except Exception as error:
            log().warning("a failover has not ended yet, trying again", record=name, error=repr(error))
        finally:
            self._running.discard(name)
            if name in self._open:
                self._open[name] = replace(self._open[name], since=asyncio.get_running_loop().time())
