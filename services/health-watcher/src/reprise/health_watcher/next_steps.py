"""Which step of `reprise.dev/on-failure` is due (rules/on_failure.py), by what is known of an instance."""

from collections.abc import Callable

from reprise.contracts.model import ELSEWHERE, Target
from reprise.health_watcher.how_it_ended import End
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.rules import on_failure, slow_loops
from reprise.health_watcher.rules.early_exits import early_s
from reprise.health_watcher.rules.origin import FAILOVER
from reprise.health_watcher.starts import Starts
from reprise.runtime.kube import ProtectedPod, ProtectedPods

Next = tuple[on_failure.Step, on_failure.Failure]


class NextSteps:
    """clock: seconds of CLOCK_BOOTTIME."""

    def __init__(self, pods: ProtectedPods, starts: Starts, hung: Hung, clock: Callable[[], float]) -> None:
        self._pods, self._starts, self._hung, self._clock = pods, starts, hung, clock

    def after(self, end: End) -> Next:
        """Of one that ended."""
        how = slow_loops.how_it_ended(end.status.exit_code, end.status.reason)
        by_itself = not end.expected and (self._hung.is_hung(end.subject.target.container_id) or bool(how))
        return self._next(end.pod, end.subject.target, end.lived_s, by_itself=by_itself)

    def of_hang(self, pod: ProtectedPod, target: Target) -> Next:
        """Of one that runs still."""
        start = self._starts.of(target.container_id)
        lived_s = max(0.0, self._clock() - start.at_s) if start and start.at_s else None
        return self._next(pod, target, lived_s, by_itself=True)

    def _next(self, pod: ProtectedPod, target: Target, lived_s: float | None, *, by_itself: bool) -> Next:
        start, everyone = self._starts.of(target.container_id), self._pods.everything
        moved = target.pod_uid in everyone and everyone[target.pod_uid].annotations.get(FAILOVER, "").startswith(ELSEWHERE)
        by = on_failure.brought_back(start.outcome, frozen=start.frozen, moved=moved) if start else ""
        soon_s = on_failure.soon_s(by, probes_s(pod, target.container), pod.policy.interval_s)
        failure = on_failure.Failure(by, by_itself and lived_s is not None and lived_s < soon_s, moved)
        return on_failure.next_step(pod.policy.on_failure, failure), failure


def probes_s(pod: ProtectedPod, name: str) -> float:
    """What a container's own probes need to find fault with it."""
    container = next(c for c in pod.containers if c.name == name)
    return early_s(container.liveness, getattr(container, "startup", None))
