"""What restorer knows, frozen."""

from dataclasses import dataclass
from typing import Literal

from pydantic import AwareDatetime, BaseModel
from reprise.contracts.events import Cause, Path
from reprise.contracts.model import Target, Workload

Step = Literal["plan", "fence", "image", "place", "verify", "adopt", "complete", "abandoned"]
STEPS: tuple[Step, ...] = ("plan", "fence", "image", "place", "verify", "adopt", "complete")


class Saga(BaseModel):
    """One failover's record in KV: `step` is the step to do next. Written by compare-and-set only."""

    failover_id: str
    workload: Workload
    target: Target
    cause: Cause
    declared_at: AwareDatetime
    step: Step = "plan"
    path: Path | None = None
    checkpoint_id: str = ""
    standby: str = ""
    reference: str = ""
    why: str = ""

    @property
    def ended(self) -> bool:
        return self.step in ("complete", "abandoned")


class Fence(BaseModel):
    """Who may run a pod's containers; the same record that health-watcher writes (see its model.py)."""

    pod_uid: str
    holder: str
    failover_id: str = ""


@dataclass(frozen=True)
class PodView:
    """The failed pod as the API server has it now."""

    uid: str
    name: str
    deleting: bool
    image: str
    container_id: str
    owner_kind: str
    owner_name: str
    live_id: str


@dataclass(frozen=True)
class NodeView:
    """A node that might take the workload."""

    name: str
    ready: bool
    schedulable: bool
    architecture: str
    protected_pods: int


@dataclass(frozen=True)
class Snapshot:
    """Everything that plan() looks at. checkpoints: ids of good ones, newest first."""

    cause: Cause
    workload: Workload
    target: Target
    pod: PodView | None
    checkpoints: tuple[str, ...]
    nodes: tuple[NodeView, ...]
    architecture: str = ""
    """Of the newest checkpoint; empty if unknown."""


@dataclass(frozen=True)
class Go:
    """Do this."""

    path: Path
    checkpoint_id: str
    standby: str
    why: str


@dataclass(frozen=True)
class Stop:
    """Do nothing (the user's will, or already done), or give up with a reason."""

    reason: str
    message: str
    remedy: str
    harmless: bool = False
    """True: nothing was wrong, and nobody needs to be told."""
