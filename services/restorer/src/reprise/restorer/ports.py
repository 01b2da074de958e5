"""What restorer needs from outside."""

from collections.abc import Mapping
from typing import Protocol

from reprise.contracts.model import Target, Workload
from reprise.restorer.model import Good, Life, NodeView, PodNames, PodView, Prepared
from reprise.restorer.placement import Placement

FAILOVER_ANNOTATION = "reprise.dev/failover"
"""On a pod that a failover made: its name."""
REVISION_LABEL = "controller-revision-hash"
"""On a StatefulSet's pod: the revision of the template that it was made of."""


class Checkpoints(Protocol):
    """The store of good checkpoints and of the images made of them. Raises StoreError."""

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        """Newest first."""
        ...

    async def publish(self, workload: Workload, container: str, checkpoint_id: str) -> tuple[str, str]:
        """Make it an OCI image at the registry on each node. Returns (reference, digest). Raises NotStored."""
        ...


class Pods(Protocol):
    """Raises RecoveryError."""

    async def everyone(self) -> tuple[PodNames, ...]:
        """All pods that there are, as the API server's own store has them now: no cache is asked."""
        ...


class Budgets(Protocol):
    """The PodDisruptionBudgets that are ours. Raises RecoveryError."""

    async def guards(self) -> dict[Workload, bool]:
        """Whose there are, and whether each allows evictions."""
        ...

    async def create(self, workload: Workload) -> None:
        """One that allows none; not if the workload has another that is not ours."""
        ...

    async def set(self, workload: Workload, *, allows: bool) -> bool:
        """False if there is none."""
        ...

    async def remove(self, workload: Workload) -> None: ...


class Taints(Protocol):
    """What keeps the scheduler from putting new pods on a node; each failover has its own. Raises RecoveryError."""

    async def keep_off(self, node: str, failover_id: str) -> None: ...

    async def let_on(self, node: str, failover_id: str) -> None: ...

    async def kept_off(self) -> list[tuple[str, str]]:
        """Each node, and the failover that keeps pods off it."""
        ...


class Cluster(Protocol):
    """The API server. Raises RecoveryError (retryable where it is)."""

    async def pod(self, namespace: str, name: str, container: str) -> PodView | None: ...

    async def placement(self, namespace: str, name: str, uid: str, container: str) -> Placement:
        """What this very pod asks of a node; nothing if it is gone."""
        ...

    async def nodes(self) -> tuple[NodeView, ...]: ...

    async def cordoned(self) -> frozenset[str]:
        """Nodes that take no new pods."""
        ...

    async def nudge(self, namespace: str, pod: str, why: str) -> None:
        """Have its kubelet look at the pod now. Never raises: it looks by itself, if later."""
        ...

    async def create_shadow(
        self, workload: Workload, name: str, owner: str, standby: str, annotations: dict[str, str], *, source: Target,
        gated: bool = False, ahead: bool = False,
    ) -> str:  # fmt: skip
        """From this ReplicaSet's template, on this node, with the labels that the source has now; its UID. Idempotent by its
        name, the failover attempt's. RecoveryError, not retryable: there is nothing to make it of. gated: it has the readiness
        gate `reprise.dev/restored`. ahead: its failover is not decided yet, and it starts nothing before this is called again
        without that.
        """
        ...

    async def discard_ahead(self, workload: Workload, name: str) -> bool:
        """Delete the shadow unless its failover has taken it; True once it is taken, or gone."""
        ...

    async def refuses_shadow(self, workload: Workload, name: str, owner: str, standby: str, source: Target) -> str:
        """Why the API server would not take such a pod; empty if it would. Makes nothing."""
        ...

    async def prepared(self, namespace: str, pod: str) -> Prepared:
        """How far a pod that was made is on its way to start its containers."""
        ...

    async def life(self, namespace: str, pod: str, target: Target, replaced: tuple[str, ...]) -> Life:
        """Of this pod's container: whether another instance than those that are replaced runs, and passes its probe as its node's
        agent says.
        """
        ...

    async def other_images(self, node: str, image: str) -> frozenset[str]:
        """Names of the node's images that are another one than this, if it has this; never raises: nothing if not known."""
        ...

    async def opens_gate(self, namespace: str, pod: str, checkpoint_id: str) -> bool:
        """Open the readiness gate of a pod that was verified, if it lists one; whether it is ready then, or lists none."""
        ...

    async def adopted(self, workload: Workload, name: str) -> bool | None:
        """Whether a ReplicaSet owns the shadow; None if there is no shadow."""
        ...

    async def adopt(self, target: Target, workload: Workload, name: str, owner: str) -> bool:
        """Hand the shadow to this ReplicaSet, which gives up the old pod for it; False if there is no such ReplicaSet."""
        ...

    async def fence(self, target: Target, namespace: str, failover_id: str) -> str:
        """Write on this very pod that a failover has it, unless another does; which. A pod that is gone is nobody else's."""
        ...

    async def unfence(self, target: Target, namespace: str, failover_id: str) -> None:
        """Take that off again, if it is this failover's."""
        ...

    async def step_back(self, target: Target, namespace: str, name: str) -> None:
        """Of the old pod: its Services send nobody there any more, and of two pods its ReplicaSet removes it."""
        ...

    async def end(self, target: Target, namespace: str) -> None:
        """The old pod, whose place is taken: at once, because what is frozen does not end by itself."""
        ...

    async def body(self, namespace: str, name: str, uid: str, annotations: dict[str, str]) -> str | None:
        """What the next pod of this one's name is made of, with these annotations: JSON, without what a server sets. None: it is
        gone.
        """
        ...

    async def unacceptable(self, namespace: str, body: str, node: str) -> str:
        """Why the API server would not take a pod of body() on this node, were its name free; empty if it would."""
        ...

    async def end_for_good(self, target: Target, namespace: str) -> None:
        """This very pod is gone from the API server when this returns, unless somebody's finalizer keeps it."""
        ...

    async def recreate(self, namespace: str, body: str, node: str) -> None:
        """Make a pod of body() on this node; empty: where the scheduler puts it. Not if its name is taken. RecoveryError, not
        retryable: the API server does not accept it.
        """
        ...

    async def carry(self, namespace: str, name: str, uid: str, body: str) -> None:
        """Give this very pod, which its owner made, the labels and annotations of body(): somebody may have set some at run time;
        nothing if it is gone.
        """
        ...

    async def mark(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str | None]) -> None:
        """Annotate this very pod, None takes one away; nothing if it is gone."""
        ...

    async def discard_shadow(self, workload: Workload, name: str) -> bool:
        """True once it is certain that it does not run: its node has confirmed it, or there is none."""
        ...


def shadow_name(workload: Workload, name: str) -> str:
    """A shadow's name says whose it is; name: of the failover's attempt, so that no two attempts share one."""
    return f"{workload.name[:40]}-{name}"


def guard_name(workload: Workload) -> str:
    """Of its PodDisruptionBudget."""
    return f"reprise-guard-{workload.name}"[:253]
