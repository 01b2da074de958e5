"""What scheduler remembers of a container's checkpoints."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class Slot(BaseModel):
    """The newest slot that was emitted, in KV; a slot is one interval of the container's own grid."""

    pod_uid: str
    container: str
    interval_s: float
    number: int
    checkpoint_id: str = ""
    """What was emitted; empty in a record of an older version."""
    demand_s: float = 0.0
    """The owner's last demand that was served, in seconds since the epoch."""


class Harm(BaseModel):
    """How a pod's container stood its last checkpoints, in KV; a pod that never was harmed has none."""

    pod_uid: str
    container: str
    in_a_row: int = 0
    """Checkpoints after which it was not healthy."""
    lasting: str = ""
    """The reason that each checkpoint would meet again, if the last one failed of such a one."""
    failures: int = 0
    """Of that reason, in a row."""
    failed_at_s: float = 0.0
    """When the last of them was told of, in seconds since the epoch."""
    checkpoint_id: str = ""
    """The newest that is counted: an outcome that is told twice, or late, counts once."""


UNHARMED = Harm(pod_uid="", container="")


@dataclass(frozen=True)
class Known:
    """What events have told of one container of a pod; every replica follows them, and the leader speaks."""

    pod: str = ""
    """Its name."""
    checkpoint_id: str = ""
    """The newest good one; empty: none is known."""
    recovery_point: datetime | None = None
    """When it was due: the state that would be brought back is at least as new."""
    failed_id: str = ""
    """The newest that did not count."""
    failure: str = ""
    """Why that did not count, and what to do."""
    busy_id: str = ""
    """The newest that gave way because its node is too busy."""
    busy: str = ""
    """What its node said of that, and what to do."""
    paused_uid: str = ""
    """The pod that is not checkpointed any more."""
    standby: str = ""
    standby_holds: str = ""
    """The checkpoint that lies ready there."""
    warm: bool = False
    live_id: str = ""
    """The newest checkpoint that lay ready on its pod's own node."""
    live_uid: str = ""
    """That pod."""
    live_node: str = ""


Reason = Literal[
    "Armed",
    "NotReady",
    "NoCheckpoint",
    "CheckpointFailing",
    "Stale",
    "CheckpointsPaused",
    "NotRunning",
    "NotAnnotated",
    "NoSuchContainer",
]


@dataclass(frozen=True)
class Protection:
    """What a pod's owner reads: its condition `reprise.dev/Protected`."""

    protected: bool
    reason: Reason
    message: str
