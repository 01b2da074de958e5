"""The restorer's planner, pure: which path, which checkpoint, which node, or none and why.

Only a good checkpoint is restored (I2, I4); a user's deletion or rollout always wins; and a node-loss plan never
names the node that was lost (I1).
"""

from dataclasses import dataclass

from reprise.contracts.annotations import Prestaging
from reprise.contracts.events import Prestage
from reprise.contracts.images import parse_live
from reprise.restorer.model import Go, Need, NodeView, Snapshot, Stop


def plan(now: Snapshot) -> Go | Stop:  # noqa: PLR0911 one return per rule reads best
    """Decide from one snapshot. The same snapshot gives the same plan."""
    pod = now.pod
    if pod is None or pod.uid != now.target.pod_uid:
        return Stop("PodGone", "the pod no longer exists", "nothing: its owner has replaced or removed it", harmless=True)
    if pod.deleting:
        return Stop("PodDeleting", "the pod is being deleted", "nothing: a deletion wins over a failover", harmless=True)
    armed = parse_live(pod.image) is not None
    if not now.checkpoints:
        return Stop(
            "NoCheckpoint",
            "there is no good checkpoint of this container yet: it starts cold",
            "see the workload's events for why none succeeded; `kubectl describe` it",
        )
    newest = now.checkpoints[0]
    if now.cause == "node-loss":
        return _elsewhere(now, newest)
    if now.cause == "arm" and armed:
        return Stop("AlreadyArmed", "the pod's image is its live reference already", "", harmless=True)
    if armed:
        return Go("in-place-armed", newest, now.target.node, "armed: the kubelet restores its newest checkpoint itself")
    return Go("in-place-patch", newest, now.target.node, f"the node is healthy and the newest checkpoint is {newest}")


def _elsewhere(now: Snapshot, checkpoint_id: str) -> Go | Stop:
    assert now.pod is not None
    if now.pod.owner_kind != "ReplicaSet":
        return Stop(
            "OwnerNotSupported",
            f"a {now.pod.owner_kind or 'bare'} pod cannot be moved off a lost node in this version",
            "run it as a Deployment, or delete the pod by hand once the node is certainly off",
        )
    chosen = choose_node(now.nodes, now.need, now.target.node, now.standby, dict(now.refused))
    if isinstance(chosen, str):
        return Stop("NoStandby", f"no node can take it: {chosen}", "add a node that can, or make one of these able to")
    return Go("shadow", checkpoint_id, chosen.node.name, chosen.why)


@dataclass(frozen=True)
class Choice:
    """A node, and why this one."""

    node: NodeView
    why: str


def choose_node(nodes: tuple[NodeView, ...], need: Need, lost: str, sticky: str, refused: dict[str, str]) -> Choice | str:
    """The node to move to, or why there is none. The same node as long as it can: what it holds already need not be sent."""
    eligible, limits = [], []
    for node in nodes:
        why_not = limitation(node, need, lost) or refused.get(node.name, "")
        if why_not:
            limits.append(f"{node.name} {why_not}")
        else:
            eligible.append(node)
    if not eligible:
        return "; ".join(limits) or "there is no other node"
    for node in eligible:
        if node.name == sticky:
            return Choice(node, f"{node.name} holds its checkpoints ready")
    best = min(eligible, key=lambda node: (node.protected_pods, -node.free_bytes, node.name))
    return Choice(best, f"{best.name} is ready and runs the fewest protected pods")


def limitation(node: NodeView, need: Need, lost: str) -> str:  # noqa: PLR0911 one return per rule reads best
    """Why this node cannot take what needs that; empty if it can."""
    if node.name == lost:
        return "is the node it runs on"
    if not node.ready:
        return "is not ready"
    if not node.schedulable:
        return "is cordoned"
    if need.architecture and node.architecture != need.architecture:
        return f"is {node.architecture}, the checkpoint is {need.architecture}"
    if need.runtime and node.runtime and node.runtime != need.runtime:
        return f"runs {node.runtime}, the checkpoint is {need.runtime}'s"
    if node.free_bytes < need.memory_bytes:
        return f"has {node.free_bytes >> 20} MiB of memory to give, it needs {need.memory_bytes >> 20}"
    return ""


PRESTAGE_MOST_BYTES = 16 << 30
PRESTAGE_MOST_BYTES_S = 64 << 20


def prestage(wanted: Prestaging, size: int, new_bytes: int, interval_s: float) -> tuple[Prestage, str]:
    """What of a checkpoint is to lie ready on the standby, and why. size: of its archive; new_bytes: what of it is new.

    Staging writes what is new up to three times (its packs, and each of two slots), so that is what it costs the standby.
    """
    if wanted != "auto":
        return wanted, "its annotation reprise.dev/prestage says so"
    rate = 3 * new_bytes / interval_s
    if size > PRESTAGE_MOST_BYTES:
        return "chunks", f"{size >> 20} MiB would lie on the standby twice"
    if rate > PRESTAGE_MOST_BYTES_S:
        return (
            "chunks",
            f"{new_bytes >> 20} MiB are new each {interval_s:g} s: writing {int(rate) >> 20} MiB/s would cost the standby",
        )
    return "image", f"{new_bytes >> 20} MiB are new each {interval_s:g} s"
