"""Tells owners how each protected workload stands: as metrics, a condition on its pods, and Events when that changes.

The leader alone speaks, so that each is told once.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

from prometheus_client import Gauge
from reprise.contracts.events import Event
from reprise.contracts.model import Target, Workload, now
from reprise.runtime.election import Election
from reprise.runtime.kube import EventRecorder, ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.scheduler.model import Known, Protection
from reprise.scheduler.ports import Conditions
from reprise.scheduler.protection import (
    STALE_FLOOR_S,
    STALE_INTERVALS,
    has_standby,
    has_warm_standby,
    inherited,
    protection,
    said,
    seen,
    worst,
)

EVERY_S = 5.0
MESSAGE_EVERY_S = 60.0
"""How old a condition's message may get: each checkpoint changes it, and each write costs the API server."""
NOBODY = Protection(False, "NoSuchContainer", "reprise.dev/containers names none of its containers")
NO_MORE = Protection(False, "NotAnnotated", "no annotation asks for it any more: a failure loses its state")
LABELS = ["workload_namespace", "workload_kind", "workload", "workload_container"]
"""Not `namespace` and `container`: Prometheus gives those names to where it found the series."""

RECOVERY_POINT = Gauge(
    "reprise_recovery_point_timestamp_seconds",
    "When the newest good checkpoint was due, of several pods the oldest of those; what came after it would be lost",
    LABELS,
)
INTERVAL = Gauge("reprise_checkpoint_interval_seconds", "How often it is to be checkpointed", LABELS)
PROTECTED = Gauge(
    "reprise_workload_protected", "Whether each of its pods is protected, and by what, or why not", [*LABELS, "reason"]
)
STANDBY = Gauge("reprise_standby_staged", "Whether another node holds a checkpoint of it, its chunks at least", LABELS)
WARM = Gauge("reprise_standby_warm", "Whether another node can restore it without fetching anything", LABELS)
GAUGES = (RECOVERY_POINT, INTERVAL, PROTECTED, STANDBY, WARM)

Key = tuple[Workload, str]
GONE_KEPT = 10
"""Pods that are gone, of each workload: the next ones may have come of them."""
NO_OTHERS: Mapping[str, Protection] = {}


