"""The restorer's planner, pure: which path, which checkpoint, which node, or none and why.

Only a good checkpoint is restored (I2, I4); a user's deletion or rollout always wins; and a node-loss plan never
names the node that was lost (I1).
"""

from reprise.contracts.images import parse_live
from reprise.restorer.model import Go, NodeView, Snapshot, Stop


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
    eligible, refused = [], []
    for node in now.nodes:
        why_not = limitation(node, now)
        if why_not:
            refused.append(f"{node.name} {why_not}")
        else:
            eligible.append(node)
    if not eligible:
        return Stop(
            "NoStandby",
            "no node can take it: " + ("; ".join(refused) or "there is no other node"),
            "add a node of the same architecture, or make one schedulable",
        )
    chosen = min(eligible, key=lambda node: (node.protected_pods, node.name))
    return Go("shadow", checkpoint_id, chosen.name, f"{chosen.name} is ready and runs the fewest protected pods")


def limitation(node: NodeView, now: Snapshot) -> str:
    """Why this node cannot take the workload; empty if it can."""
    if node.name == now.target.node:
        return "is the lost node"
    if not node.ready:
        return "is not ready"
    if not node.schedulable:
        return "is cordoned"
    if now.architecture and node.architecture != now.architecture:
        return f"is {node.architecture}, the checkpoint is {now.architecture}"
    return ""
