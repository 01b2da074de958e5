"""Removes what KV keeps of pods that are gone: their failovers' records, fences and standbys, how they were started, what the
next pod of their name was to start from; and of workloads without a pod: newest checkpoints, what is not to be restored, what
a rollback waited for.

Nothing is removed on doubt: one that leads only, everything is read anew, any error ends the look, and what is removed was left
over for an hour, unchanged. So even a listing that was stale once removes nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nats.errors import Error as NatsError
from reprise.contracts.errors import RepriseError
from reprise.contracts.records import Fence, Newest, ResumeRecord, RollbackRecord, StartRecord
from reprise.restorer.decide import LEFT_OVER_S, spent, standing, unneeded
from reprise.restorer.model import Recovery, Saga, Standby
from reprise.restorer.ports import Pods
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, Entry, container_key
from reprise.runtime.telemetry import log

LOOK_S = 600.0
Mark = tuple[str, str, int]
"""A record, by its kind, its key and its revision."""


class LeftOvers:
    """leads: whether this replica is the one that looks."""

    def __init__(self, bus: Bus, pods: Pods, leads: Callable[[], bool]) -> None:
        self._pods, self._leads = pods, leads
        self._sagas, self._fences = Bucket(bus, "failovers", Saga), Bucket(bus, "fences", Fence)
        self._standbys = Bucket(bus, "standby", Standby)
        self._starts, self._resumes = Bucket(bus, "starts", StartRecord), Bucket(bus, "resumes", ResumeRecord)
        self._of_workloads: Mapping[str, Bucket[Any]] = {
            "newest": Bucket(bus, "newest", Newest), "recovery": Bucket(bus, "recoveries", Recovery),
            "wanted": Bucket(bus, "wanted", RollbackRecord),
        }  # fmt: skip
        self._since: dict[Mark, float] = {}

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
        """One look. The order counts: records were read before the pods, so a failover that makes a pod is known before it is."""
        shared = {kind: await bucket.entries() for kind, bucket in self._of_workloads.items()}
        starts, resumes = await self._starts.entries(), await self._resumes.entries()
        standbys = await self._standbys.entries()
        fences, failovers = await self._fences.entries(), await self._sagas.entries()
        if unknown := self._sagas.unreadable:
            raise RepriseError(f"{len(unknown)} failovers cannot be read, and may run", subject=", ".join(sorted(unknown)))
        sagas = [entry.value for entry in failovers]
        pods = await self._pods.everyone()
        kept = {_workload_of(container_key(workload, "-")) for workload in standing(pods, sagas)}
        old: dict[str, list[Entry[Any]]] = {
            kind: [found for found in entries if _workload_of(found.key) not in kept] for kind, entries in shared.items()
        }
        old["fence"] = [found for found in fences if spent(found.value, pods, sagas)]
        old["failover"] = [found for found in failovers if spent(found.value, pods, sagas)]
        old["standby"] = [found for found in standbys if unneeded(found.key.partition(".")[0], pods, sagas)]
        old["start"] = [found for found in starts if unneeded(found.value.pod_uid, pods, sagas)]
        old["resume"] = [found for found in resumes if unneeded(found.value.pod_uid, pods, sagas)]
        now_s = asyncio.get_running_loop().time()
        marks = [(kind, found.key, found.revision) for kind, entries in old.items() for found in entries]
        # What is not left over any more, or was written since, begins anew when it is again.
        self._since = {mark: self._since.get(mark, now_s) for mark in marks}
        buckets: Mapping[str, Bucket[Any]] = {
            "fence": self._fences,
            "failover": self._sagas,
            "standby": self._standbys,
            "start": self._starts,
            "resume": self._resumes,
            **self._of_workloads,
        }
        for mark in marks:
            kind, name, revision = mark
            due = now_s - self._since[mark] >= LEFT_OVER_S
            if due and self._leads() and await buckets[kind].remove(name, revision):
                log().info("record removed: its pod, or its workload's last one, is gone", kind=kind, record=name)


def _workload_of(key: str) -> str:
    """The key of a record of a workload's container without that."""
    return key.rpartition(".")[0]
