"""One timer heap for every protected container; only the leader emits."""

import asyncio
import heapq
import itertools
import time

from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import after, checkpoint_id
from reprise.contracts.records import Newest
from reprise.runtime.bus import Bus
from reprise.runtime.election import Election
from reprise.runtime.kube import ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.telemetry import about, log, span
from reprise.runtime.unreadable import UnreadableRecord
from reprise.scheduler.decide import Due, Wait, alive_since_s, grid, held_off_s, next_act, paused, remembered
from reprise.scheduler.model import Harm, Slot

DUE = Counter("reprise_checkpoints_due_total", "Checkpoints that came due", ["trigger"])
PROTECTED = Gauge("reprise_protected_containers", "Containers on the timer heap")
RETRY_S = 1.0
MAX_SLEEP_S = 0.5

Key = tuple[str, str]


class Timers:
    """A key is (pod uid, container). A heap entry that is out of date is dropped when it comes up."""

    def __init__(self, bus: Bus, pods: ProtectedPods, election: Election, harms: Bucket[Harm], settle_s: float) -> None:
        self._harms = harms
        self._bus, self._pods, self._election, self._settle_s = bus, pods, election, settle_s
        self._slots, self._newest = Bucket(bus, "schedule", Slot), Bucket(bus, "newest", Newest, instead=Newest(checkpoint_id=""))
        self._known: dict[Key, tuple[Slot | None, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._when: dict[Key, float] = {}
        self._order = itertools.count()
        self._wake = asyncio.Event()
        pods.on_change(self._changed)

    def _changed(self, before: ProtectedPod | None, after: ProtectedPod | None) -> None:
        """Runs in the event loop: look at the pod's containers now."""
        pod = after or before
        if pod is None:
            return
        for container in pod.containers:
            self._push((pod.uid, container.name), 0.0)

    def _push(self, name: Key, delay_s: float) -> None:
        when = time.monotonic() + delay_s
        if name in self._when and self._when[name] <= when and delay_s > 0:
            return
        self._when[name] = when
        heapq.heappush(self._heap, (when, next(self._order), name))
        self._wake.set()

    async def run(self) -> None:
        """Serve the heap. A follower keeps it current and emits nothing."""
        while True:
            self._wake.clear()
            now = time.monotonic()
            while self._heap and self._heap[0][0] <= now:
                when, _, name = heapq.heappop(self._heap)
                if self._when.get(name) == when:
                    del self._when[name]
                    await self._serve(name)
            PROTECTED.set(len(self._when))
            delay_s = min(self._heap[0][0] - time.monotonic(), MAX_SLEEP_S) if self._heap else MAX_SLEEP_S
            try:
                await asyncio.wait_for(self._wake.wait(), max(delay_s, 0.0))
            except TimeoutError:
                continue

    def _find(self, name: Key) -> tuple[ProtectedPod, ProtectedContainer] | None:
        pod = self._pods.pods.get(name[0])
        container = next((c for c in pod.containers if c.name == name[1]), None) if pod else None
        return (pod, container) if pod and container and not pod.deleting else None

    async def _serve(self, name: Key) -> None:
        found = self._find(name)
        if found is None:
            self._known.pop(name, None)
            return
        if not self._election.leading:
            self._known.clear()  # another replica writes: read anew when we lead
            self._push(name, RETRY_S)
            return
        pod, container = found
        try:
            if name not in self._known:
                self._known[name] = await self._last(key(*name))
            last, revision = self._known[name]
            now_s, of = time.time(), grid(*name, pod.policy.interval_s)
            wanted = pod.policy.checkpoint_at
            act = next_act(of, last, now_s, alive_since_s(container), self._settle_s, wanted.timestamp() if wanted else None)
            if isinstance(act, Due) and (wait_s := await self._held_off_s(name, act, pod.policy.interval_s, now_s)):
                self._push(name, max(0.01, wait_s))
            elif isinstance(act, Due):
                newest = await self._newest.get(container_key(pod.workload, container.name))
                named = name_of(pod, container, act, last, newest.value if newest else None)
                await self._emit(pod, container, act, named)
                value = remembered(last, act, *name, pod.policy.interval_s, named)
                await self._remember(name, value, revision)
                self._push(name, max(0.01, of.due_s(act.slot + 1) - time.time()))
            elif isinstance(act, Wait):
                self._push(name, max(0.01, act.until_s - now_s))
        except (NatsError, OSError, TimeoutError) as error:
            log().warning("cannot emit a due checkpoint, trying again", pod=pod.name, error=repr(error))
            self._known.pop(name, None)
            self._push(name, RETRY_S)

    async def _last(self, name: str) -> tuple[Slot | None, int]:
        """And the revision to replace. One that cannot be read counts for nothing."""
        try:
            entry = await self._slots.get(name)
        except UnreadableRecord:
            return None, await self._slots.revision(name)
        return (entry.value, entry.revision) if entry else (None, 0)

    async def _held_off_s(self, name: Key, due: Due, interval_s: float, now_s: float) -> float:
        """How long it is not to be checkpointed, by what came of its last ones; 0: it may be."""
        entry = await self._harms.get(key(*name))
        harm = entry.value if entry else None
        return interval_s if paused(harm) else held_off_s(harm, interval_s, due.trigger, now_s)

    async def _emit(self, pod: ProtectedPod, container: ProtectedContainer, due: Due, name: str) -> None:
        event = CheckpointDue(
            node=pod.node, workload=pod.workload, checkpoint_id=name, target=pod.target(container),
            trigger=due.trigger, due_at=due.due_at, interval_s=pod.policy.interval_s, keep=pod.policy.keep,
        )  # fmt: skip
        with span("checkpoint.due", root=True, attributes=about(event)):
            await self._bus.publish(event, dedup_id=f"due-{name}", timeout_s=2)
        DUE.labels(due.trigger).inc()

    async def _remember(self, name: Key, value: Slot, revision: int) -> None:
        if revision:
            written = await self._slots.update(key(*name), value, revision)
        else:
            written = await self._slots.create(key(*name), value)
        if written is None:
            self._known.pop(name, None)  # another leader wrote: its event has the same id and was stored once
        else:
            self._known[name] = (value, written)


def name_of(pod: ProtectedPod, container: ProtectedContainer, due: Due, last: Slot | None, newest: Newest | None) -> str:
    """The checkpoint's id: it sorts after the last one, of another pod too, though clocks may differ or be set back."""
    before = [known.checkpoint_id for known in (last, newest) if known and known.checkpoint_id]
    return checkpoint_id(pod.uid, container.name, max(due.due_at, *map(after, before)) if before else due.due_at)
