"""Events as rows, pure: which table, which key, which columns. Idempotent and independent of the order of arrival."""

import hashlib
from dataclasses import dataclass
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
)

CHECKPOINT_STATES = ("due", "taken", "failed", "stored", "pruned")
FAILOVER_STATES = ("declared", "started", "fenced", "restored", "abandoned", "completed")


@dataclass(frozen=True)
class Row:
    """An upsert: columns that are given overwrite, the state only moves forward."""

    table: str
    key: str
    columns: dict[str, Any]
    states: tuple[str, ...]


def event_id(event: Event) -> str:
    return hashlib.blake2b(f"{event.TYPE}{event.model_dump_json()}".encode(), digest_size=16).hexdigest()


def row_of(event: Event) -> Row | None:
    """The projection's row for this event; None if it has none."""
    workload = event.workload
    place = {"namespace": workload.namespace, "kind": workload.kind, "workload": workload.name, "node": event.node}
    target = getattr(event, "target", None)
    if target is not None:
        place |= {"pod": target.pod, "container": target.container}
    checkpoint = _checkpoint(event)
    if checkpoint is not None:
        columns = place | {"checkpoint_id": getattr(event, "checkpoint_id", "")} | checkpoint
        return Row("checkpoints", "checkpoint_id", columns, CHECKPOINT_STATES)
    failover = _failover(event)
    if failover is not None:
        columns = place | {"failover_id": getattr(event, "failover_id", "")} | failover
        return Row("failovers", "failover_id", columns, FAILOVER_STATES)
    return None


def _checkpoint(event: Event) -> dict[str, Any] | None:  # noqa: PLR0911
    match event:
        case CheckpointDue():
            return {"state": "due", "trigger": event.trigger, "due_at": event.due_at}
        case CheckpointTaken():
            return {
                "state": "taken", "due_to_kubelet_s": event.due_to_kubelet_s,
                "kubelet_started_at": event.kubelet_started_at, "kubelet_s": event.kubelet_s,
            }  # fmt: skip
        case CheckpointStored():
            return {
                "state": "stored", "size_bytes": event.size, "sha256": event.sha256, "transfer_s": event.transfer_s,
                **event.stats.model_dump(),
            }  # fmt: skip
        case CheckpointFailed():
            return {"state": "failed", "reason": event.reason, "message": event.message, "remedy": event.remedy}
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
                "state": "abandoned", "cause": event.cause, "ended_at": event.at, "reason": event.reason,
                "message": event.message, "remedy": event.remedy,
            }  # fmt: skip
    return None
