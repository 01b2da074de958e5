"""What scheduler remembers of a container's checkpoints."""

from pydantic import BaseModel


class Slot(BaseModel):
    """The newest slot that was emitted, in KV; a slot is one interval of the container's own grid."""

    pod_uid: str
    container: str
    interval_s: float
    number: int
