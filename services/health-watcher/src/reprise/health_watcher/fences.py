"""Who has each pod: won by whoever writes its fence first, this node or the restorer that starts it elsewhere.

Asking needs the network, so it has a task of its own: nothing that freezes waits for it.
"""

import asyncio
from dataclasses import dataclass

from reprise.contracts.records import Fence as Record
from reprise.contracts.records import next_number
from reprise.health_watcher.decide import may_thaw
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.ports import PodLookup
from reprise.health_watcher.rules.verdict import Fence
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log
from reprise.runtime.unreadable import UnreadableRecord

LOOK_S = 0.1
AGAIN_S = 0.4


@dataclass(frozen=True)
class Standing:
    """failover_id: of whoever has the pod's fence."""

    fence: Fence
    failover_id: str = ""


@dataclass(frozen=True)
class Asked:
    """A pod whose fence is of interest. runs: a container of it runs, and is not frozen: only its fence counts then."""

    uid: str
    namespace: str
    name: str
    runs: bool


class Fences:
    """changed: set whenever an answer came."""

    def __init__(self, records: Bucket[Record], lookup: PodLookup, lease: Lease, ledger: Ledger) -> None:
        self._records, self._lookup, self._lease, self._ledger = records, lookup, lease, ledger
        self._of: dict[str, Standing] = {}
        self._wanted: tuple[Asked, ...] = ()
        self.changed = asyncio.Event()

    def of(self, pod_uid: str) -> Standing:
        return self._of.get(pod_uid, Standing("unknown"))

    def knows(self, pod_uid: str) -> bool:
        return pod_uid in self._of

    def take(self, pod_uid: str, fence: Fence) -> None:
        """What is known of a pod without asking."""
        self._of[pod_uid] = Standing(fence)

    def unsettle(self, pod_uid: str | None = None) -> None:
        """It has to be asked again; None: all of them."""
        for uid in self._of if pod_uid is None else (pod_uid,):
            if self.of(uid).fence in ("ours", "assumed"):
                self._of[uid] = Standing("unknown")

    def interested(self, pods: tuple[Asked, ...], *, looked: bool = True) -> None:
        """Those that run() asks about, once it is known what runs; the others are forgotten."""
        self._wanted = pods if looked else ()
        known = {pod.uid for pod in pods}
        self._of = {uid: standing for uid, standing in self._of.items() if uid in known}

    async def revision(self, pod_uid: str) -> int:
        """Names the fence as it is; 0: there is none."""
        return await number(self._records, pod_uid)

    async def run(self) -> None:
        while True:
            try:
                await self.ask_all()
            except Exception as error:  # of NATS or the API server: what is frozen stays so
                log().warning("cannot ask whether it may run, trying again", error=repr(error))
                await asyncio.sleep(AGAIN_S)
            slow = any(self.of(pod.uid).fence == "theirs" for pod in self._wanted)
            await asyncio.sleep(AGAIN_S if slow else LOOK_S)

    async def ask_all(self) -> None:
        """Raises what the network does."""
        for pod in self._wanted:
            if self._lease.lapsed() or not self._lease.held:
                return
            held = any(held.pod_uid == pod.uid for held in self._ledger.held.values())
            if self.of(pod.uid).fence in ("unknown", "assumed", "theirs") and not held:
                before = self.of(pod.uid)
                try:
                    self._of[pod.uid] = after = await self._ask(pod)
                except UnreadableRecord:
                    continue  # it stands still until its fence is put right; the others do not wait for that
                if after != before:
                    self.changed.set()

    async def _ask(self, pod: Asked) -> Standing:
        """Write it down if this node has it: from then on no failover of what was judged before can start it elsewhere."""
        name, epoch = key(pod.uid), self._lease.epoch
        wanted = pod.runs or await self._lookup.wanted(pod.namespace, pod.name, pod.uid)
        entry = await self._records.get(name)
        thaw = may_thaw(entry.value if entry else None, wanted=wanted)
        if thaw.may and not pod.runs and (holder := await self._fenced_by(pod)):
            return Standing("theirs", holder)
        if not thaw.may:
            log().warning("it may not run here", pod=pod.name, why=thaw.why)
            return Standing("gone" if thaw.over else "theirs", entry.value.failover_id if entry else "")
        before = entry.value.named(entry.revision) if entry else 0
        mine = Record(pod_uid=pod.uid, holder="node", number=next_number(before))
        written = await (self._records.update(name, mine, entry.revision) if entry else self._records.create(name, mine))
        if written is None:
            raise TimeoutError("somebody else wrote its fence at the same time")
        if not pod.runs and (holder := await self._fenced_by(pod)):
            return Standing("theirs", holder)  # somebody had it before NATS was set back, and told the API server just now
        if self._lease.epoch != epoch or self._lease.lapsed():
            raise TimeoutError("the lease ran out while this node asked")
        return Standing("ours")

    async def _fenced_by(self, pod: Asked) -> str:
        """The failover that has it, as is written on the pod: also where NATS was set back and has forgotten it."""
        holder = await self._lookup.fenced_by(pod.namespace, pod.name, pod.uid)
        if holder:
            log().warning("it may not run here", pod=pod.name, why=f"its pod says that failover {holder} starts it elsewhere")
        return holder


async def number(records: Bucket[Record], pod_uid: str) -> int:
    """Names a pod's fence as it is; 0: there is none."""
    entry = await records.get(key(pod_uid))
    return entry.value.named(entry.revision) if entry else 0
