"""Whether a pod that is new here goes on from a checkpoint of the one that had its name before: asked before anything of it
starts.

Of StatefulSets' pods and bare ones, which keep their name (docs/adr/0016-same-name.md). A failover writes the record before it
deletes the old pod, and annotates the next one with what it starts from; from then on the annotation counts. Neither is waited
for without end: a pod that no failover comes for starts as any other does (I6).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nats.errors import Error as NatsError
from reprise.contracts.records import ResumeRecord
from reprise.health_watcher.rules.verdict import Next
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log
from reprise.runtime.unreadable import UnreadableRecord

UNKNOWN_S = 5.0
"""While NATS does not answer. Longer than a lease lasts: what was put on a node that had been given up never starts there."""
ASK_S = 2.0
AGAIN_S = 0.1


@dataclass(frozen=True)
class Newcomer:
    """A pod of which nothing has started here."""

    uid: str
    namespace: str
    name: str


class Resumes:
    """clock: seconds of CLOCK_BOOTTIME. changed: set whenever an answer came."""

    def __init__(self, records: Bucket[ResumeRecord], clock: Callable[[], float], changed: asyncio.Event) -> None:
        self._records, self._clock, self._changed = records, clock, changed
        self._newcomers: dict[str, tuple[Newcomer, float]] = {}
        """And since when they are known."""
        self._of: dict[str, tuple[Next, float]] = {}
        """And how long it holds, since then."""
        self._asks = asyncio.Event()

    def of(self, pod_uid: str) -> Next:
        if pod_uid not in self._newcomers:
            return ""
        answer, patience_s = self._of.get(pod_uid, ("unknown", UNKNOWN_S))
        return answer if self._clock() - self._newcomers[pod_uid][1] < patience_s else ""

    def interested(self, pods: tuple[Newcomer, ...]) -> None:
        """Those that run() asks about; the others are forgotten."""
        if any(pod.uid not in self._newcomers for pod in pods):
            self._asks.set()
        self._newcomers = {pod.uid: self._newcomers.get(pod.uid, (pod, self._clock())) for pod in pods}
        self._of = {uid: answer for uid, answer in self._of.items() if uid in self._newcomers}

    async def run(self) -> None:
        while True:
            await self.ask_all()
            # A record that goes lets its pod go too; while there is nobody new, nothing is asked.
            open_ones = any(self.of(uid) for uid in self._newcomers)
            try:
                async with asyncio.timeout(AGAIN_S if open_ones else None):
                    await self._asks.wait()
            except TimeoutError:
                continue
            self._asks.clear()

    async def ask_all(self) -> None:
        for pod, _ in list(self._newcomers.values()):
            if not self.of(pod.uid):
                continue
            try:
                async with asyncio.timeout(ASK_S):
                    entry = await self._records.get(key(pod.namespace, pod.name))
            except UnreadableRecord:
                continue  # as if nobody answered; the others do not wait for that
            except (NatsError, OSError, TimeoutError) as error:
                log().warning("cannot ask whether a new pod is to be restored", pod=pod.name, error=repr(error))
                return
            record = entry.value if entry and entry.value.pod_uid != pod.uid else None
            answer: tuple[Next, float] = ("expected", record.wait_s) if record else ("", 0.0)
            if pod.uid in self._newcomers and self._of.get(pod.uid) != answer:
                self._of[pod.uid] = answer
                self._changed.set()
