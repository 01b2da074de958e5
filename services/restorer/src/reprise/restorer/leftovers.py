"""Removes what the store and KV keep of pods that are gone: their live references, their failovers' records and fences, what
is remembered of their recoveries, and standbys and newest checkpoints of workloads without a pod.

What a reference showed becomes retention's again, which keeps the last good checkpoint of each. Nothing is removed on doubt:
one that leads only, everything is read anew, any error ends the look, and what is removed was left over at the look before
too, unchanged. So even a listing that was stale once removes nothing.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from nats.errors import Error as NatsError
from reprise.contracts.errors import RepriseError
from reprise.contracts.records import Fence, Newest
from reprise.restorer.decide import LEFT_OVER_S, left_over, spent, standing, unnamed
from reprise.restorer.model import Recovery, Saga, Standby
from reprise.restorer.ports import Pods, References
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, Entry, container_key
from reprise.runtime.telemetry import log

LOOK_S = 600.0


class LeftOvers:
    """leads: whether this replica is the one that looks."""

    def __init__(self, bus: Bus, references: References, pods: Pods, leads: Callable[[], bool]) -> None:
        self._references, self._pods, self._leads = references, pods, leads
        self._sagas, self._standbys = Bucket(bus, "failovers", Saga), Bucket(bus, "standby", Standby)
        self._fences, self._newest = Bucket(bus, "fences", Fence), Bucket(bus, "newest", Newest)
        self._recoveries = Bucket(bus, "recoveries", Recovery)
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
        records, newest = await self._standbys.entries(), await self._newest.entries()
        recoveries = await self._recoveries.entries()
        fences, failovers = await self._fences.entries(), await self._sagas.entries()
        sagas = [entry.value for entry in failovers]
        pods = await self._pods.everyone()
        gone = [found for found in references if left_over(found, pods, sagas)]
        kept = {_workload_of(container_key(workload, "-")) for workload in standing(pods, sagas)}
        forsaken = [found for found in records if _workload_of(found.key) not in kept]
        old_newest = [found for found in newest if _workload_of(found.key) not in kept]
        old_fences = [found for found in fences if spent(found.value, pods, sagas)]
        old_failovers = [found for found in failovers if spent(found.value, pods, sagas)]
        old_recoveries = [found for found in recoveries if unnamed(found.key.rpartition(".")[0], pods, sagas)]
        now_s = asyncio.get_running_loop().time()
        marks = [(r.namespace, r.live_id, r.container, r.version) for r in gone]
        aged = (
            *_marked("standby", forsaken), *_marked("newest", old_newest), *_marked("fence", old_fences),
            *_marked("failover", old_failovers), *_marked("recovery", old_recoveries),
        )  # fmt: skip
        # What is not left over any more, or was written since, begins anew when it is again.
        self._since = {mark: self._since.get(mark, now_s) for mark in (*marks, *aged)}
        for reference, mark in zip(gone, marks, strict=True):
            # An hour has gone by already, by the store's clock.
            if self._since[mark] < now_s and self._leads() and await self._references.withdraw(reference):
                log().info("live reference removed: its pod is gone", namespace=reference.namespace, live_id=reference.live_id)
        buckets: Mapping[str, Bucket[Any]] = {
            "standby": self._standbys, "newest": self._newest, "fence": self._fences, "failover": self._sagas,
            "recovery": self._recoveries,
        }  # fmt: skip
        for kind, name, revision in aged:
            due = now_s - self._since[kind, name, revision] >= LEFT_OVER_S
            if due and self._leads() and await buckets[kind].remove(name, revision):
                log().info("record removed: its pod, or its workload's last one, is gone", kind=kind, record=name)


def _marked(kind: str, entries: Sequence[Entry[Any]]) -> list[tuple[str, str, int]]:
    return [(kind, entry.key, entry.revision) for entry in entries]


def _workload_of(key: str) -> str:
    """The key of a standby's record without its container."""
    return key.rpartition(".")[0]
