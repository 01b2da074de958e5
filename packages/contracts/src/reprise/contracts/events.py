"""Every event of contract v1, as data. envelope.py wraps them as CloudEvents, subjects.py addresses them."""

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field, PositiveFloat, PositiveInt
from reprise.contracts.model import NO_NAMESPACE, CriuStats, Frozen, Kind, NodeOrNone, RestoreStats, Target, Workload, now

VERSION = "v1"

Trigger = Literal["interval", "first", "demand", "drain", "move", "arm"]
Cause = Literal["crash", "hang", "node-loss", "arm", "move", "restore"]
"""`arm`, of a failover or a checkpoint, comes from older versions only: they restarted a pod to protect it."""
Role = Literal["own", "standby"]
"""Whose node it is: the one that the process runs on, or the one that it would be moved to."""
Prestage = Literal["image", "chunks", "none"]
Path = Literal["in-place", "in-place-armed", "in-place-patch", "shadow", "recreate", "cold"]
"""in-place: the kubelet's own restart, which the engine turns into a restore. in-place-armed and in-place-patch come from older
versions only.
"""
Outcome = Literal["cold", "hand-over", "step-aside"]
"""How a failover ends that restored nothing: its state is lost; another failover or Kubernetes has it; or a user's will
or a node that came back made it needless."""


Operation = Literal["checkpoint", "move", "restore", "drain", "undrain"]
"""What a person can ask for. drain: that everything protected is moved off a node; undrain: that it takes pods again."""


class Event(Frozen):
    """What all events have: the node it is about, and the workload."""

    TYPE: ClassVar[str]
    at: AwareDatetime = Field(default_factory=now)
    """When it happened, by the wall clock of who tells it."""
    node: NodeOrNone
    """The node that it is about; empty if none."""
    workload: Workload


class CheckpointDue(Event):
    """This container is to be checkpointed now."""

    TYPE: ClassVar[str] = "checkpoint.due"
    checkpoint_id: str
    target: Target
    trigger: Trigger
    due_at: AwareDatetime
    interval_s: PositiveFloat
    keep: PositiveInt
    hold: bool = False
    """The process is not to run after it: a planned move's last checkpoint."""


class CheckpointTaken(Event):
    """An archive lies on the node; it counts only once it is stored."""

    TYPE: ClassVar[str] = "checkpoint.taken"
    checkpoint_id: str
    target: Target
    trigger: Trigger
    archive_path: str
    keep: PositiveInt
    kubelet_started_at: AwareDatetime
    kubelet_s: float
    due_to_kubelet_s: float
    held: bool = False
    """The process has not run since, and does not: its container is frozen."""
    slot: str = ""
    """Where it lies below the node's slots: `<namespace>/<pod uid>/<container>/<checkpoint id>`."""
    pause_s: float | None = None
    """From the first to the last moment in which the process could not run; null: it was not measured."""
    kind: Kind = "criu"
    """http: the state that the program handed out itself. kubelet_s then is the time of its answer."""


class CheckpointFailed(Event):
    """A checkpoint that does not count, why, and what to do."""

    TYPE: ClassVar[str] = "checkpoint.failed"
    checkpoint_id: str
    target: Target
    reason: str
    message: str
    remedy: str
    archive_path: str = ""
    """An archive that lies on the node all the same, for transfer to throw away; empty if there is none."""
    hold: bool = False
    """It was to be a planned move's last: its process may stand still for nothing."""
    slot: str = ""
    """A slot that lies on the node all the same, for transfer to remove; empty if there is none."""


class CheckpointSkipped(Event):
    """A due checkpoint that was not taken because none was needed, or because its node is too busy (NodeBusy): a newer one is."""

    TYPE: ClassVar[str] = "checkpoint.skipped"
    checkpoint_id: str
    target: Target
    reason: str
    message: str


class CheckpointPaused(Event):
    """This container is not checkpointed any more until its pod is another one, because checkpoints harm it."""

    TYPE: ClassVar[str] = "checkpoint.paused"
    target: Target
    reason: str
    message: str
    remedy: str


class CheckpointStored(Event):
    """A good checkpoint: verified, complete in the store, its manifest committed; with CRIU's own statistics."""

    TYPE: ClassVar[str] = "checkpoint.stored"
    checkpoint_id: str
    target: Target
    trigger: Trigger
    manifest_key: str
    size: int
    sha256: str
    transfer_s: float
    kubelet_s: float
    stats: CriuStats
    new_bytes: int | None = None
    """Of the archive: what no checkpoint before it had. null: an older version did not tell."""
    uploaded_bytes: int | None = None
    """Sent to the store, after compression."""
    pause_s: float | None = None
    """As in checkpoint.taken."""
    kind: Kind = "criu"
    """As in checkpoint.taken."""


