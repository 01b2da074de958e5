"""What restorer needs from outside."""

from dataclasses import dataclass
from typing import Protocol

from reprise.contracts.model import Target, Workload
from reprise.restorer.model import Need, NodeView, PodView
from reprise.runtime.kv import key
from reprise.runtime.probe import Verdict


@dataclass(frozen=True)
class Good:
    """A good checkpoint. size: of its archive; new_bytes: what of it no checkpoint before it had."""

    checkpoint_id: str
    need: Need
    size: int = 0
    new_bytes: int = 0


class Checkpoints(Protocol):
    """The store of good checkpoints and of the images made of them. Raises StoreError."""

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        """Newest first."""
        ...

    async def publish(self, workload: Workload, container: str, checkpoint_id: str, live_id: str) -> tuple[str, str]:
        """Make it an image and point the live reference at it. Returns (reference, digest)."""
        ...


class Cluster(Protocol):
    """The API server. Raises RecoveryError (retryable where it is)."""

    async def pod(self, namespace: str, name: str, container: str) -> PodView | None: ...

    async def nodes(self) -> tuple[NodeView, ...]: ...

    async def set_image(self, namespace: str, pod: str, container: str, image: str) -> None: ...

    async def create_shadow(self, target: Target, workload: Workload, failover_id: str, standby: str, image: str) -> None:
        """Idempotent by the failover's id."""
        ...

    async def healthy(self, namespace: str, pod: str, target: Target) -> Verdict:
        """Whether this pod's container is another instance than target's, runs, and passes its own probe."""
        ...

    async def adopt(self, target: Target, workload: Workload, failover_id: str) -> bool:
        """Hand the shadow to the old pod's ReplicaSet; True once it owns it."""
        ...

    async def discard_shadow(self, workload: Workload, failover_id: str) -> None: ...


def shadow_name(workload: Workload, failover_id: str) -> str:
    """A shadow's name says whose it is, and is the same on each attempt."""
    return f"{workload.name[:40]}-{failover_id}"


def standby_key(workload: Workload, container: str) -> str:
    """In the bucket `standby`."""
    return key(workload.namespace, workload.kind, workload.name, container)
