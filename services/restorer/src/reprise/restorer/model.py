"""What restorer knows, frozen: the record of a failover, and the snapshot that its plan is made of."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, model_validator
from reprise.contracts.events import Cause, Outcome, Path
from reprise.contracts.model import Frozen, Kind, Target, Workload
from reprise.restorer.placement import Placement, Site

Route = Literal["in-place", "rollback", "shadow", "same-name"]
"""in-place: the kubelet's own restart. rollback: the same, from a checkpoint that somebody chose. shadow: another pod, on another
node, which its ReplicaSet adopts. same-name: the pod is deleted, and the next one of its name goes on from its checkpoint.
"""
KEEP_ALL = 9999


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

    @property
    def harmless(self) -> bool:
        """No state is lost by it."""
        return self.outcome != "cold"


@dataclass(frozen=True)
class Plan:
    """What one attempt does, and why."""

    route: Route
    standby: str
    """The node that it is to run on: its own, or another."""
    why: str
    checkpoint_id: str = ""
    """What it is restored from. Empty: in place, the engine takes the newest that lies on its node."""
    source_uid: str = ""
    """The pod that the checkpoint was taken of: it names the slot."""
    owner: str = ""
    """The ReplicaSet that adopts the shadow."""
    size: int = 0
    """Of the checkpoint; of a planned move, of the one before it."""
    trace: str = ""
    """In which the checkpoint was made, to link to."""
    kind: Kind = "criu"
    """Of the checkpoint; of a planned move, of the one before it. http: it runs before it has its state."""

    @property
    def placed_first(self) -> bool:
        """A planned move makes the other pod while what is moved still serves: its engine waits for the checkpoint. Without one
        it would run.
        """
        return self.route == "shadow" and self.kind != "http"

    @property
    def path(self) -> Path:
        """As events tell it."""
        paths: dict[Route, Path] = {"shadow": "shadow", "same-name": "recreate"}
        return paths.get(self.route, "in-place")


@dataclass(frozen=True)
class Attempt:
    """One way of bringing it back, from its plan to its end. Each has a name of its own: no two pods ever share one."""

    number: int = 1
    plan: Plan | None = None
    tried: tuple[str, ...] = ()
    """Checkpoints that the attempts before could not bring back."""
    failed: Stop | None = None
    """Why the last of them did not come back."""
    restored: Target | None = None
    """The instance that it made; its container_id is empty until it is known."""
    released: bool = False
    """It may run, or the pod that it replaces is deleted: from here on nothing is undone (I9)."""
    stop: Stop | None = None
    """Why it is being undone."""

    def next(self, *, without: str = "", failed: Stop | None = None) -> "Attempt":
        """Another one; without: a checkpoint that is not tried again; failed: why."""
        if not without:
            return Attempt(self.number + 1, tried=self.tried, failed=self.failed)
        return Attempt(self.number + 1, tried=(*self.tried, without), failed=failed)


class Saga(Frozen):
    """One failover's record in KV: `step` is the step to do next. Written by compare-and-set only.

    There is one for a pod's container and its cause, whatever the number of its attempts: two can never act at once.
    """

    failover_id: str
    workload: Workload
    target: Target
    cause: Cause
    declared_at: AwareDatetime
    step: str = "plan"
    attempt: Attempt = Attempt()
    why: str = ""
    """Why it ended, or waits."""
    delays: int = 0
    judged_at: AwareDatetime | None = None
    """Which declaration made it go on after a delay: one that is delivered twice does so once."""
    fence_revision: int = 0
    """Of the pod's fence when the node was given up, or when this failover let go of it."""
    rejected: tuple[str, ...] = ()
    """Checkpoints that its node does not restore any more."""
    to: str = ""
    """Of a planned move: the node that is wanted; empty for any that can."""
    wanted: str = ""
    """Of a restore that somebody asked for: the checkpoint."""
    elsewhere: bool = False
    """Of what has ended: it is to go to another node. Its own holds it back, until that is done, or is not to be."""
    restored_from: str = ""
    """Which checkpoint the instance that is gone had come of; empty: none."""
    keep: int = KEEP_ALL
    """How many good checkpoints retention leaves when the last one before a hold is stored."""

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, found: Any) -> Any:
        """Those had an attempt's fields in the record itself, and other steps: what had begun is undone, and says why."""
        if not isinstance(found, dict) or not isinstance(found.get("attempt"), int):
            return found
        began = found.get("path") is not None
        plan = {"route": "shadow" if found.get("path") == "shadow" else "in-place", "standby": found.get("standby") or "",
                "why": found.get("why") or "", "checkpoint_id": found.get("checkpoint_id") or ""}  # fmt: skip
        attempt = {"number": found["attempt"], "tried": found.get("tried") or (), "stop": found.get("stop"),
                   "plan": plan if began else None}  # fmt: skip
        step = found.get("step", "plan")
        known = step in ("plan", "undo", "wait", "complete", "abandoned")
        return found | {"attempt": attempt, "step": step if known else f"older {step}"}

    @property
    def ended(self) -> bool:
        return self.step in ("complete", "abandoned")

    @property
    def moves(self) -> bool:
        """To another node."""
        return self.cause in ("node-loss", "move") or self.elsewhere

    @property
    def planned(self) -> bool:
        """What is moved runs and goes on running if the move does not succeed."""
        return self.cause == "move"

    @property
    def lost_work(self) -> str:
        """Of a move: why it runs from an older checkpoint than its last one; empty if it does not."""
        return self.attempt.stop.message if self.planned and self.attempt.stop else ""

    @property
    def unfenced(self) -> bool:
        """Nothing holds its pod's fence for it yet."""
        early = self.step == "place" and self.planned and self.plan.placed_first
        return early or self.step in ("prepared", "hold", "fence")

    @property
    def untouched(self) -> bool:
        """What it is about runs as before, so far, or is restored in place all the same."""
        if self.planned or self.elsewhere:
            return not self.attempt.released
        return self.cause == "restore" and self.step != "verify"

    @property
    def held_as(self) -> str:
        """Under which name its node holds it; empty: it does not."""
        return self.failover_id if self.elsewhere else self.checkpoint_id if self.planned else ""

    def in_place(self, stop: Stop) -> "Saga":
        """What could not go elsewhere is left to its own node."""
        attempt, why = Attempt(self.attempt.number + 1, failed=stop), f"not moved: {stop.message}"
        return self.at("plan", attempt=attempt, why=why, elsewhere=False)

    @property
    def plan(self) -> Plan:
        """Of this attempt, once it has one."""
        assert self.attempt.plan is not None, f"{self.failover_id} has no plan at step {self.step}"
        return self.attempt.plan

    @property
    def checkpoint_id(self) -> str:
        return self.attempt.plan.checkpoint_id if self.attempt.plan else ""

    @property
    def source_uid(self) -> str:
        """Of the pod that the checkpoint is of."""
        return (self.attempt.plan.source_uid if self.attempt.plan else "") or self.target.pod_uid

    @property
    def standby(self) -> str:
        return self.attempt.plan.standby if self.attempt.plan else ""

    @property
    def name(self) -> str:
        """Of this attempt: of its events, and its shadow."""
        return self.failover_id if self.attempt.number == 1 else f"{self.failover_id}-{self.attempt.number}"

    def at(
        self,
        step: str,
        *,
        attempt: Attempt | None = None,
        target: Target | None = None,
        fence_revision: int | None = None,
        judged_at: AwareDatetime | None = None,
        delays: int | None = None,
        why: str | None = None,
        elsewhere: bool | None = None,
    ) -> "Saga":
        """The record with this step as the next one; what is not given stays."""
        return Saga(
            failover_id=self.failover_id, workload=self.workload, target=target or self.target, cause=self.cause,
            declared_at=self.declared_at, step=step, attempt=attempt or self.attempt, why=self.why if why is None else why,
            delays=self.delays if delays is None else delays, judged_at=judged_at or self.judged_at,
            fence_revision=self.fence_revision if fence_revision is None else fence_revision, rejected=self.rejected,
            to=self.to, wanted=self.wanted, elsewhere=self.elsewhere if elsewhere is None else elsewhere,
            restored_from=self.restored_from, keep=self.keep,
        )  # fmt: skip

    def undone(self, stop: Stop) -> "Saga":
        return self.at("undo", attempt=replace(self.attempt, stop=stop), why=stop.message)


