"""Failovers as metrics, and as attributes of their spans."""

from typing import get_args

from prometheus_client import Counter, Histogram
from reprise.contracts.events import Cause, Outcome
from reprise.contracts.model import now
from reprise.restorer.model import Saga
from reprise.runtime.telemetry import of_target, of_workload

ENDED = Counter(
    "reprise_failovers_total", "Failovers that ended: restored, or an outcome of failover.abandoned", ["cause", "outcome"]
)
DELAYED = Counter("reprise_failovers_delayed_total", "Times that a failover could not go on and waits for a node", ["cause"])
TOTAL_SECONDS = Histogram(
    "reprise_failover_seconds",
    "From the notice of a fault to serving again with its state",
    ["cause", "path"],
    buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120),
)
STEP_SECONDS = Histogram(
    "reprise_failover_step_seconds",
    "One step of a failover, each try by itself",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
for _cause in get_args(Cause):  # a counter that appears with its first failover shows no increase
    DELAYED.labels(_cause)
    for _outcome in ("restored", *get_args(Outcome)):
        ENDED.labels(_cause, _outcome)


def count(before: Saga, after: Saga) -> None:
    """Once each: only who wins the compare-and-set that ends it comes here."""
    if after.step == "complete":
        ENDED.labels(after.cause, "restored").inc()
        TOTAL_SECONDS.labels(after.cause, after.plan.path).observe((now() - after.declared_at).total_seconds())
    elif after.step == "abandoned" and after.attempt.stop:
        ENDED.labels(after.cause, after.attempt.stop.outcome).inc()
    elif after.step == "wait":
        DELAYED.labels(after.cause).inc()


def attributes(saga: Saga) -> dict[str, object]:
    """Of a step."""
    plan = saga.attempt.plan
    ours = {
        "id": saga.failover_id,
        "cause": saga.cause,
        "attempt": saga.attempt.number,
        "path": plan.path if plan else "",
        "standby": saga.standby,
    }
    told = {f"reprise.failover.{name}": value for name, value in ours.items() if value}
    made = {"reprise.checkpoint.id": saga.checkpoint_id} if saga.checkpoint_id else {}
    return {**of_workload(saga.workload), **of_target(saga.target), **told, **made}