class CheckpointStaged(Event):
    """The node holds this checkpoint: as the pod's own node, whose next restart restores it, or as the workload's standby."""

    TYPE: ClassVar[str] = "checkpoint.staged"
    checkpoint_id: str
    target: Target
    reference: str
    pull_s: float
    role: Role = "own"
    bytes_fetched: int = 0
    bytes_written: int = 0
    warm: bool = True
    """Whether a restore there needs nothing more; false if only its chunks were fetched."""


class StandbyRefused(Event):
    """The chosen node cannot take the workload; another one is looked for."""

    TYPE: ClassVar[str] = "standby.refused"
    target: Target
    reason: str
    message: str
    remedy: str


class CheckpointPruned(Event):
    """Retention removed this checkpoint."""

    TYPE: ClassVar[str] = "checkpoint.pruned"
    checkpoint_id: str
    container: str


class ImageBuilt(Event):
    """A checkpoint is complete in the store and has the reference of an OCI image; the node is to stage it."""

    TYPE: ClassVar[str] = "image.built"
    checkpoint_id: str
    target: Target
    reference: str
    digest: str
    role: Role = "own"
    prestage: Prestage = "image"
    asked_by: str = ""
    """The failover's attempt that waits for it: it is staged whatever is newer, and told again if it lies there already."""


class FailoverDeclared(Event):
    """A protected container crashed, hangs, or its node is lost; or somebody asked for it to be moved or restored."""

    TYPE: ClassVar[str] = "failover.declared"
    failover_id: str
    target: Target
    cause: Cause
    detail: str
    noticed_after_s: float = 0.0
    """Since it failed, as far as that is known: for a hang, since the first livenessProbe that failed began."""
    armed: bool = False
    """Whether a checkpoint of it lay ready on its node, so that its next start there is a restore."""
    lived_s: float | None = None
    """How long the instance that is gone had run, by its node's monotonic clock; null if that is not known."""
    reference: str = ""
    """Of older versions: the image that it ran."""
    fence_revision: int = 0
    """Names the pod's fence as it was when its node was given up (0: there was none): whoever writes the fence next decides."""
    to: str = ""
    """Of a planned move: the node that is wanted; empty for any that can."""
    wanted: str = ""
    """Of a restore that somebody asked for: the checkpoint."""
    restored_from: str = ""
    """The checkpoint that the instance which is gone had been restored from; empty: none."""
    rejected: tuple[str, ...] = ()
    """Checkpoints that its node does not restore any more: what came of them ended soon, each time."""
    elsewhere: bool = False
    """Its annotation on-failure says that it is to go to another node now: its own holds it back until that is decided."""


class FailoverStarted(Event):
    """A restorer took the failover on: which path, which checkpoint, where, and why."""

    TYPE: ClassVar[str] = "failover.started"
    failover_id: str
    target: Target
    cause: Cause
    path: Path
    checkpoint_id: str
    standby: str
    why: str
    attempt: int = 1
    reference: str = ""
    """Of older versions: the image that the pod was to run. A pod keeps its own."""


class FailoverHolding(Event):
    """A planned move asks the container's node for the last checkpoint, after which the process stands still."""

    TYPE: ClassVar[str] = "failover.holding"
    failover_id: str
    target: Target
    checkpoint_id: str
    keep: PositiveInt
    hold_s: PositiveFloat
    """How long the process may stand still before its node lets it run on, unless it was fenced by then."""
    attempt: int = 1
    cause: Cause = "move"


class FailoverFenced(Event):
    """The old instance cannot run any more."""

    TYPE: ClassVar[str] = "failover.fenced"
    failover_id: str
    target: Target
    how: str


class FailoverReleased(Event):
    """The decision is final: the instance that was restored frozen is the only one, and its node lets it run."""

    TYPE: ClassVar[str] = "failover.released"
    failover_id: str
    target: Target
    """The restored instance."""
    checkpoint_id: str


class FailoverRestored(Event):
    """The restored instance runs and passes its probe."""

    TYPE: ClassVar[str] = "failover.restored"
    failover_id: str
    target: Target
    checkpoint_id: str


class FailoverCompleted(Event):
    """The workload serves again with its state, and its owner owns it."""

    TYPE: ClassVar[str] = "failover.completed"
    failover_id: str
    target: Target
    cause: Cause
    path: Path
    checkpoint_id: str
    total_s: float
    lost_work: str = ""
    """Of a move: why it runs from an older checkpoint than its last one, so that what it did since is lost. Empty: it is not."""


class FailoverAbandoned(Event):
    """Nothing was restored; why, and what to do."""

    TYPE: ClassVar[str] = "failover.abandoned"
    failover_id: str
    target: Target
    cause: Cause
    reason: str
    message: str
    remedy: str
    outcome: Outcome = "cold"
    """Its state is lost (cold), another failover or Kubernetes has it (hand-over), or a user's will or a node that came back
    made it needless (step-aside)."""
    attempt: int = 1


