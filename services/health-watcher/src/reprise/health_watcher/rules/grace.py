"""The grace that a container's own spec gives it, counted as the kubelet counts it (pkg/kubelet/prober/worker.go): its
livenessProbe is not asked before initialDelaySeconds have passed since its start, nor before its startupProbe has passed.

Safety (I6): a restored process is given what a started one gets, because its connections are as new to it. So is one that stood
still for long (its node was cut off, its move was undone, its failover was not final yet), counted from when it runs on: what it
talked to has given it up meanwhile. The pause of a checkpoint is not such a time, or a hang would never be noticed.
"""

from typing import Any, Protocol


class Probed(Protocol):
    """A container's probes as its spec has them, and whether its kubelet has seen it start up."""

    @property
    def liveness(self) -> Any: ...

    @property
    def startup(self) -> Any: ...

    @property
    def started(self) -> bool: ...


def grace_left_s(container: Probed, started_s: float, ran_on_s: float | None = None) -> float:
    """Return for how long from now on it may be unhealthy. started_s: since its start; ran_on_s: since it ran on, if it ever
    stood still.
    """
    starting_s, delay_s = starting_up_s(container.startup), float(getattr(container.liveness, "initial_delay_seconds", None) or 0)
    left_s = delay_s - started_s
    if container.startup and not container.started:
        left_s = max(left_s, starting_s - started_s)
    if ran_on_s is not None:
        left_s = max(left_s, max(starting_s, delay_s) - ran_on_s)
    return max(0.0, left_s)


def is_asked(container: Probed, started_s: float, ran_on_s: float | None = None) -> bool:
    """Whether its livenessProbe counts now. Past the end of its startupProbe's time it is the kubelet that ends it."""
    starts = container.startup is not None and not container.started
    return not starts and grace_left_s(container, started_s, ran_on_s) <= 0


def starting_up_s(startup: Any) -> float:
    """How long its startupProbe gives it; 0: it has none."""
    return float(startup.initial_delay_seconds or 0) + tolerated_s(startup) if startup else 0.0


def tolerated_s(probe: Any) -> float:
    """How long the kubelet lets it fail; its defaults are the API server's too, which fills them in."""
    return float((probe.failure_threshold or 3) * (probe.period_seconds or 10)) if probe else 0.0
