"""One function per event."""

import asyncio
import time
from collections import OrderedDict, defaultdict
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import Counter, Histogram
from reprise.checkpointer.decide import (
    DEMANDED,
    INTERACTIVE,
    NODE_BUSY,
    PATIENCE_S,
    Failure,
    Skip,
    ended_after,
    overtaken,
    too_soon,
    unhealthy_after,
    unhealthy_before,
)
from reprise.checkpointer.dumping import Dumped, Dumping
from reprise.checkpointer.pace import Claim
from reprise.checkpointer.states import States
from reprise.checkpointer.turns import GaveWay, Turns
from reprise.contracts.causes import LASTING
from reprise.contracts.events import CheckpointDue, CheckpointFailed, CheckpointSkipped, CheckpointTaken
from reprise.contracts.records import Checkup, Question
from reprise.runtime.bus import Bus
from reprise.runtime.checkup import ask
from reprise.runtime.kube import EventRecorder, ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.runtime.telemetry import log, span

DUE_TO_KUBELET = Histogram(
    "reprise_due_to_kubelet_seconds",
    "From a checkpoint's due event to the call of the kubelet",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1),
)
KUBELET_SECONDS = Histogram("reprise_kubelet_checkpoint_seconds", "The kubelet's checkpoint call")
HELD_AT_MOST_S = 900.0
TAKEN = Counter("reprise_checkpoints_taken_total", "Checkpoints taken of containers that were healthy before and after")
SKIPPED = Counter(
    "reprise_checkpoints_skipped_total", "Due checkpoints that were not needed, or gave way to newer ones", ["reason"]
)
FAILED = Counter("reprise_checkpoints_failed_total", "Checkpoints that do not count", ["reason"])

REMEMBERED = 1000
AGAIN_S, FIRST_AGAIN_S = 0.5, 1.0
FIRST_PATIENCE_S = 20.0
PROBE_HOLDS_S = 1.0
"""For how long a probe's answer may be taken for the container's state at the checkpoint."""


