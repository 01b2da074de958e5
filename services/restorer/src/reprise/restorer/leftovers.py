"""Removes what the store and KV keep of pods that are gone: their live references, and standbys of workloads without a pod.

What a reference showed becomes retention's again, which keeps the last good checkpoint of each. Nothing is removed on doubt:
one that leads only, everything is read anew, any error ends the look, and what is removed was left over at the look before
too, unchanged. So even a listing that was stale once removes nothing.
"""

import asyncio
from collections.abc import Callable, Hashable

from nats.errors import Error as NatsError
from reprise.contracts.errors import RepriseError
from reprise.restorer.decide import LEFT_OVER_S, left_over, standing
from reprise.restorer.model import Saga, Standby
from reprise.restorer.ports import Pods, References, standby_key
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket
from reprise.runtime.telemetry import log

LOOK_S = 600.0


class LeftOvers:
    """leads: whether this replica is the one that looks."""

    def __init__(self, bus: Bus, references: References, pods: Pods, leads: Callable[[], bool]) -> None:
        self._references, self._pods, self._leads = references, pods, leads
        self._sagas, self._standbys = Bucket(bus, "failovers", Saga), Bucket(bus, "standby", Standby)
        self._since: dict[Hashable, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._leads():
                self._since.clear()
                continue
            try:
                await self.look()
            except (RepriseError, NatsError, OSError, TimeoutError, ValueError) as error:
                self._since.clear()
                log().warning("not known what is left over: nothing is removed", error=repr(error))

    async def look(self) -> None:
        """One look. The order counts: references, then failovers, then pods (decide.left_over)."""
        references = await self._references.idle()
        records = await self._standbys.entries()
        sagas = [entry.value for entry in await self._sagas.entries()]
        pods = await self._pods.everyone()
        gone = [found for found in references if left_over(found, pods, sagas)]
        kept = {_workload_of(standby_key(workload, "-")) for workload in standing(pods, sagas)}
        forsaken = [found for found in records if _workload_of(found.key) not in kept]
        now_s = asyncio.get_running_loop().time()
        marks = [(r.namespace, r.live_id, r.container, r.version) for r in gone]
        names = [(record.key, record.revision) for record in forsaken]
        # What is not left over any more, or was written since, begins anew when it is again.
        self._since = {mark: self._since.get(mark, now_s) for mark in (*marks, *names)}
        for reference, mark in zip(gone, marks, strict=True):
            # An hour has gone by already, by the store's clock.
            if self._since[mark] < now_s and self._leads() and await self._references.withdraw(reference):
                log().info("live reference removed: its pod is gone", namespace=reference.namespace, live_id=reference.live_id)
        for record, name in zip(forsaken, names, strict=True):
            due = now_s - self._since[name] >= LEFT_OVER_S
            if due and self._leads() and await self._standbys.remove(record.key, record.revision):
                log().info("standby forgotten: its workload has no pod", standby=record.key)


def _workload_of(key: str) -> str:
    """The key of a standby's record without its container."""
    return key.rpartition(".")[0]
