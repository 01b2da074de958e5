"""Events as rows, pure: which table, which key, which columns. Idempotent and independent of the order of arrival."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointPruned,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverDeclared,
    FailoverFenced,
    FailoverRestored,
    FailoverStarted,
    StandbyRefused,
)

CHECKPOINT_STATES = ("due", "taken", "failed", "stored", "pruned")
FAILOVER_STATES = ("declared", "started", "fenced", "restored", "stepped-aside", "abandoned", "completed")


@dataclass(frozen=True)
class Row:
    """An upsert. columns: what is given overwrites. first: only for a row that is not there yet, or where it is null.
    states: the column `state` only moves forward in them. newest: a column of time to the columns that go with it; they
    overwrite together, and only what is older.
    """

    table: str
    key: str
    columns: dict[str, Any]
    states: tuple[str, ...] = ()
    first: frozenset[str] = frozenset()
    newest: dict[str, tuple[str, ...]] = field(default_factory=dict)


def event_id(event: Event) -> str:
    return hashlib.blake2b(f"{event.TYPE}{event.model_dump_json()}".encode(), digest_size=16).hexdigest()


def rows_of(event: Event) -> tuple[Row, ...]:
    """The projections' rows for this event."""
    return tuple(row for row in (_checkpoint_row(event), _failover_row(event), _workload_row(event)) if row)


def _place(event: Event) -> dict[str, Any]:
    workload, target = event.workload, getattr(event, "target", None)
    place = {"namespace": workload.namespace, "kind": workload.kind, "workload": workload.name, "node": event.node}
    return place | ({"pod": target.pod, "container": target.container} if target else {})


def _checkpoint_row(event: Event) -> Row | None:
    columns = _checkpoint(event)
    if columns is None:
        return None
    place = _place(event) | {"checkpoint_id": getattr(event, "checkpoint_id", "")}
    first = frozenset[str]()
    newest: dict[str, tuple[str, ...]] = {}
    if isinstance(event, CheckpointStaged) and event.role == "standby":
        # It happened on another node: the row's node stays the one that took the checkpoint.
        place, first = place | {"node": event.target.node}, frozenset({"node", "pod"})
        newest = {"staged_at": ("staged_on", "staged_warm", "staged_bytes")}
    if isinstance(event, CheckpointPruned):
        place, first = place | {"container": event.container}, frozenset({"node"})
    return Row("checkpoints", "checkpoint_id", place | columns, CHECKPOINT_STATES, first, newest)


def _failover_row(event: Event) -> Row | None:
    columns = _failover(event)
    if columns is None:
        return None
    place = _place(event) | {"failover_id": getattr(event, "failover_id", "")}
    return Row("failovers", "failover_id", place | columns, FAILOVER_STATES)


def _workload_row(event: Event) -> Row | None:
    """What is known of a container of a workload as a whole: where it was last, its interval, the newest refusal."""
    target = getattr(event, "target", None)
    if not isinstance(event, CheckpointDue | CheckpointStored | CheckpointStaged | StandbyRefused) or target is None:
        return None
    workload = event.workload
    columns: dict[str, Any] = {
        "lineage": f"{workload.namespace}/{workload.kind.lower()}.{workload.name}/{target.container}",
        "namespace": workload.namespace, "kind": workload.kind, "workload": workload.name, "container": target.container,
    }  # fmt: skip
    newest: dict[str, tuple[str, ...]] = {}
    if isinstance(event, CheckpointDue | CheckpointStored):
        columns |= {"seen_at": event.at, "node": target.node, "pod": target.pod}
        newest["seen_at"] = ("node", "pod")
    if isinstance(event, CheckpointDue):
        columns |= {"due_at": event.due_at, "interval_s": event.interval_s}
        newest["due_at"] = ("interval_s",)
    if isinstance(event, StandbyRefused):
        columns |= {
            "refused_at": event.at, "refused_node": event.node, "refused_reason": event.reason,
            "refused_message": event.message, "refused_remedy": event.remedy,
        }  # fmt: skip
        newest["refused_at"] = ("refused_node", "refused_reason", "refused_message", "refused_remedy")
    return Row("workloads", "lineage", columns, newest=newest)


def _checkpoint(event: Event) -> dict[str, Any] | None:  # noqa: PLR0911
    match event:
        case CheckpointDue():
            return {"state": "due", "trigger": event.trigger, "due_at": event.due_at, "interval_s": event.interval_s}
        case CheckpointTaken():
            return {
                "state": "taken", "due_to_kubelet_s": event.due_to_kubelet_s,
                "kubelet_started_at": event.kubelet_started_at, "kubelet_s": event.kubelet_s,
            }  # fmt: skip
        case CheckpointStored():
            return {
                "state": "stored", "stored_at": event.at, "size_bytes": event.size, "sha256": event.sha256,
                "transfer_s": event.transfer_s,
                **event.stats.model_dump(),
            }  # fmt: skip
        case CheckpointFailed():
            return {"state": "failed", "reason": event.reason, "message": event.message, "remedy": event.remedy}
        case CheckpointStaged(role="standby"):
            return {
                "state": "stored", "staged_on": event.node, "staged_at": event.at, "staged_warm": event.warm,
                "staged_bytes": event.bytes_fetched,
            }  # fmt: skip
        case CheckpointStaged():
            return {"state": "stored", "pull_s": event.pull_s}
        case CheckpointPruned():
            return {"state": "pruned"}
    return None


def _failover(event: Event) -> dict[str, Any] | None:  # noqa: PLR0911
    match event:
        case FailoverDeclared():
            return {"state": "declared", "cause": event.cause, "declared_at": event.at, "noticed_after_s": event.noticed_after_s}
        case FailoverStarted():
            return {
                "state": "started", "cause": event.cause, "path": event.path, "checkpoint_id": event.checkpoint_id,
                "standby": event.standby, "why": event.why,
            }  # fmt: skip
        case FailoverFenced():
            return {"state": "fenced"}
        case FailoverRestored():
            return {"state": "restored", "checkpoint_id": event.checkpoint_id}
        case FailoverCompleted():
            return {
                "state": "completed",
                "cause": event.cause,
                "path": event.path,
                "total_s": event.total_s,
                "ended_at": event.at,
            }
        case FailoverAbandoned():
            return {
                "state": "abandoned" if event.outcome == "cold" else "stepped-aside", "cause": event.cause,
                "ended_at": event.at, "reason": event.reason, "message": event.message, "remedy": event.remedy,
            }  # fmt: skip
    return None