class FailoverDelayed(Event):
    """The failover cannot go on now, and is tried again when its node is found lost again."""

    TYPE: ClassVar[str] = "failover.delayed"
    failover_id: str
    target: Target
    cause: Cause
    attempt: int
    reason: str
    message: str
    remedy: str


class ContainerEnded(Event):
    """A protected container's process ended, and how; read before anything is removed."""

    TYPE: ClassVar[str] = "container.ended"
    target: Target
    exit_code: int
    """As the runtime reports it: 128 + n for signal n."""
    reason: str
    """As Kubernetes has it: Completed, Error or OOMKilled."""
    ended_at: AwareDatetime
    log_tail: str = ""
    """The end of its log, at most 2 KiB."""
    final: bool = False
    """Its restartPolicy and exit code say that it is not started again."""


class ContainerRestored(Event):
    """A container was restored from its checkpoint on this node, for whatever reason; with CRIU's statistics if CRIU did it."""

    TYPE: ClassVar[str] = "container.restored"
    target: Target
    stats: RestoreStats
    checkpoint_id: str = ""
    """Empty: an older version did not tell."""
    took_s: float | None = None
    """The engine's whole call; of kind http, until the program had taken its state back. null: it was not measured."""
    kind: Kind = "criu"
    """http: its state was posted back to it."""
    frozen: bool = False
    """It does not run yet: its failover has to become final first."""


class OperationRequested(Event):
    """Somebody asked for this; whoever does it names the operation by this id."""

    TYPE: ClassVar[str] = "operation.requested"
    operation_id: str
    operation: Operation
    user: str
    to: str = ""
    """Where it is to be moved; empty: wherever the planner chooses."""
    checkpoint_id: str = ""
    """What it is to be restored from."""


class OperationRefused(Event):
    """What was asked for could not even be begun; why, and what to do."""

    TYPE: ClassVar[str] = "operation.refused"
    operation_id: str
    operation: Operation
    user: str
    reason: str
    message: str
    remedy: str


class NodeEvent(Event):
    """About a node as a whole; the workload fields name the node itself."""

    detail: str


class NodeLost(NodeEvent):
    """The arbiter gave the node up."""

    TYPE: ClassVar[str] = "node.lost"


class NodeSuspected(NodeEvent):
    """The node is silent and its kubelet does not answer, but it may not be given up yet. Nothing is started elsewhere on the
    strength of this; the pods that would be needed are made, and wait.
    """

    TYPE: ClassVar[str] = "node.suspected"


class NodePostponed(NodeEvent):
    """The node is lost, and is not given up yet: too much was failed over at once (the brake); detail: what, and the limit. It is
    given up as soon as the limit lets it, or by `reprise failover --force`.
    """

    TYPE: ClassVar[str] = "node.postponed"


class NodeIsolated(NodeEvent):
    """The node froze its protected containers, because it cannot renew its lease."""

    TYPE: ClassVar[str] = "node.isolated"


class NodeReturned(NodeEvent):
    """The node renews its lease again."""

    TYPE: ClassVar[str] = "node.returned"


class NodeGuarded(NodeEvent):
    """The node can freeze its protected containers, so it may be given up when it is lost; detail: by when."""

    TYPE: ClassVar[str] = "node.guarded"
    freeze_s: float = 0.0
    """The longest that freezing took on it since it booted; 0: it never had to."""


class NodeUnguarded(NodeEvent):
    """The node cannot freeze its protected containers, and why: it is never given up, and what it runs is not moved then."""

    TYPE: ClassVar[str] = "node.unguarded"


ALL: tuple[type[Event], ...] = (
    CheckpointDue,
    CheckpointTaken,
    CheckpointFailed,
    CheckpointSkipped,
    CheckpointPaused,
    CheckpointStored,
    CheckpointStaged,
    StandbyRefused,
    CheckpointPruned,
    ImageBuilt,
    FailoverDeclared,
    FailoverStarted,
    FailoverHolding,
    FailoverFenced,
    FailoverReleased,
    FailoverRestored,
    FailoverCompleted,
    FailoverAbandoned,
    FailoverDelayed,
    ContainerEnded,
    ContainerRestored,
    OperationRequested,
    OperationRefused,
    NodeLost,
    NodeSuspected,
    NodePostponed,
    NodeIsolated,
    NodeReturned,
    NodeGuarded,
    NodeUnguarded,
)
BY_TYPE: dict[str, type[Event]] = {event.TYPE: event for event in ALL}


def node_subject(node: str) -> Workload:
    """The workload field of an event that is about a node."""
    return Workload(namespace=NO_NAMESPACE, kind="Pod", name=node)
