"""What REST answers, as models: the OpenAPI document is made of them. Times are UTC, sizes bytes, `_s` seconds, `_us` µs."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from reprise.contracts.events import Operation

CheckpointState = Literal["due", "skipped", "taken", "failed", "stored", "pruned"]
FailoverState = Literal["declared", "started", "fenced", "released", "restored", "stepped-aside", "abandoned", "completed"]
"""In order, as checkpoints' states are: a later one wins, whatever order the events come in."""
OperationState = Literal["requested", "refused"]
Health = Literal["ok", "stale", "unprotected", "failing", "failing-over", "node-lost", "node-isolated", "state-lost", "gone"]


class EventRow(BaseModel):
    """An event as it was published. data: its own fields, as docs/events.md tells."""

    id: str
    type: str
    at: datetime
    node: str
    namespace: str
    kind: str
    workload: str
    data: dict[str, Any]
    trace_id: str | None


class CheckpointRow(BaseModel):
    """A checkpoint: every figure that its events told; null is what none has told yet."""

    checkpoint_id: str
    namespace: str
    kind: str
    workload: str
    container: str | None
    node: str
    pod: str | None
    at: Annotated[datetime, Field(description="when the process was frozen; before that is known, when it was due")]
    state: CheckpointState
    trigger: str | None
    interval_s: float | None
    due_at: datetime | None
    due_to_kubelet_s: float | None
    kubelet_started_at: datetime | None
    kubelet_s: float | None
    stored_at: datetime | None
    transfer_s: float | None
    size_bytes: int | None
    new_bytes: Annotated[int | None, Field(description="of the archive: what no checkpoint before it had")]
    uploaded_bytes: Annotated[int | None, Field(description="sent to the store, after compression")]
    sha256: str | None
    pause_s: Annotated[
        float | None, Field(description="how long the process could not run; null: told by an older version, or by none yet")
    ]
    checkpoint_kind: Annotated[
        str | None, Field(description="criu: a process's memory; http: the state that its program handed out")
    ]
    freezing_time_us: int | None
    frozen_time_us: Annotated[int | None, Field(description="the part of the pause in which CRIU dumped, by its own account")]
    memdump_time_us: int | None
    memwrite_time_us: int | None
    pages_scanned: int | None
    pages_skipped_parent: int | None
    pages_written: int | None
    held_at: Annotated[datetime | None, Field(description="since when its own node's runtime holds it")]
    pull_s: float | None
    staged_on: Annotated[str | None, Field(description="the standby node")]
    staged_at: datetime | None
    staged_warm: Annotated[bool | None, Field(description="whether a restore there needs nothing more")]
    staged_bytes: int | None
    failed_at: datetime | None
    pruned_at: datetime | None
    reason: str | None
    message: str | None
    remedy: str | None
    trace_id: str | None


class FailoverRow(BaseModel):
    """A failover, with the moment of each of its steps."""

    failover_id: str
    namespace: str
    kind: str
    workload: str
    container: str | None
    node: Annotated[str, Field(description="where it failed")]
    pod: str | None
    at: datetime
    state: FailoverState
    cause: str | None
    detail: str | None
    path: str | None
    checkpoint_id: str | None
    standby: Annotated[str | None, Field(description="where it was restored; its own node if in place")]
    why: str | None
    declared_at: datetime | None
    noticed_after_s: float | None
    started_at: datetime | None
    fenced_at: datetime | None
    fenced_how: str | None
    released_at: Annotated[
        datetime | None, Field(description="when it became final, and what was restored frozen was let run; null if in place")
    ]
    restored_at: datetime | None
    ended_at: datetime | None
    total_s: Annotated[float | None, Field(description="from declared to completed")]
    lost_work: Annotated[
        str | None, Field(description="of a move: why it runs from an older checkpoint than its last one; null: it does not")
    ]
    reason: str | None
    message: str | None
    remedy: str | None
    trace_id: str | None


class RestoreRow(BaseModel):
    """A restore, as CRIU tells of it."""

    container_id: Annotated[str, Field(description="of the restored container")]
    namespace: str
    kind: str
    workload: str
    container: str
    node: str
    pod: str
    at: Annotated[datetime, Field(description="when it had ended")]
    restore_time_us: int | None
    forking_time_us: Annotated[int | None, Field(description="of that: until the processes were there")]
    pages_restored: int | None
    pages_compared: int | None
    pages_skipped_cow: int | None
    checkpoint_id: str | None
    checkpoint_kind: Annotated[str | None, Field(description="as of a checkpoint; null: told by an older version")]
    took_s: Annotated[float | None, Field(description="the engine's whole call")]
    frozen: Annotated[bool | None, Field(description="it did not run before its failover was final")]


class ExitRow(BaseModel):
    """How a protected container ended."""

    container_id: str
    namespace: str
    kind: str
    workload: str
    container: str
    node: str
    pod: str
    at: Annotated[datetime, Field(description="when it ended")]
    exit_code: Annotated[int, Field(description="128 + n for signal n")]
    reason: Annotated[str, Field(description="Completed, Error or OOMKilled")]
    log_tail: Annotated[str, Field(description="the end of its log, at most 2 KiB")]
    final: Annotated[bool, Field(description="its restartPolicy and exit code say that it is not started again")]


class OperationRow(BaseModel):
    """What a person asked for."""

    operation_id: str
    operation: Operation
    by_user: str
    at: datetime
    state: Annotated[OperationState, Field(description="refused: it could not be begun")]
    namespace: Annotated[str, Field(description="`-` for a node")]
    kind: str
    workload: str
    node: str
    to_node: Annotated[str | None, Field(description="of a move; null: wherever the planner chooses")]
    checkpoint_id: Annotated[str | None, Field(description="of a restore")]
    requested_at: datetime | None
    refused_at: datetime | None
    reason: str | None
    message: str | None
    remedy: str | None


class Newest(BaseModel):
    """The newest good checkpoint: the recovery point. Of several pods the one whose is the oldest is told of."""

    id: str
    size_bytes: int | None
    new_bytes: int | None
    pause_s: Annotated[float | None, Field(description="of an older version's: CRIU's own figure, which is less")]
    frozen_time_us: int | None
    kind: Annotated[str | None, Field(description="criu or http, as of a checkpoint")]
    at: datetime | None


class StandbyNode(BaseModel):
    node: str | None
    checkpoint_id: str
    staged_at: datetime | None
    warm: bool


class Refusal(BaseModel):
    node: str | None
    reason: str | None
    message: str | None
    remedy: str | None
    at: datetime | None


class ExpectedRecovery(BaseModel):
    crash: float | None
    node_loss: float | None
    how: str


class LastFailover(BaseModel):
    id: str
    cause: str | None
    state: FailoverState
    total_s: float | None
    at: datetime | None


class WorkloadRow(BaseModel):
    """A protected container: what its owner asks. Of several pods, the one with the oldest recovery point."""

    namespace: str
    kind: str
    workload: str
    container: str
    node: str | None
    pod: str | None
    interval_s: float | None
    health: Health
    health_reason: str
    unguarded: Annotated[
        str, Field(description="why it is not moved if its node is lost: that cannot freeze it; empty if it can")
    ] = ""
    checkpoint: Newest | None
    recovery_point_age_s: float | None
    standby: StandbyNode | None
    refused: Refusal | None
    expected_recovery_s: ExpectedRecovery
    last_failover: LastFailover | None
    gone_at: Annotated[datetime | None, Field(description="since when it is not protected any more, or not there")] = None