class Handlers:
    """pods: this node's. turns: whose checkpoint is next, and when."""

    def __init__(
        self, bus: Bus, pods: ProtectedPods, dumping: Dumping, states: States, recorder: EventRecorder, turns: Turns
    ) -> None:
        self._bus, self._pods, self._dumping, self._states, self._recorder = bus, pods, dumping, states, recorder
        self._turns = turns
        self._held: dict[str, float] = {}
        """Containers that were held, and when: what is due of them meanwhile fails for a good reason."""
        self._locks: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._named: dict[tuple[str, str], int] = {}
        """By container, the second that its last archive is named by."""
        self._ended: dict[tuple[str, str], float] = {}
        """By container, when its last checkpoint ended, monotonic."""
        self._newest: dict[tuple[str, str], str] = {}
        """By container, the newest id that a checkpoint of it was taken under."""
        self._done: OrderedDict[str, CheckpointTaken | Skip | Failure] = OrderedDict()
        """What became of the last due events."""

    async def on_due(self, event: CheckpointDue) -> None:
        """Probe, checkpoint, probe again; it counts only if the same container was healthy before and after. Each event once: one
        that is delivered again is told again, not taken again.
        """
        key = (event.target.pod_uid, event.target.container)
        self._turns.announce(self._claim(event))
        async with self._locks[key]:
            outcome = self._done.get(event.checkpoint_id)
            if outcome is None:
                outcome = (
                    too_soon(self._since_last_s(key), event.interval_s, event.trigger)
                    or overtaken(event.checkpoint_id, self._newest.get(key, ""), hold=event.hold)
                    or await self._take_named(event, key)
                )
                self._remember(event.checkpoint_id, outcome)
        match outcome:
            case Failure():
                await self._failed(event, outcome)
            case Skip():
                await self._skipped(event, outcome)
            case CheckpointTaken():
                TAKEN.inc()
                await self._bus.publish(outcome, dedup_id=f"taken-{event.checkpoint_id}")

    async def _take_named(self, event: CheckpointDue, key: tuple[str, str]) -> CheckpointTaken | Skip | Failure:
        try:
            outcome = await self._take(event, key)
        except GaveWay:
            return NODE_BUSY
        if isinstance(outcome, CheckpointTaken):
            self._newest[key] = max(event.checkpoint_id, self._newest.get(key, ""))
        if isinstance(outcome, Failure) and outcome.reason == "UnhealthyBefore" and not event.hold and self._stands_still(event):
            return Skip("StandsStill", "its process stands still, its last checkpoint before a move is taken")
        return outcome

    def _since_last_s(self, key: tuple[str, str]) -> float | None:
        ended = self._ended.get(key)
        return time.monotonic() - ended if ended is not None else None

    def _remember(self, checkpoint_id: str, outcome: CheckpointTaken | Skip | Failure) -> None:
        self._done[checkpoint_id] = outcome
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)

    def _claim(self, event: CheckpointDue) -> Claim:
        key = (event.target.pod_uid, event.target.container)
        due_s = self._ended.get(key, float("-inf")) + event.interval_s
        demanded = event.trigger in DEMANDED
        return Claim(key, event.checkpoint_id, demanded=demanded, first=event.trigger == "first", due_s=due_s)

    async def _ready(self, event: CheckpointDue, patience_s: float) -> tuple[ProtectedPod, ProtectedContainer] | Failure | Skip:
        """The container, if it is there and healthy."""
        found = self._find(event)
        if isinstance(found, Failure):
            return found
        pod, container = found
        if container.interactive and pod.policy.mode != "http":
            return INTERACTIVE
        with span("probe before"):
            before = unhealthy_before(await self._before(event, pod, container, patience_s), hold=event.hold)
        return before or found

    async def _take(self, event: CheckpointDue, key: tuple[str, str]) -> CheckpointTaken | Skip | Failure:
        """Raises GaveWay."""
        patience_s = PATIENCE_S if event.hold else FIRST_PATIENCE_S if event.trigger == "first" else 0.0
        ready = await self._ready(event, patience_s)
        if not isinstance(ready, tuple):
            return ready
        async with self._turns.turn(self._claim(event)) as waited_s:
            if waited_s > PROBE_HOLDS_S and not isinstance(ready := await self._ready(event, 0.0), tuple):
                return ready
            pod, container = ready
            hands_out = pod.policy.mode == "http"
            # The kubelet names archives by the second: two in one second would overwrite each other.
            while self._named.get(key) == int(time.time()):
                await asyncio.sleep(0.05)
            self._named[key] = int(time.time())
            started_at, began = datetime.now(UTC), time.monotonic()
            latency_s = max(0.0, (started_at - event.at).total_seconds())
            DUE_TO_KUBELET.observe(latency_s)
            dumped = await (self._states.take(event, pod, container) if hands_out else self._call(event, pod))
            kubelet_s = time.monotonic() - began
        self._ended[key] = time.monotonic()  # what did not come to that paused nothing: the next one is not too soon after it
        if not isinstance(dumped, Dumped):
            return dumped
        if dumped.held:
            self._held[event.target.container_id] = time.monotonic()
        if not hands_out:
            KUBELET_SECONDS.observe(kubelet_s)
        # What is held answers no probe; nothing can have happened to it since CRIU let go of it.
        failure = None if dumped.held else await self._afterwards(event, pod, container)
        if failure:
            return replace(failure, archive_path=dumped.archive_path, slot=dumped.slot)
        return CheckpointTaken(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger=event.trigger, archive_path=dumped.archive_path, keep=event.keep, kubelet_started_at=started_at,
            kubelet_s=kubelet_s, due_to_kubelet_s=latency_s, held=dumped.held,
            slot=dumped.slot, pause_s=dumped.pause_s, kind="http" if hands_out else "criu",
        )  # fmt: skip

    def _stands_still(self, event: CheckpointDue) -> bool:
        self._held = {c: at for c, at in self._held.items() if time.monotonic() - at < HELD_AT_MOST_S}
        return event.target.container_id in self._held

    async def _before(self, event: CheckpointDue, pod: ProtectedPod, container: ProtectedContainer, patience_s: float) -> Checkup:
        """What is due each interval may fail once. Asked again are what is moved, which may feel its last checkpoint's pause, and
        what has just started: it may not serve yet, and its next one may be due in an hour.
        """
        end_s = asyncio.get_running_loop().time() + patience_s
        while True:
            found = await self._check(pod, container)
            if found.healthy or not found.runs or asyncio.get_running_loop().time() >= end_s:
                return found
            await asyncio.sleep(AGAIN_S if event.hold else FIRST_AGAIN_S)

    async def _afterwards(self, event: CheckpointDue, pod: ProtectedPod, container: ProtectedContainer) -> Failure | None:
        """Why the checkpoint that was just taken is not used. A pause may make a program say for a while that it is ill: what its
        kubelet tolerates is no harm, so it is asked again for so long.
        """
        with span("probe after"):
            loop = asyncio.get_running_loop()
            began_s = counts_s = loop.time()
            ill: Checkup | None = None
            while True:
                found, after = self._find(event), await self._check(pod, container)
                if isinstance(found, Failure) or not after.runs:
                    return _replaced(found, after, ill)
                if after.healthy:
                    return None
                if after.grace_s:
                    counts_s = loop.time()
                ill = after if after.told else ill
                if failure := unhealthy_after(after, loop.time() - began_s, loop.time() - counts_s):
                    return failure
                await asyncio.sleep(AGAIN_S)

    async def _call(self, event: CheckpointDue, pod: ProtectedPod) -> Dumped | Failure:
        """What is to be held is tried once: whoever asked for it tries again."""
        outcome = await self._dumping.take(event, pod.namespace)
        if isinstance(outcome, Failure) and outcome.retry and not event.hold:
            await asyncio.sleep(1.0)
            outcome = await self._dumping.take(event, pod.namespace)
        return outcome

    def _find(self, event: CheckpointDue) -> tuple[ProtectedPod, ProtectedContainer] | Failure:
        """From the informer, which may be stale: transfer compares the archive's own container id again."""
        pod = self._pods.pods.get(event.target.pod_uid)
        named = (event.workload, event.target.pod, event.target.node)
        if pod is None or pod.deleting or named != (pod.workload, pod.name, pod.node):
            return Failure("PodGone", f"pod {event.target.pod} is gone or being deleted", "nothing")
        container = next((c for c in pod.containers if c.name == event.target.container), None)
        if container is None:
            return Failure("ContainerNotFound", f"pod {pod.name} has no container {event.target.container}",
                           "correct the annotation reprise.dev/containers")  # fmt: skip
        if not container.running or container.container_id != event.target.container_id:
            return Failure("OtherContainer", "the container was replaced or is not running", "nothing: the next one will do")
        return pod, container

    async def _check(self, pod: ProtectedPod, container: ProtectedContainer) -> Checkup:
        asked = Question(pod_uid=pod.uid, container=container.name, container_id=container.container_id)
        return await ask(self._bus, pod.node, asked, container.liveness, container.readiness)

    async def _skipped(self, event: CheckpointDue, skip: Skip) -> None:
        SKIPPED.labels(skip.reason).inc()
        told = {"checkpoint": event.checkpoint_id, "pod": event.target.pod, "reason": skip.reason, "message": skip.message}
        log().info("checkpoint skipped", **told)
        skipped = CheckpointSkipped(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=skip.reason, message=skip.message,
        )  # fmt: skip
        await self._bus.publish(skipped, dedup_id=f"skipped-{event.checkpoint_id}")

    async def _failed(self, event: CheckpointDue, failure: Failure) -> None:
        FAILED.labels(failure.reason).inc()
        log().warning("checkpoint failed", checkpoint=event.checkpoint_id, pod=event.target.pod, reason=failure.reason,
                      message=failure.message, remedy=failure.remedy)  # fmt: skip
        failed = CheckpointFailed(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=failure.reason, message=failure.message, remedy=failure.remedy, archive_path=failure.archive_path,
            hold=event.hold, slot=failure.slot,
        )  # fmt: skip
        await self._bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}")
        if failure.reason not in LASTING:  # scheduler tells those, once
            message = f"{failure.reason}: {failure.message}. To do: {failure.remedy}"
            await self._recorder.record(event.workload, "Warning", "CheckpointFailed", message)


def _replaced(found: object, after: Checkup, ill: Checkup | None) -> Failure:
    """Of a container that is not there any more. ill: what its probe said after the checkpoint, if it failed."""
    gone = found if isinstance(found, Failure) else Failure("OtherContainer", after.detail, "nothing: the next one will do")
    return ended_after(ill) if ill and ill.tolerated_s and gone.reason == "OtherContainer" else gone
