"""What restorer knows, frozen."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import AwareDatetime, BaseModel
from reprise.contracts.events import Cause, Outcome, Path
from reprise.contracts.model import Frozen, Target, Workload
from reprise.restorer.placement import Placement, Site

Step = Literal["plan", "hold", "fence", "image", "place", "verify", "adopt", "undo", "wait", "complete", "abandoned"]
STEPS: tuple[Step, ...] = ("plan", "hold", "fence", "image", "place", "verify", "adopt", "complete")


@dataclass(frozen=True)
class Stop:
    """Why a failover does not go on, and what becomes of it."""

    reason: str
    message: str
    remedy: str
    outcome: Outcome = "cold"
    later: bool = False
    """Worth another attempt when the node is found lost again: what is missing may have come."""
    poisoned: bool = False
    """The checkpoint did not come back to life: the one before it may."""
    again: bool = False
    """Bad luck, worth another attempt at once."""
    unheld: bool = False
    """Its last checkpoint left nothing standing still."""

    @property
    def harmless(self) -> bool:
        """No state is lost by it."""
        return self.outcome != "cold"


class Recovery(Frozen):
    """What a live reference was last restored from, in KV, and how that went. Poisoned checkpoints are found by it."""

    checkpoint_id: str = ""
    strikes: int = 0
    """Restored instances in a row that ended soon."""
    back: int = 0
    """Checkpoints that were given up for it since one lived."""
    void: tuple[str, ...] = ()
    """Checkpoints that were given up."""
    dead: tuple[str, ...] = ()
    """Containers that ended soon: what was checkpointed of them is given up too."""
    counted: tuple[str, ...] = ()
    """Failovers that are in this already: a resumed one is not counted twice."""
    arms: bool = True
    """False once it had to start cold: it is not armed by itself again."""


KEEP_ALL = 9999


class Saga(BaseModel):
    """One failover's record in KV: `step` is the step to do next. Written by compare-and-set only.

    There is one for a pod's container and its cause, whatever the number of its attempts: two can never act at once.
    """

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
    attempt: int = 1
    """Each has a name of its own: no two pods, and no two images, ever share one."""
    delays: int = 0
    judged_at: AwareDatetime | None = None
    """Which declaration made it go on after a delay: one that is delivered twice does so once."""
    fence_revision: int = 0
    """Of the pod's fence when the node was given up, or when this failover let go of it."""
    lived_s: float | None = None
    ran: str = ""
    """The image that the instance which is gone ran."""
    tried: tuple[str, ...] = ()
    """Checkpoints that this failover could not bring back."""
    replaced: tuple[str, ...] = ()
    """Containers that are not the restored one."""
    cold_image: str = ""
    """What a cold start in place runs."""
    seen_image: str = ""
    """What the pod ran when it was planned."""
    live_id: str = ""
    """What the restored instance's live reference is called."""
    recovery: Recovery = Recovery()
    checkpoint_trace: str = ""
    """The trace that its checkpoint was made in, to link to."""
    stop: Stop | None = None
    """Why it is being undone."""
    to: str = ""
    """Of a planned move: the node that is wanted; empty for any that can."""
    wanted: str = ""
    """Of a restore that somebody asked for: the checkpoint."""
    keep: int = KEEP_ALL
    """How many good checkpoints retention leaves when the last one before a hold is stored."""
    hold_s: float = 0.0
    """How long a process may stand still without being fenced, or its record taken."""
    lossy: bool = False
    """Of an arming whose process could not be held: it goes on from its newest checkpoint."""

    @property
    def ended(self) -> bool:
        return self.step in ("complete", "abandoned")

    @property
    def moves(self) -> bool:
        """To another node."""
        return self.cause in ("node-loss", "move")

    @property
    def planned(self) -> bool:
        """What is moved runs and goes on running if the move does not succeed."""
        return self.cause == "move"

    @property
    def untouched(self) -> bool:
        """What it is about runs as before, so far."""
        return self.planned or (self.cause == "restore" and self.attempt == 1 and self.step not in ("verify", "adopt"))

    @property
    def holds(self) -> bool:
        """It goes on from a last checkpoint, after which the process stands still."""
        return self.cause == "move" or (self.cause == "arm" and not self.lossy)

    @property
    def name(self) -> str:
        """Of this attempt: of its events, its shadow, its live reference."""
        return self.failover_id if self.attempt == 1 else f"{self.failover_id}-{self.attempt}"


