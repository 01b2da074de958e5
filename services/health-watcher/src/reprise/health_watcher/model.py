"""What health-watcher knows, frozen."""

from dataclasses import dataclass

from pydantic import BaseModel
from reprise.contracts.model import Target, Workload


class NodeLease(BaseModel):
    """A node's sign of life, in KV and (while NATS is away) as a Kubernetes Lease."""

    node: str
    host_ip: str
    boot_id: str
    renewals: int
    can_freeze: bool
    """That it will freeze when it must: its freezer is within reach, and it knows that it held a lease."""
    freeze_s: float = 0.0
    """The longest that freezing all of its containers took since it booted; 0: it never had to."""
    watchdog_s: float = 0.0
    """After so long without its agent a hardware watchdog resets it; 0: it has none."""
    sent_at_s: float = 0.0
    """By its node's monotonic clock; means something only there."""


class NodeFacts(BaseModel):
    """What a node says of itself, in KV: what the restorer cannot learn from the API server."""

    node: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A container here that stands still, or is about to, for a planned move or its arming.

    until_s: by this node's monotonic clock. stays: what is restored in its place runs here, in the same pod.
    """

    pod_uid: str
    container_id: str
    checkpoint_id: str
    until_s: float
    stays: bool = False


@dataclass(frozen=True)
class Exit:
    """A container's process has ended. finished_at_ns: by the wall clock."""

    container_id: str
    finished_at_ns: int


class Standing(BaseModel):
    """On the node's disk: what this node keeps frozen, by container id, and what it holds."""

    frozen: tuple[str, ...] = ()
    held: tuple[Held, ...] = ()
    pods: dict[str, str] = {}
    """The pod, by its UID, of each container that was to stand still, until it is gone."""


class Renewed(BaseModel):
    """On the node's disk: the last renewal that is known to have succeeded, so that a restarted agent knows its age.

    at_s: CLOCK_MONOTONIC, which is the node's, not the process's, and counts from its boot. freeze_s: as in the lease.
    """

    boot_id: str
    at_s: float
    freeze_s: float = 0.0


@dataclass(frozen=True)
class Subject:
    """A protected container on this node, joined from the API server's and the runtime's view."""

    workload: Workload
    target: Target
    armed: bool


@dataclass(frozen=True)
class Death:
    """A container that ended."""

    container_id: str
    known: Subject | None
    pod_deleting: bool
    runs_live_image: bool
    pods_known: bool = True
    """Whether this node's pods were listed since the agent started."""
    superseded: bool = False
    """Whether the runtime has a newer container of the same pod and name."""


@dataclass(frozen=True)
class Birth:
    """A container that the kubelet started in place of one that ended. restored: it runs from a checkpoint. placed: its pod has
    its checkpoint as image by now. in_budget: blanks may be held for longer.
    """

    restored: bool
    first: bool
    has_checkpoint: bool
    placed: bool
    in_budget: bool


@dataclass(frozen=True)
class Instance:
    """What runs in a protected container, for the readiness gate; container_id empty: nothing does. first: of its pod.
    cold: it starts without its memory, and that was announced.
    """

    container: str
    container_id: str = ""
    restored: bool = False
    first: bool = False
    cold: bool = False


@dataclass(frozen=True)
class Gate:
    """A pod's condition: reason and message as Kubernetes has them."""

    open: bool
    reason: str
    message: str


@dataclass(frozen=True)
class ProbeCount:
    """Consecutive failures of one container's liveness probe."""

    failures: int = 0
    was_healthy: bool = False


@dataclass(frozen=True)
class Failing:
    """A container whose liveness probe fails. since_s: when the first of these probes began, monotonic."""

    failures: int
    threshold: int
    since_s: float


@dataclass(frozen=True)
class LeaseView:
    """What the arbiter has seen of one node, on its own monotonic clock."""

    node: str
    silent_s: float
    can_freeze: bool
    kubelet_reachable: bool | None
    """None: not asked yet."""
    freeze_s: float = 0.0
    watchdog_s: float = 0.0
    """Both as its lease says."""
