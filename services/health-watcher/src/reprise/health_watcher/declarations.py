"""Declares the failover of what ended, or hangs: one for each instance, however many notice it."""

import time

from prometheus_client import Counter
from reprise.contracts.events import Cause, FailoverDeclared
from reprise.contracts.model import failover_id
from reprise.health_watcher.adapters.slots import Slots
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.history import History
from reprise.health_watcher.how_it_ended import End
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.model import Subject
from reprise.health_watcher.starts import Starts
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.telemetry import about, span

DEATHS = Counter("reprise_container_deaths_total", "Protected containers that ended", ["has_checkpoint"])


class Declarations:
    """Of this node."""

    def __init__(self, announcer: Announcer, slots: Slots, starts: Starts, history: History, hung: Hung) -> None:
        self._announcer, self._slots, self._starts, self._history, self._hung = announcer, slots, starts, history, hung

    def subject(self, pod: ProtectedPod, container: str, container_id: str) -> Subject:
        target = pod.target(container).but(container_id=container_id)
        has_checkpoint = bool(self._slots.kept(f"{pod.namespace}/{pod.uid}", container))
        return Subject(pod.workload, target, has_checkpoint)

    def declare_end(self, end: End) -> None:
        """Unless it was declared when its hang was noticed."""
        subject, hung = end.subject, self._hung
        if hung.hanging.pop(subject.target.container_id, None) is not None:
            return
        DEATHS.labels(str(subject.has_checkpoint).lower()).inc()
        was_hung = hung.is_hung(subject.target.container_id)
        failing = hung.failing.pop(subject.target.container_id, None)
        if failing and was_hung:
            noticed_after_s = time.monotonic() - failing.since_s
            self.declare(subject, "hang", "the kubelet ended it, its livenessProbe failed", noticed_after_s, end.lived_s)
        else:
            detail = f"the container's process ended with {end.status.exit_code} ({end.status.reason or 'Error'})"
            self.declare(subject, "crash", detail, end.ended.noticed_after_s, end.lived_s)

    def declare(self, subject: Subject, cause: Cause, detail: str, noticed_after_s: float, lived_s: float | None = None) -> None:
        """lived_s: None while it still runs."""
        event = self.event(subject, cause, detail, noticed_after_s, lived_s)
        with span("failover.declared", root=True, ago_s=noticed_after_s, attributes=about(event)):
            self._announcer.announce(event, f"declared-{event.failover_id}")

    def event(
        self, subject: Subject, cause: Cause, detail: str, noticed_after_s: float, lived_s: float | None
    ) -> FailoverDeclared:
        """Build the event without publishing it."""
        target, start = subject.target, self._starts.of(subject.target.container_id)
        return FailoverDeclared(
            node=target.node, workload=subject.workload, failover_id=failover_id(target), target=target,
            cause=cause, detail=detail, noticed_after_s=noticed_after_s, armed=subject.has_checkpoint, lived_s=lived_s,
            restored_from=start.checkpoint_id if start and start.outcome == "restored" else "",
            rejected=self._history.rejected((target.pod_uid, target.container)),
        )  # fmt: skip
