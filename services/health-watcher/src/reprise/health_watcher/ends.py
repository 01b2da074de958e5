"""What is done about protected containers that ended: all that is known of it is read, then the dead container is removed if the
kubelet would back off because of it, and meanwhile how it ended is told and its failover declared.

The kubelet looks each second. If it finds the dead one before that is removed, it backs off, and nothing wakes it sooner: nothing
slow comes before the removal, and what is told does not wait for its answer.

An agent that just started finds what ended while it was away, and what ended long ago: the first must not be missed, also if the
API server does not answer yet; the second was told then.
"""

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from reprise.contracts.events import ContainerEnded
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.declarations import Declarations
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.history import Ends as Known
from reprise.health_watcher.history import History
from reprise.health_watcher.how_it_ended import End, HowItEnded
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.leaving import Leaving
from reprise.health_watcher.ports import ContainerEvent, Ended
from reprise.health_watcher.remembering import Remembering
from reprise.health_watcher.removals import Removals
from reprise.health_watcher.rules.on_end import Death, OnEnd, is_final, on_end
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.telemetry import log


class Ends:
    """Of this node."""

    def __init__(
        self, pods: ProtectedPods, how: HowItEnded, history: History, remembering: Remembering, removals: Removals,
        leaving: Leaving, declarations: Declarations, hung: Hung, fences: Fences, announcer: Announcer, recorder: EventRecorder,
    ) -> None:  # fmt: skip
        self._pods, self._how, self._history, self._remembering, self._removals = pods, how, history, remembering, removals
        self._leaving, self._declarations, self._hung, self._fences = leaving, declarations, hung, fences
        self._announcer, self._recorder = announcer, recorder
        self._later: list[Ended] = []
        """What ended before this node's pods were known."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._expected: set[str] = set()

    def expect(self, container_id: str) -> None:
        """It is ended here, to be restored: that is no crash."""
        self._expected.add(container_id)

    async def on_container(self, event: ContainerEvent) -> None:
        """Asking the runtime takes its time: each end has a task."""
        if isinstance(event, Ended):
            self._later.append(event)
        if self._pods.synced:
            waiting, self._later = self._later, []
            for ended in waiting:
                self._begin(self.handle(ended))

    async def handle(self, ended: Ended) -> None:
        container = ended.container
        pod = self._pods.pods.get(container.pod_uid)
        if pod is None or all(c.name != container.name for c in pod.containers):
            return
        status = await self._how.status(container.id)
        if status.finished_at_ns:
            self._hung.ended(container.id, time.time() - status.finished_at_ns / 1e9)
        subject = self._declarations.subject(pod, container.name, container.id)
        end = End(ended, pod, subject, status, expected=container.id in self._expected)
        before = self._history.of((container.pod_uid, container.name))
        news = before.container_id != container.id and (
            not ended.superseded or ended.witnessed or 0 < before.at_s < status.finished_at_ns / 1e9
        )
        if news:
            self._remembering.remember(end, before)
        verdict = self._judge(end, before, told=not news)
        leaves = self._leaving.is_due(end, declare=news and verdict.declare and not ended.superseded)
        tail = await self._how.tail(status.log_path) if news else ""
        removal = self._begin(self._removals.remove(container, verdict))
        await asyncio.sleep(0)  # it is asked for now
        if news:
            self._tell(end, tail)
        if leaves:
            self._begin(self._leaving.leave(end))
        elif verdict.declare:
            self._declarations.declare_end(end)
        self._expected.discard(container.id)
        await removal

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _judge(self, end: End, before: Known, *, told: bool) -> OnEnd:
        target = end.subject.target
        known = self._history.of((target.pod_uid, target.container))
        since = (
            end.status.finished_at_ns / 1e9 - before.at_s if before.at_s and before.container_id != target.container_id else None
        )
        verdict = on_end(
            Death(
                restart_policy=end.pod.restart_policy,
                exit_code=end.status.exit_code,
                pod_deleting=end.pod.deleting,
                superseded=end.ended.superseded,
                told=told,
                expected=end.expected,
                unnoticed=end.status.state == "running",
                fenced=self._fences.of(target.pod_uid).fence in ("theirs", "gone"),
                since_last_end_s=since,
                soon_in_a_row=known.soon_in_a_row,
            )
        )
        log().info("container ended", pod=target.pod, container=target.container, id=target.container_id[:12],
                   exit_code=end.status.exit_code, reason=end.status.reason, why=verdict.why,
                   noticed_after_ms=round(end.ended.noticed_after_s * 1000))  # fmt: skip
        return verdict

    def _tell(self, end: End, tail: str) -> None:
        """How it ended."""
        target, status = end.subject.target, end.status
        event = ContainerEnded(
            node=target.node, workload=end.subject.workload, target=target, exit_code=status.exit_code,
            reason=status.reason or ("Completed" if status.exit_code == 0 else "Error"),
            ended_at=datetime.fromtimestamp(status.finished_at_ns / 1e9, UTC), log_tail=tail,
            final=is_final(end.pod.restart_policy, status.exit_code),
        )  # fmt: skip
        self._announcer.announce(event, f"ended-{target.container_id}")
        if not end.pod.deleting and not end.expected:
            kind = "Normal" if event.final and status.exit_code == 0 else "Warning"
            last = f"; its log ends: {tail[-200:]}" if tail else ""
            message = f"container {target.container} of pod {target.pod} ended with {status.exit_code} ({event.reason}){last}"
            self._begin(self._recorder.record(end.subject.workload, kind, "ContainerEnded", message))
