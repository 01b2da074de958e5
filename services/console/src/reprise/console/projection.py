"""Events as rows, pure: which table, which key, which columns. Idempotent and independent of the order of arrival."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from reprise.console.rows import CheckpointState, FailoverState, OperationState
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointPruned,
    CheckpointSkipped,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
    ContainerEnded,
    ContainerRestored,
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverDeclared,
    FailoverFenced,
    FailoverReleased,
    FailoverRestored,
    FailoverStarted,
    NodeEvent,
    NodeGuarded,
    NodeSuspected,
    NodeUnguarded,
    OperationRefused,
    OperationRequested,
    StandbyRefused,
)

CHECKPOINT_STATES = get_args(CheckpointState)
FAILOVER_STATES = get_args(FailoverState)
OPERATION_STATES = get_args(OperationState)


@dataclass(frozen=True)
class Row:
    """An upsert. columns: what is given overwrites. first: only for a row that is not there yet, or where it is null.
    states: the column `state` only moves forward in them. newest: a column of time to the columns that go with it; they
    overwrite together, and only what is older. oldest: the same, and only what is newer.
    """

    table: str
    key: str
    columns: dict[str, Any]
    states: tuple[str, ...] = ()
    first: frozenset[str] = frozenset()
    newest: dict[str, tuple[str, ...]] = field(default_factory=dict)
    oldest: dict[str, tuple[str, ...]] = field(default_factory=dict)


def event_id(event: Event) -> str:
    return hashlib.blake2b(f"{event.TYPE}{event.model_dump_json()}".encode(), digest_size=16).hexdigest()


def rows_of(event: Event, trace_id: str = "") -> tuple[Row, ...]:
    """The projections' rows for this event. trace_id: of its traceparent; empty if it had none."""
    projected = (_checkpoint_row, _failover_row, _restore_row, _exit_row, _workload_row, _node_row, _operation_row)
    return tuple(_traced(row, event, trace_id) for each in projected if (row := each(event)))


def _traced(row: Row, event: Event, trace_id: str) -> Row:
    """The first event of a checkpoint or failover names its trace: only one may, or the order of arrival would tell."""
    if trace_id and isinstance(event, CheckpointDue | FailoverDeclared) and row.table in ("checkpoints", "failovers"):
        oldest = {clock: (*names, "trace_id") for clock, names in row.oldest.items()}
        return replace(row, columns=row.columns | {"trace_id": trace_id}, oldest=oldest)
    return row


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
    elif isinstance(event, CheckpointStaged):
        newest = {"held_at": ("pull_s",)}
    if isinstance(event, CheckpointPruned):
        place, first = place | {"container": event.container}, frozenset({"node"})
    return Row("checkpoints", "checkpoint_id", place | columns, CHECKPOINT_STATES, first, newest)


def _failover_row(event: Event) -> Row | None:
    columns = _failover(event)
    if columns is None:
        return None
    place = _place(event) | {"failover_id": getattr(event, "failover_id", "")}
    if target := getattr(event, "target", None):
        place["node"] = target.node  # where it failed, whichever node tells of it
    # A node that stays lost is declared so again and again, until what ran there has been taken on.
    oldest: dict[str, tuple[str, ...]] = (
        {"declared_at": ("noticed_after_s", "detail")} if isinstance(event, FailoverDeclared) else {}
    )
    return Row("failovers", "failover_id", place | columns, FAILOVER_STATES, oldest=oldest)


def _restore_row(event: Event) -> Row | None:
    if not isinstance(event, ContainerRestored):
        return None
    place = _place(event) | {"container_id": event.target.container_id, "at": event.at}
    told = {
        "checkpoint_id": event.checkpoint_id or None,
        "took_s": event.took_s,
        "frozen": event.frozen,
        "checkpoint_kind": event.kind,
    }
    stats = event.stats.model_dump() if event.kind == "criu" else {}  # of http: CRIU had no part in it
    return Row("restores", "container_id", place | stats | told)


def _exit_row(event: Event) -> Row | None:
    if not isinstance(event, ContainerEnded):
        return None
    place = _place(event) | {"container_id": event.target.container_id, "at": event.ended_at}
    told = {"exit_code": event.exit_code, "reason": event.reason, "log_tail": event.log_tail, "final": event.final}
    return Row("exits", "container_id", place | told)


def _operation_row(event: Event) -> Row | None:
    if not isinstance(event, OperationRequested | OperationRefused):
        return None
    place = _place(event) | {"operation_id": event.operation_id, "operation": event.operation, "by_user": event.user}
    if isinstance(event, OperationRefused):
        told = {
            "state": "refused",
            "refused_at": event.at,
            "reason": event.reason,
            "message": event.message,
            "remedy": event.remedy,
        }
        return Row("operations", "operation_id", place | told, OPERATION_STATES)
    told = {
        "state": "requested", "requested_at": event.at, "to_node": event.to or None,
        "checkpoint_id": event.checkpoint_id or None,
    }  # fmt: skip
    return Row("operations", "operation_id", place | told, OPERATION_STATES)


