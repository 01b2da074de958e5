"""What scheduler remembers of a container's checkpoints."""

from pydantic import BaseModel


class Slot(BaseModel):
    """The newest slot that was emitted, in KV; a slot is one interval of the container's own grid."""

    pod_uid: str
    container: str
    interval_s: float
    number: int
    demand_s: float = 0.0
    """The owner's last demand that was served, in seconds since the epoch."""


class Harm(BaseModel):
    """How a pod's container stood its last checkpoints, in KV; a pod that never was harmed has none."""

    pod_uid: str
    container: str
    in_a_row: int = 0
    """Checkpoints after which it was not healthy."""
    checkpoint_id: str = ""
    """The newest that is counted: an outcome that is told twice, or late, counts once."""
