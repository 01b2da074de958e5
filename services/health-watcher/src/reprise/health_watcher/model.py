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


class Fence(BaseModel):
    """Who may run a pod's containers: written once by compare-and-set, by whoever comes first.

    `restorer`: the pod's instance is given up, it may start elsewhere, and the node must never thaw it.
    `node`: the node came back first and runs on.
    """

    pod_uid: str
    holder: str
    failover_id: str = ""


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


@dataclass(frozen=True)
class ProbeCount:
    """Consecutive failures of one container's liveness probe."""

    failures: int = 0
    was_healthy: bool = False


@dataclass(frozen=True)
class LeaseView:
    """What the arbiter has seen of one node, on its own monotonic clock."""

    node: str
    silent_s: float
    can_freeze: bool
    kubelet_reachable: bool | None
    """None: not asked yet."""
