"""What is done about protected containers that ended: all that is known of it is read, then the dead container is removed if the
kubelet would back off because of it, and meanwhile how it ended is told and its failover declared.

The kubelet looks each second. If it finds the dead one before that is removed, it backs off, and nothing wakes it sooner: nothing
slow comes before the removal, and what is told does not wait for its answer.

An agent that just started finds what ended while it was away, and what ended long ago: the first must not be missed, also if the
API server does not answer yet; the second was told then.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from prometheus_client import Counter
from reprise.contracts.events import Cause, ContainerEnded, FailoverDeclared
from reprise.contracts.model import ELSEWHERE, Target, elsewhere_id, failover_id
from reprise.health_watcher.adapters.slots import Slots
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.decide import cause_of_death
from reprise.health_watcher.elsewhere import Elsewhere
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.history import Ends as Known
from reprise.health_watcher.history import History
from reprise.health_watcher.model import Failing, Name, Subject
from reprise.health_watcher.ports import ContainerEvent, Ended, Logs, Runtime
from reprise.health_watcher.rules import on_failure, slow_loops
from reprise.health_watcher.rules.early_exits import after_end, early_s, rejecting
from reprise.health_watcher.rules.on_end import SOON_S, Death, OnEnd, is_final, on_end
from reprise.health_watcher.rules.origin import FAILOVER
from reprise.health_watcher.starts import Starts
from reprise.runtime.cri import CriError, RunningContainer, Status
from reprise.runtime.kube import EventRecorder, ProtectedPod, ProtectedPods
from reprise.runtime.telemetry import about, log, span

DEATHS = Counter("reprise_container_deaths_total", "Protected containers that ended", ["has_checkpoint"])
KNOWN_S, LOOK_S = 2.0, 0.02
"""For so long the runtime is asked how it ended: an exit file tells before the runtime knows."""
LOG_LOOK_S, LOG_SAME, LOG_LOOKS = 0.05, 2, 10
"""A log's end is read again until it was the same so often; not more often than so."""
SIGKILL_CODE = 137


@dataclass(frozen=True)
class End:
    """One that ended, with all that is known of it."""

    ended: Ended
    pod: ProtectedPod
    subject: Subject
    status: Status
    lived_s: float | None


