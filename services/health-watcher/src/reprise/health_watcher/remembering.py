"""What an end means for the next starts of its container: checkpoints are rejected, or a cold start is announced. It is written
down before the kubelet can start it again.
"""

import asyncio
from collections.abc import Callable

from reprise.health_watcher.adapters.slots import Slots
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.history import Ends as Known
from reprise.health_watcher.history import History
from reprise.health_watcher.how_it_ended import End
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.next_steps import NextSteps, probes_s
from reprise.health_watcher.rules import on_failure, slow_loops
from reprise.health_watcher.rules.early_exits import after_end, rejecting
from reprise.health_watcher.rules.on_end import SOON_S
from reprise.health_watcher.starts import Starts
from reprise.runtime.kube import EventRecorder
from reprise.runtime.telemetry import log


class Remembering:
    """changed: called once rejected checkpoints may have changed, before anything is removed."""

    def __init__(
        self, history: History, cold: ColdStarts, starts: Starts, slots: Slots, next_steps: NextSteps, hung: Hung,
        recorder: EventRecorder, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._history, self._cold, self._starts, self._slots = history, cold, starts, slots
        self._next_steps, self._hung, self._recorder, self._changed = next_steps, hung, recorder, changed
        self._tasks: set[asyncio.Task[None]] = set()

    def remember(self, end: End, before: Known) -> None:
        """before: the end before this one."""
        target, start = end.subject.target, self._starts.of(end.ended.container.id)
        soon = end.lived_s is not None and end.lived_s < SOON_S and not end.expected
        restored_from = start.checkpoint_id if start and start.outcome == "restored" and not end.expected else ""
        early = after_end(before.early, restored_from, end.lived_s, probes_s(end.pod, target.container))
        slow = self._slow(end, before, restored=bool(restored_from))
        if slow_loops.is_loop(slow):
            early = rejecting(early, restored_from, *self._slots.kept(f"{end.pod.namespace}/{end.pod.uid}", target.container))
        known = Known(container_id=target.container_id, at_s=end.status.finished_at_ns / 1e9,
                      soon_in_a_row=before.soon_in_a_row + 1 if soon else 0, early=early, slow=slow)  # fmt: skip
        self._history.write((target.pod_uid, target.container), known)
        if slow_loops.is_loop(slow) and not (end.ended.superseded or end.pod.deleting):
            self._announce_cold(end, slow_loops.why_cold(slow))
        elif not (end.ended.superseded or end.pod.deleting or end.expected):
            self._end_of_list(end)
        if early.rejected != before.early.rejected:
            log().warning("checkpoints are rejected: what is restored of them ends", pod=target.pod, restored_from=restored_from,
                          rejected=early.rejected, in_a_row=slow.in_a_row)  # fmt: skip
            self._changed()

    def _slow(self, end: End, before: Known, *, restored: bool) -> slow_loops.SlowLoop:
        how = slow_loops.how_it_ended(end.status.exit_code, end.status.reason)
        if how != slow_loops.OOM_KILLED and self._hung.is_hung(end.subject.target.container_id):
            how = ""
        most_s = slow_loops.within_s(end.pod.policy.interval_s)
        return slow_loops.after_end(before.slow, restored=restored, how=how, lived_s=end.lived_s, most_s=most_s)

    def _end_of_list(self, end: End) -> None:
        """What on-failure does not have restored any more starts cold."""
        step, failure = self._next_steps.after(end)
        if (failure.by or end.subject.has_checkpoint) and on_failure.starts_cold(step, failure, end.pod.policy.on_failure):
            self._announce_cold(end, on_failure.why_cold(failure))
            self._changed()

    def _announce_cold(self, end: End, why: str) -> None:
        target = end.subject.target
        self._cold.announce((target.pod_uid, target.container), target.container_id, why)
        message = f"container {target.container} of pod {target.pod} starts without its memory: {why}"
        task = asyncio.create_task(self._recorder.record(end.subject.workload, "Warning", "ColdStart", message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