class Recovery(Frozen):
    """What is not to be restored of a workload's container, in KV (bucket `recoveries`)."""

    rejected: tuple[str, ...] = ()
    """Checkpoints that did not live, or that somebody went back behind."""
    dead: tuple[str, ...] = ()
    """Containers of which nothing counts that is checkpointed still: they were ended to go back."""


class Settled(Frozen):
    """The newest requests of a workload that were declared, or refused, in KV: what is asked for once is done once, whatever
    became of the pod since.
    """

    move: str = ""
    restore: str = ""


class Standby(Frozen):
    """Where one pod's container would be moved to, in KV by the pod that its checkpoints are of: each replica has its own.
    checkpoint_id: what lies ready there; empty: nothing yet.
    """

    node: str = ""
    checkpoint_id: str = ""
    previous: str = ""
    """What lay ready there before, and still does: a node keeps two."""
    warm: bool = False
    refused: dict[str, str] = Field(default={})
    """Nodes that said they cannot take it, with their reason."""
    asked: str = ""
    """A failover waits for this one, though it may be older than what lies there."""

    def holds(self, node: str, checkpoint_id: str) -> bool:
        """Whether a restore of this checkpoint needs nothing more there."""
        return self.warm and self.node == node and checkpoint_id in (self.checkpoint_id, self.previous)


