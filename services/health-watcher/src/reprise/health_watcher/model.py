"""What health-watcher knows, frozen."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from reprise.contracts.model import ELSEWHERE, Target, Workload

Reason = Literal["isolated", "fenced", "held", "unreleased"]
"""Why a container stands still: its node has no lease (or has not asked the fences since), its pod is restored elsewhere, it is
being moved, or it was restored and its failover is not final yet.
"""
Name = tuple[str, str]
"""A container: its pod's UID and its own name."""


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
    """By its node's CLOCK_BOOTTIME; means something only there."""
    generation: int = 0
    """How often the node has taken its lease anew after it was taken away."""
    taken: bool = False
    """By the arbiter, which gave the node up; the rest is as the node wrote it last."""


class NodeFacts(BaseModel):
    """What a node says of itself, in KV: what the restorer cannot learn from the API server."""

    node: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A container here that stands still, or is about to, for a planned move; or that has ended, and may go elsewhere.

    checkpoint_id: names the record of it: of the latter it is the failover's. until_s: by this node's CLOCK_BOOTTIME.
    """

    pod_uid: str
    container: str
    container_id: str
    checkpoint_id: str
    until_s: float
    standing: bool = False
    """Its last checkpoint was taken, or it has ended: nothing of it has run since."""

    @property
    def goes_elsewhere(self) -> bool:
        return self.checkpoint_id.startswith(ELSEWHERE)


@dataclass(frozen=True)
class Exit:
    """A container's process has ended. finished_at_ns: by the wall clock; 0: not known."""

    container_id: str
    finished_at_ns: int


class Frozen(BaseModel):
    """A container that stands still, in the ledger."""

    pod_uid: str
    container: str
    reasons: tuple[Reason, ...]


class Standing(BaseModel):
    """On tmpfs: what stands still and why, by container id; what is held. released: also while the disk does not say it."""

    frozen: dict[str, Frozen] = {}
    held: tuple[Held, ...] = ()
    released: tuple[str, ...] = ()


class Renewed(BaseModel):
    """On tmpfs: the last renewal that is known to have succeeded, so that a restarted agent knows its age.

    at_s: CLOCK_BOOTTIME, which is the node's, not the process's. freeze_s, generation: as in the lease.
    """

    boot_id: str
    at_s: float
    freeze_s: float = 0.0
    generation: int = 0


@dataclass(frozen=True)
class Subject:
    """A protected container on this node, joined from the API server's and the runtime's view."""

    workload: Workload
    target: Target
    has_checkpoint: bool
    """One lies ready on this node: its next start here restores it."""


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
    """A container whose liveness probe fails. began_s: when each of these probes began, monotonic, in their order."""

    threshold: int
    began_s: tuple[float, ...]

    @property
    def since_s(self) -> float:
        return self.began_s[0]


@dataclass(frozen=True)
class LeaseView:
    """What the arbiter has seen of one node, on its own clock."""

    node: str
    silent_s: float
    can_freeze: bool
    kubelet_reachable: bool | None
    """None: not asked yet."""
    freeze_s: float = 0.0
    watchdog_s: float = 0.0
    """Both as its lease says."""