class Settled(Frozen):
    """The newest requests of a workload that were declared, or refused, in KV: what is asked for once is done once, whatever
    became of the pod since.
    """

    move: str = ""
    restore: str = ""


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
    evicted: str = ""
    """Why Kubernetes itself ends it (a condition's reason); empty if it does not."""
    wanted: int | None = None
    """Replicas that its owner wants; None if it has no owner that says so."""
    outdated: bool = False
    """Its Deployment has a newer ReplicaSet."""
    cold_image: str = ""
    """What its owner's template says that this container runs; empty if there is none."""
    asks: Placement = field(default_factory=Placement)
    """Of the node that it is to run on."""


@dataclass(frozen=True)
class LiveRef:
    """A live reference in the store. pod_uid: whose checkpoint it shows. idle_s: since it was written, by the store's clock.

    version: of the object, so that what is removed is what was judged.
    """

    namespace: str
    live_id: str
    container: str
    pod_uid: str
    idle_s: float
    version: str


@dataclass(frozen=True)
class PodNames:
    """A pod, protected or not, by what can lead it to a live reference. live_id: what its annotation names, or empty."""

    workload: Workload
    uid: str
    images: tuple[str, ...]
    live_id: str = ""


@dataclass(frozen=True)
class Life:
    """What is seen of a restored instance: whether it runs at all, and whether it passes its own probe."""

    runs: bool
    healthy: bool
    detail: str


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
    kernel: str = ""
    criu: str = ""
    """The version that its checkpoints tell of; empty if none is known."""
    cpu_features: tuple[str, ...] = ()
    """As /proc/cpuinfo says; empty if unknown."""
    site: Site = field(default_factory=Site)
    """As the scheduler would look at it."""


class NodeFacts(BaseModel):
    """What a node says of itself, in KV; the same record that health-watcher writes."""

    node: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True)
class Need:
    """What a checkpoint asks of a node; empty or 0 where it is not known."""

    architecture: str = ""
    runtime: str = ""
    memory_bytes: int = 0
    kernel: str = ""
    criu: str = ""
    cpu_features: tuple[str, ...] = ()
    """Of the node that it was taken on, as /proc/cpuinfo says."""
    base_image: str = ""
    mounts: tuple[str, ...] = ()
    """Paths at which the container must have a mount for the runtime to restore it."""
    devices: tuple[str, ...] = ()
    """Paths of device nodes that the container was given besides the usual ones."""


@dataclass(frozen=True)
class Good:
    """A good checkpoint. size: of its archive; new_bytes: what of it no checkpoint before it had."""

    checkpoint_id: str
    need: Need
    size: int = 0
    new_bytes: int = 0
    container_id: str = ""
    """Of the process that was dumped."""
    traceparent: str = ""
    """The trace that it was made in; empty if there is none."""


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
    tried: tuple[str, ...] = ()
    """Checkpoints that this failover could not bring back."""
    failover_id: str = ""
    lived_s: float | None = None
    ran: str = ""
    """The image that the instance which is gone ran; empty if unknown."""
    proved: bool = False
    """A good checkpoint was taken of the instance that is gone: it lived."""
    recovery: Recovery = field(default_factory=Recovery)
    """Of the pod's live reference."""
    fenced_by: str = ""
    """Another failover that has the pod's fence."""
    unfit: str = ""
    """Why the newest checkpoint of another template than the pod's is not among them; empty if there is none."""
    to: str = ""
    """Of a planned move: the node that is wanted; empty for any that can."""
    wanted: str = ""
    """Of a restore that somebody asked for: the checkpoint."""


@dataclass(frozen=True)
class Go:
    """Do this. recovery: what is remembered of it, for the live reference that it will run."""

    path: Path
    checkpoint_id: str
    standby: str
    why: str
    recovery: Recovery = field(default_factory=Recovery)
    renamed: bool = False
    """In place under a live reference of this failover's own: a live reference never goes back in time."""


@dataclass(frozen=True)
class Again:
    """Undone, then tried once more: at once from the checkpoint before, keeping the fence; or later, letting it go."""

    later: bool
    why: str
    lossy: bool = False
    """From its newest checkpoint: it cannot be held."""