class Ends:
    """changed: called once rejected checkpoints may have changed, before anything is removed. start_cold: the next instance of a
    container, in place of this one, and why.
    """

    def __init__(
        self, runtime: Runtime, pods: ProtectedPods, announcer: Announcer, recorder: EventRecorder, logs: Logs, starts: Starts,
        slots: Slots, history: History, fences: Fences, elsewhere: Elsewhere, start_cold: Callable[[Name, str, str], None],
        changed: Callable[[], None], clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._runtime, self._pods, self._announcer, self._recorder, self._logs = runtime, pods, announcer, recorder, logs
        self._starts, self._slots, self._history, self._fences = starts, slots, history, fences
        self._elsewhere, self._start_cold, self._changed, self._clock = elsewhere, start_cold, changed, clock
        self._later: list[Ended] = []
        """What ended before this node's pods were known."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._expected: set[str] = set()
        self._leaving: set[str] = set()
        """Containers that are being ended because they hang, and then go elsewhere."""
        self.hanging: dict[str, str] = {}
        """Containers that are being ended because they hang: id to what was seen."""
        self.failing: dict[str, Failing] = {}
        """By the container's id."""

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
        status = await self._status(container.id)
        subject = self.subject(pod, container.name, container.id)
        end = End(ended, pod, subject, status, self._lived_s(ended, status))
        name = (container.pod_uid, container.name)
        before = self._history.of(name)
        news = before.container_id != container.id and (
            not ended.superseded or ended.witnessed or 0 < before.at_s < status.finished_at_ns / 1e9
        )
        if news:
            self._remember(end, before)
        verdict = self._judge(end, before, told=not news)
        leaves = self._leaves(end, declare=news and verdict.declare and not ended.superseded)
        tail = await self._tail(status.log_path) if news else ""
        removal = self._begin(self._remove(container, verdict))
        await asyncio.sleep(0)  # it is asked for now
        if news:
            self._tell(end, tail)
        if leaves:
            self._begin(self._leave(end))
        elif verdict.declare:
            self._declare(end)
        self._expected.discard(container.id)
        await removal

    async def _tail(self, path: str) -> str:
        """Once it stays as it is: the runtime writes what the process said last a little after it has told of the end."""
        tail, same = await asyncio.to_thread(self._logs.tail, path), 0
        for _ in range(LOG_LOOKS):
            await asyncio.sleep(LOG_LOOK_S)
            before, tail = tail, await asyncio.to_thread(self._logs.tail, path)
            same = same + 1 if tail == before else 0
            if same == LOG_SAME:
                break
        return tail

    def hangs_and_leaves(self, pod: ProtectedPod, subject: Subject) -> bool:
        """Whether what hangs goes elsewhere: then it is held back, and declared once it has ended."""
        target, start = subject.target, self._starts.of(subject.target.container_id)
        lived_s = max(0.0, self._clock() - start.at_s) if start and start.at_s else None
        step, _ = self._next_step(pod, target, lived_s, by_itself=True)
        if step != "move" or not subject.has_checkpoint:
            return False
        self._leaving.add(target.container_id)
        self._elsewhere.hold_back(target)
        return True

    def _leaves(self, end: End, *, declare: bool) -> bool:
        """Whether it goes elsewhere: then nothing is started in its place."""
        target, leaving = end.subject.target, end.subject.target.container_id in self._leaving
        self._leaving.discard(target.container_id)
        step, failure = self._step_after(end)
        leaves = declare and (leaving or (step == "move" and bool(failure.by or end.subject.has_checkpoint)))
        if leaves and not leaving:
            self._elsewhere.hold_back(target)
        elif leaving and not leaves:
            self._elsewhere.let_go(target)
        return leaves

    def _step_after(self, end: End) -> tuple[on_failure.Step, on_failure.Failure]:
        name = end.subject.target.container_id
        by_itself = name not in self._expected and (
            self._hung(name) or bool(slow_loops.how_it_ended(end.status.exit_code, end.status.reason))
        )
        return self._next_step(end.pod, end.subject.target, end.lived_s, by_itself=by_itself)

    def _next_step(
        self, pod: ProtectedPod, target: Target, lived_s: float | None, *, by_itself: bool
    ) -> tuple[on_failure.Step, on_failure.Failure]:
        start, everyone = self._starts.of(target.container_id), self._pods.everything
        moved = target.pod_uid in everyone and everyone[target.pod_uid].annotations.get(FAILOVER, "").startswith(ELSEWHERE)
        by = on_failure.brought_back(start.outcome, frozen=start.frozen, moved=moved) if start else ""
        soon_s = on_failure.soon_s(by, self._early_s(pod, target.container), pod.policy.interval_s)
        failure = on_failure.Failure(by, by_itself and lived_s is not None and lived_s < soon_s, moved)
        return on_failure.next_step(pod.policy.on_failure, failure), failure

    async def _leave(self, end: End) -> None:
        """Declared as one that goes elsewhere; as any other if that cannot be."""
        subject, order = end.subject, end.pod.policy.on_failure
        target = subject.target
        if why := on_failure.why_not_in_place(order):
            self._start_cold((target.pod_uid, target.container), target.container_id, why)
        hung = self._hung(target.container_id)
        failing = self.failing.get(target.container_id)
        noticed_s = time.monotonic() - failing.since_s if failing and hung else end.ended.noticed_after_s
        detail = f"it {'hung' if hung else f'ended with {end.status.exit_code}'}: reprise.dev/on-failure is {','.join(order)}"

        def event(revision: int) -> FailoverDeclared:
            plain = self._event(subject, "hang" if hung else "crash", detail, noticed_s, end.lived_s)
            changed = {"failover_id": elsewhere_id(target), "elsewhere": True, "fence_revision": revision}
            return plain.model_copy(update=changed)

        if await self._elsewhere.declare(target, event):
            self.hanging.pop(target.container_id, None)
            self.failing.pop(target.container_id, None)
            DEATHS.labels("true").inc()
            log().warning("it goes to another node", pod=target.pod, container=target.container, why=detail)
        elif self.hanging.pop(target.container_id, None) is not None:
            self.declare(subject, "hang", detail, noticed_s, end.lived_s)
        else:
            self._declare(end)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def subject(self, pod: ProtectedPod, container: str, container_id: str) -> Subject:
        target = pod.target(container).model_copy(update={"container_id": container_id})
        has_checkpoint = bool(self._slots.kept(f"{pod.namespace}/{pod.uid}", container))
        return Subject(pod.workload, target, has_checkpoint)

    async def _status(self, container_id: str) -> Status:
        """As soon as the runtime knows that it has ended."""
        for _ in range(round(KNOWN_S / LOOK_S)):
            try:
                found = await self._runtime.status(container_id)
            except CriError as error:
                log().debug("it is not known how it ended", id=container_id[:12], error=str(error))
                break
            if found.state == "exited":
                return found
            await asyncio.sleep(LOOK_S)
        return Status("unknown", SIGKILL_CODE, "Unknown", 0, time.time_ns(), "")

    @staticmethod
    def _lived_s(ended: Ended, status: Status) -> float | None:
        if ended.lived_s is not None:
            return ended.lived_s
        return max(0.0, (status.finished_at_ns - status.started_at_ns) / 1e9) if status.started_at_ns else None

    def _remember(self, end: End, before: Known) -> None:
        """Early exits too, before the kubelet can start it again."""
        target, start = end.subject.target, self._starts.of(end.ended.container.id)
        expected = target.container_id in self._expected
        soon = end.lived_s is not None and end.lived_s < SOON_S and not expected
        restored_from = start.checkpoint_id if start and start.outcome == "restored" and not expected else ""
        early = after_end(before.early, restored_from, end.lived_s, self._early_s(end.pod, target.container))
        slow = self._slow(end, before, restored=bool(restored_from))
        if slow_loops.is_loop(slow):
            early = rejecting(early, restored_from, *self._slots.kept(f"{end.pod.namespace}/{end.pod.uid}", target.container))
        known = Known(container_id=target.container_id, at_s=end.status.finished_at_ns / 1e9,
                      soon_in_a_row=before.soon_in_a_row + 1 if soon else 0, early=early, slow=slow)  # fmt: skip
        name = (target.pod_uid, target.container)
        self._history.write(name, known)
        if slow_loops.is_loop(slow) and not (end.ended.superseded or end.pod.deleting):
            self._announce_cold(end, slow_loops.why_cold(slow))
        elif not (end.ended.superseded or end.pod.deleting or expected):
            self._end_of_list(end)
        if early.rejected != before.early.rejected:
            log().warning("checkpoints are rejected: what is restored of them ends", pod=target.pod, restored_from=restored_from,
                          rejected=early.rejected, in_a_row=slow.in_a_row)  # fmt: skip
            self._changed()

    def _end_of_list(self, end: End) -> None:
        """What on-failure does not have restored any more starts cold."""
        step, failure = self._step_after(end)
        if (failure.by or end.subject.has_checkpoint) and on_failure.starts_cold(step, failure, end.pod.policy.on_failure):
            self._announce_cold(end, on_failure.why_cold(failure))
            self._changed()

    def _announce_cold(self, end: End, why: str) -> None:
        target = end.subject.target
        self._start_cold((target.pod_uid, target.container), target.container_id, why)
        message = f"container {target.container} of pod {target.pod} starts without its memory: {why}"
        self._begin(self._recorder.record(end.subject.workload, "Warning", "ColdStart", message))

    def _slow(self, end: End, before: Known, *, restored: bool) -> slow_loops.SlowLoop:
        how = slow_loops.how_it_ended(end.status.exit_code, end.status.reason)
        if how != slow_loops.OOM_KILLED and self._hung(end.subject.target.container_id):
            how = ""
        most_s = slow_loops.within_s(end.pod.policy.interval_s)
        return slow_loops.after_end(before.slow, restored=restored, how=how, lived_s=end.lived_s, most_s=most_s)

    def _hung(self, container_id: str) -> bool:
        """Whether it was ended for its livenessProbe: by us, or by its kubelet, at whose SIGTERM it may exit with any code."""
        failing = self.failing.get(container_id)
        return container_id in self.hanging or (
            failing is not None and cause_of_death(failing.failures, failing.threshold) == "hang"
        )

    @staticmethod
    def _early_s(pod: ProtectedPod, name: str) -> float:
        container = next(c for c in pod.containers if c.name == name)
        return early_s(container.liveness, getattr(container, "startup", None))

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
        if not end.pod.deleting and target.container_id not in self._expected:
            kind = "Normal" if event.final and status.exit_code == 0 else "Warning"
            last = f"; its log ends: {tail[-200:]}" if tail else ""
            message = f"container {target.container} of pod {target.pod} ended with {status.exit_code} ({event.reason}){last}"
            self._begin(self._recorder.record(end.subject.workload, kind, "ContainerEnded", message))

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
                expected=target.container_id in self._expected,
                fenced=self._fences.of(target.pod_uid).fence in ("theirs", "gone"),
                since_last_end_s=since,
                soon_in_a_row=known.soon_in_a_row,
            )
        )
        log().info("container ended", pod=target.pod, container=target.container, id=target.container_id[:12],
                   exit_code=end.status.exit_code, reason=end.status.reason, why=verdict.why,
                   noticed_after_ms=round(end.ended.noticed_after_s * 1000))  # fmt: skip
        return verdict

    async def _remove(self, container: RunningContainer, verdict: OnEnd) -> None:
        if verdict.remove_after_s is None:
            return
        if verdict.remove_after_s:
            log().warning("it ends soon each time: its next start waits", pod=container.pod, delay_s=verdict.remove_after_s)
            await asyncio.sleep(verdict.remove_after_s)
        for attempt in range(3):
            try:
                await self._runtime.remove_container(container.id)
                await self._remove_older(container)
                return
            except CriError as error:
                log().warning("could not remove a dead container", id=container.id[:12], error=str(error))
                await asyncio.sleep(0.05 * 2**attempt)

    async def _remove_older(self, container: RunningContainer) -> None:
        """The kubelet keeps the dead one before, and would count its back-off from that one's end."""
        for dead in await self._runtime.list_containers("exited"):
            if (dead.pod_uid, dead.name) == (container.pod_uid, container.name):
                await self._runtime.remove_container(dead.id)

    def _declare(self, end: End) -> None:
        subject = end.subject
        if self.hanging.pop(subject.target.container_id, None) is not None:
            return  # declared when the hang was noticed
        DEATHS.labels(str(subject.has_checkpoint).lower()).inc()
        hung = self._hung(subject.target.container_id)
        failing = self.failing.pop(subject.target.container_id, None)
        if failing and hung:
            noticed_after_s = time.monotonic() - failing.since_s
            self.declare(subject, "hang", "the kubelet ended it, its livenessProbe failed", noticed_after_s, end.lived_s)
        else:
            detail = f"the container's process ended with {end.status.exit_code} ({end.status.reason or 'Error'})"
            self.declare(subject, "crash", detail, end.ended.noticed_after_s, end.lived_s)

    def declare(self, subject: Subject, cause: Cause, detail: str, noticed_after_s: float, lived_s: float | None = None) -> None:
        """One failover per container instance, however many notice it. lived_s: None while it still runs."""
        event = self._event(subject, cause, detail, noticed_after_s, lived_s)
        with span("failover.declared", root=True, ago_s=noticed_after_s, attributes=about(event)):
            self._announcer.announce(event, f"declared-{event.failover_id}")

    def _event(
        self, subject: Subject, cause: Cause, detail: str, noticed_after_s: float, lived_s: float | None
    ) -> FailoverDeclared:
        target, start = subject.target, self._starts.of(subject.target.container_id)
        return FailoverDeclared(
            node=target.node, workload=subject.workload, failover_id=failover_id(target), target=target,
            cause=cause, detail=detail, noticed_after_s=noticed_after_s, armed=subject.has_checkpoint, lived_s=lived_s,
            restored_from=start.checkpoint_id if start and start.outcome == "restored" else "",
            rejected=self._history.rejected((target.pod_uid, target.container)),
        )  # fmt: skip
