"""Tells how each protected workload stands: as metrics, by the leader alone, so that each is told once."""

import asyncio
from collections import defaultdict

from prometheus_client import Gauge
from reprise.contracts.events import Event
from reprise.contracts.model import Workload, now
from reprise.runtime.election import Election
from reprise.runtime.kube import ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.scheduler.model import Known, Protection
from reprise.scheduler.protection import has_standby, has_warm_standby, protection, seen, worst

EVERY_S = 5.0
LABELS = ["workload_namespace", "workload_kind", "workload", "workload_container"]
"""Not `namespace` and `container`: Prometheus gives those names to where it found the series."""

RECOVERY_POINT = Gauge(
    "reprise_recovery_point_timestamp_seconds",
    "When the newest good checkpoint was due; what came after it would be lost",
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


class Owners:
    """Every replica follows the events, so that a new leader knows at once."""

    def __init__(self, pods: ProtectedPods, election: Election) -> None:
        self._pods, self._election = pods, election
        self._known: defaultdict[Key, Known] = defaultdict(Known)

    def see(self, event: Event) -> None:
        """One of protection.FOLLOWED."""
        key = (event.workload, event.target.container)  # type: ignore[attr-defined]
        self._known[key] = seen(self._known[key], event)

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Series of who does not lead, and of what is not protected any more, end here."""
        for gauge in GAUGES:
            gauge.clear()
        if not self._election.leading:
            return
        found: defaultdict[Key, list[tuple[ProtectedPod, Protection]]] = defaultdict(list)
        for pod in self._pods.pods.values():
            for container in [] if pod.deleting else pod.containers:
                found[pod.workload, container.name].append((pod, self._protection(pod, container)))
        for key, pods in found.items():
            self._measure(key, pods)

    def _protection(self, pod: ProtectedPod, container: ProtectedContainer) -> Protection:
        return protection(
            self._known[pod.workload, container.name], pod_uid=pod.uid, node=pod.node, image=container.image,
            running=container.running, interval_s=pod.policy.interval_s, movable=_movable(pod), now=now(),
        )  # fmt: skip

    def _measure(self, key: Key, pods: list[tuple[ProtectedPod, Protection]]) -> None:
        workload, container = key
        labels = (workload.namespace, workload.kind, workload.name, container)
        known, told = self._known[key], worst(each for _, each in pods)
        INTERVAL.labels(*labels).set(pods[0][0].policy.interval_s)
        PROTECTED.labels(*labels, told.reason).set(told.protected)
        if known.recovery_point:
            RECOVERY_POINT.labels(*labels).set(known.recovery_point.timestamp())
        if all(_movable(pod) for pod, _ in pods):
            STANDBY.labels(*labels).set(all(has_standby(known, pod.node) for pod, _ in pods))
            WARM.labels(*labels).set(all(has_warm_standby(known, pod.node) for pod, _ in pods))


def _movable(pod: ProtectedPod) -> bool:
    """A standby is kept for it (restorer's standby.py)."""
    return pod.workload.kind == "Deployment" and pod.policy.prestage != "none"
