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


class Standby(BaseModel):
    """Where a container would be moved to, in KV. checkpoint_id: the newest that lies ready there; empty: none yet.

    refused: nodes that said they cannot take it, with their reason.
    """

    node: str = ""
    checkpoint_id: str = ""
    reference: str = ""
    warm: bool = False
    refused: dict[str, str] = {}

    def holds(self, node: str, checkpoint_id: str, reference: str) -> bool:
        """Whether a restore of this checkpoint under this reference needs nothing more there."""
        return self.warm and (self.node, self.checkpoint_id, self.reference) == (node, checkpoint_id, reference)


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
    runtime: str = ""
    """The container runtime's family, e.g. cri-o; empty if unknown."""
    free_bytes: int = 1 << 62
    """Of memory: what is allocatable less what its pods request."""


@dataclass(frozen=True)
class Need:
    """What a checkpoint asks of a node; empty or 0 where it is not known."""

    architecture: str = ""
    runtime: str = ""
    memory_bytes: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything that plan() looks at. checkpoints: ids of good ones, newest first."""

    cause: Cause
    workload: Workload
    target: Target
    pod: PodView | None
    checkpoints: tuple[str, ...]
    nodes: tuple[NodeView, ...]
    need: Need = Need()
    standby: str = ""
    """The node that the newest checkpoints are staged on; empty if there is none."""
    refused: tuple[tuple[str, str], ...] = ()
    """Nodes that said they cannot take it, each with its reason."""


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