@dataclass(frozen=True)
class PodView:
    """The failed pod as the API server has it now."""

    uid: str
    name: str
    deleting: bool
    image: str
    """What its container runs."""
    container_id: str
    owner_kind: str
    owner_name: str
    restored_from: str = ""
    """The pod whose checkpoint a failover made it from, by its UID; empty if none did."""
    evicted: str = ""
    """Why Kubernetes itself ends it (a condition's reason); empty if it does not."""
    wanted: int | None = None
    """Replicas that its owner wants; None if it has no owner that says so."""
    outdated: bool = False
    """Its Deployment has a newer ReplicaSet."""
    update_pending: str = ""
    """The revision that its StatefulSet's next pod of this name would be of; empty if that is this pod's own."""
    protected: int = 1
    """How many of its containers are."""
    asks: Placement = field(default_factory=Placement)
    """Of the node that it is to run on."""
    node: str = ""
    """That it is bound to; empty: none yet."""
    finalizer: str = ""
    """What keeps it once it is deleted; empty: nothing."""
    revision: str = ""
    """Of its StatefulSet's template; empty if it has no such owner."""
    failover: str = ""
    """The failover's attempt that made it; empty if none did."""


@dataclass(frozen=True)
class PodNames:
    """A pod, protected or not."""

    workload: Workload
    uid: str


@dataclass(frozen=True)
class Life:
    """What is seen of a restored instance: whether it runs at all, and whether it passes its own probe. grace_s: for so long its
    own spec lets it be unhealthy.
    """

    runs: bool
    healthy: bool
    detail: str
    preparing: bool = False
    """Its init containers are at work, and none of them has failed."""
    grace_s: float = 0.0


@dataclass(frozen=True)
class Prepared:
    """How far a pod that was made is. ready: its init containers are done, and its own may start."""

    ready: bool
    rejected: str = ""
    """Why it never will be: its node's kubelet does not take it, or it is gone."""
    detail: str = ""


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


NOT_KNOWN = NodeFacts(node="", cpu_features=())


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
    emptied: tuple[str, ...] = ()
    """Where an emptyDir is mounted on which a file is open for writing, which is not there on another node."""


@dataclass(frozen=True)
class Good:
    """A good checkpoint. size: of its archive; new_bytes: what of it no checkpoint before it had."""

    checkpoint_id: str
    need: Need
    size: int = 0
    new_bytes: int = 0
    container_id: str = ""
    """Of the process that was dumped."""
    pod_uid: str = ""
    """Of its pod; empty: unknown."""
    traceparent: str = ""
    """The trace that it was made in; empty if there is none."""
    kind: Kind = "criu"


@dataclass(frozen=True)
class Snapshot:
    """Everything that plan() looks at. good: checkpoints that it may be restored from, the best first."""

    cause: Cause
    target: Target
    pod: PodView | None
    good: tuple[Good, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    standby: str = ""
    """The node that the newest checkpoints are staged on; empty if there is none."""
    refused: tuple[tuple[str, str], ...] = ()
    """Nodes that said they cannot take it, each with its reason."""
    tried: tuple[str, ...] = ()
    """Checkpoints that this failover could not bring back."""
    failed: Stop | None = None
    """Why the last of them did not come back."""
    recovery: Recovery = field(default_factory=Recovery)
    fenced_by: str = ""
    """Another failover that has the pod's fence."""
    unfit: str = ""
    """Why the newest checkpoint of another template than the pod's is not among them; empty if there is none."""
    to: str = ""
    """Of a planned move: the node that is wanted; empty for any that can."""
    wanted: str = ""
    """Of a restore that somebody asked for: the checkpoint."""
    elsewhere: bool = False
    """Of what has ended: it is to go to another node."""
    restored_from: str = ""
    """Which checkpoint the instance that is gone had come of; empty: none."""

    @property
    def need(self) -> Need:
        return self.good[0].need if self.good else Need()


@dataclass(frozen=True)
class Again:
    """Undone, then tried once more: at once, keeping the fence; or later, letting it go."""

    later: bool
    why: str