def _node_row(event: Event) -> Row | None:
    """A node that works is there, whatever was said of it before."""
    if isinstance(event, NodeGuarded | NodeUnguarded):
        columns = {
            "node": event.node, "guarded_at": event.at, "guarded": isinstance(event, NodeGuarded), "guard_detail": event.detail,
        }  # fmt: skip
        return Row("nodes", "node", columns, newest={"guarded_at": ("guarded", "guard_detail")})
    if isinstance(event, NodeSuspected):
        return None  # it is over as soon as the node renews, and nobody says so
    if isinstance(event, NodeEvent):
        columns = {"node": event.node, "changed_at": event.at, "change": event.TYPE, "detail": event.detail}
        return Row("nodes", "node", columns, newest={"changed_at": ("change", "detail")})
    if isinstance(event, CheckpointTaken | CheckpointStored | CheckpointStaged | StandbyRefused):
        return Row("nodes", "node", {"node": event.node, "seen_at": event.at}, newest={"seen_at": ()})
    return None


def _workload_row(event: Event) -> Row | None:
    """What is known of a container of a workload as a whole: where it was last, its interval, the newest refusal."""
    target = getattr(event, "target", None)
    tells = CheckpointDue | CheckpointStored | CheckpointStaged | StandbyRefused | FailoverCompleted
    if not isinstance(event, tells) or target is None:
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
    if isinstance(event, FailoverCompleted):  # moved: its new pod is known with its next checkpoint
        columns |= {"seen_at": event.at, "node": event.node, "pod": target.pod if event.node == target.node else None}
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
                "checkpoint_kind": event.kind, **_paused(event),
            }  # fmt: skip
        case CheckpointStored():
            return {
                "state": "stored", "stored_at": event.at, "size_bytes": event.size, "sha256": event.sha256,
                "transfer_s": event.transfer_s, "new_bytes": event.new_bytes, "uploaded_bytes": event.uploaded_bytes,
                "checkpoint_kind": event.kind, **(event.stats.model_dump() if event.kind == "criu" else {}), **_paused(event),
            }  # fmt: skip
        case CheckpointFailed():
            return {
                "state": "failed", "failed_at": event.at, "reason": event.reason, "message": event.message,
                "remedy": event.remedy,
            }  # fmt: skip
        case CheckpointSkipped():
            return {"state": "skipped", "reason": event.reason, "message": event.message}
        case CheckpointStaged(role="standby"):
            return {
                "state": "stored", "staged_on": event.node, "staged_at": event.at, "staged_warm": event.warm,
                "staged_bytes": event.bytes_fetched,
            }  # fmt: skip
        case CheckpointStaged():
            return {"state": "stored", "held_at": event.at, "pull_s": event.pull_s}
        case CheckpointPruned():
            return {"state": "pruned", "pruned_at": event.at}
    return None


def _paused(event: CheckpointTaken | CheckpointStored) -> dict[str, Any]:
    """Nothing of what does not know it: the other event may have told."""
    return {} if event.pause_s is None else {"pause_s": event.pause_s}


def _failover(event: Event) -> dict[str, Any] | None:  # noqa: PLR0911
    match event:
        case FailoverDeclared():
            return {
                "state": "declared", "cause": event.cause, "detail": event.detail, "declared_at": event.at,
                "noticed_after_s": event.noticed_after_s,
            }  # fmt: skip
        case FailoverStarted():
            return {
                "state": "started", "cause": event.cause, "path": event.path, "checkpoint_id": event.checkpoint_id,
                "standby": event.standby, "why": event.why, "started_at": event.at,
            }  # fmt: skip
        case FailoverFenced():
            return {"state": "fenced", "fenced_at": event.at, "fenced_how": event.how}
        case FailoverReleased():
            return {
                "state": "released", "checkpoint_id": event.checkpoint_id, "standby": event.node, "released_at": event.at,
            }  # fmt: skip
        case FailoverRestored():
            return {
                "state": "restored", "checkpoint_id": event.checkpoint_id, "standby": event.node, "restored_at": event.at,
            }  # fmt: skip
        case FailoverCompleted():
            return {
                "state": "completed", "cause": event.cause, "path": event.path, "checkpoint_id": event.checkpoint_id,
                "standby": event.node, "total_s": event.total_s, "ended_at": event.at, "lost_work": event.lost_work or None,
            }  # fmt: skip
        case FailoverAbandoned():
            return {
                "state": "abandoned" if event.outcome == "cold" else "stepped-aside", "cause": event.cause,
                "ended_at": event.at, "reason": event.reason, "message": event.message, "remedy": event.remedy,
            }  # fmt: skip
    return None