class Owners:
    """Every replica follows the events, so that a new leader knows at once."""

    def __init__(self, pods: ProtectedPods, election: Election, conditions: Conditions, recorder: EventRecorder) -> None:
        self._pods, self._election, self._conditions, self._recorder = pods, election, conditions, recorder
        self._known: defaultdict[Key, dict[str, Known]] = defaultdict(dict)
        """Of each container by its pod's UID: one replica's checkpoints say nothing of another."""
        self._began = time.monotonic()
        self._written: dict[str, tuple[float, str]] = {}
        """By pod: when its condition was written, and the message."""
        self._left: list[ProtectedPod] = []
        pods.on_change(self._changed)

    def _changed(self, before: ProtectedPod | None, after: ProtectedPod | None) -> None:
        if before and not after and not before.deleting:
            self._left.append(before)

    def see(self, event: Event) -> None:
        """One of protection.FOLLOWED."""
        target: Target = event.target  # type: ignore[attr-defined]
        pods = self._known[event.workload, target.container]
        pods[target.pod_uid] = seen(pods.get(target.pod_uid, Known(pod=target.pod)), event)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Series of who does not lead, and of what is not protected any more, end here."""
        for gauge in GAUGES:
            gauge.clear()
        left, self._left = self._left, []
        if not self._election.leading:
            self._written.clear()
            return
        self._forget()
        present = [pod for pod in self._pods.pods.values() if not pod.deleting]
        self._measure_all(present)
        for pod in [pod for pod in left if pod.condition[0]]:
            await self._tell(pod, NO_MORE)
        self._written = {uid: written for uid, written in self._written.items() if uid in self._pods.pods}
        standing: defaultdict[Workload, dict[str, Protection]] = defaultdict(dict)
        for pod in present:
            each = {container.name: self._protection(pod, container) for container in pod.containers}
            standing[pod.workload][pod.name] = worst(each)[1] if each else NOBODY
        for pod in [pod for pod in present if not self._not_told_yet(pod)]:
            found = standing[pod.workload]
            await self._tell(pod, found[pod.name], {name: each for name, each in found.items() if name != pod.name})

    def _forget(self) -> None:
        """Pods that are long gone: what comes next came of a newer one."""
        for key, pods in self._known.items():
            gone = sorted((uid for uid in pods if uid not in self._pods.pods), key=lambda uid: pods[uid].checkpoint_id)
            self._known[key] = {uid: each for uid, each in pods.items() if uid not in gone[:-GONE_KEPT]}

    def _of(self, pod: ProtectedPod, container: str) -> Known:
        pods = self._known[pod.workload, container]
        if pod.uid in pods:
            return pods[pod.uid]
        return inherited((each for uid, each in pods.items() if uid not in self._pods.pods), pod.name, pod.node)

    def _not_told_yet(self, pod: ProtectedPod) -> bool:
        """After a restart of ours: of two pods of a workload on one node the stream holds the last event of only one."""
        waits_s = max(STALE_INTERVALS * pod.policy.interval_s, STALE_FLOOR_S)
        young = time.monotonic() - self._began < waits_s
        return young and pod.condition[0] == "True" and any(self._of(pod, each.name) == Known() for each in pod.containers)

    def _measure_all(self, present: list[ProtectedPod]) -> None:
        found: defaultdict[Key, list[tuple[ProtectedPod, Protection]]] = defaultdict(list)
        for pod in [pod for pod in present if not self._not_told_yet(pod)]:
            for container in pod.containers:
                found[pod.workload, container.name].append((pod, self._protection(pod, container)))
        for key, pods in found.items():
            self._measure(key, pods)

    def _protection(self, pod: ProtectedPod, container: ProtectedContainer) -> Protection:
        return protection(
            self._of(pod, container.name), pod_uid=pod.uid, node=pod.node,
            running=container.running, interval_s=pod.policy.interval_s, prestaged=_prestaged(pod), now=now(),
        )  # fmt: skip

    async def _tell(self, pod: ProtectedPod, found: Protection, others: Mapping[str, Protection] = NO_OTHERS) -> None:
        """Level-triggered: what the pod itself says is compared, so that nothing need be remembered of it. others: how the
        other pods of its workload stand, by their names.
        """
        status, reason = pod.condition
        written_at, message = self._written.get(pod.uid, (float("-inf"), ""))
        old = message != found.message and time.monotonic() - written_at > MESSAGE_EVERY_S
        if said(status, reason, found) and not (old and found.reason != "NotRunning"):
            return
        if not await self._conditions.write(pod, found):
            return
        self._written[pod.uid] = (time.monotonic(), found.message)
        if found.protected and status != "True":
            await self._recorder.record(pod.workload, "Normal", "Protected", f"pod {pod.name}: {found.message}{_but(others)}")
        if not found.protected and status == "True":
            await self._recorder.record(
                pod.workload, "Warning", "NotProtected", f"pod {pod.name}: {found.reason}: {found.message}"
            )

    def _measure(self, key: Key, pods: list[tuple[ProtectedPod, Protection]]) -> None:
        workload, container = key
        labels = (workload.namespace, workload.kind, workload.name, container)
        _, told = worst({pod.name: each for pod, each in pods})
        known = [(pod, self._of(pod, container)) for pod, _ in pods]
        INTERVAL.labels(*labels).set(pods[0][0].policy.interval_s)
        PROTECTED.labels(*labels, told.reason).set(told.protected)
        if points := [each.recovery_point for _, each in known if each.recovery_point]:
            RECOVERY_POINT.labels(*labels).set(min(points).timestamp())
        if all(_prestaged(pod) for pod, _ in pods):
            STANDBY.labels(*labels).set(all(has_standby(each, pod.node) for pod, each in known))
            WARM.labels(*labels).set(all(has_warm_standby(each, pod.node) for pod, each in known))


def _but(others: Mapping[str, Protection]) -> str:
    """Of the workload's pods that are not protected the worst, for who reads that one is."""
    unprotected = {name: each for name, each in others.items() if not each.protected}
    if not unprotected:
        return ""
    name, each = worst(unprotected)
    return f". Its pod {name} is not: {each.reason}: {each.message}"


def _prestaged(pod: ProtectedPod) -> bool:
    """A standby is kept for it (restorer's standby.py)."""
    return pod.policy.prestage != "none"
