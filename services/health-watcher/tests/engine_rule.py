"""What the engine does when a container is created, as docs/node-files.md has it ("Rules of `create`"); without those for pods
that a failover made. One table tests it and the engine: engine/internal/decide/testdata/create.json.
"""

from typing import Literal

from reprise.runtime.nodefiles import ALIVE_S, NodeFile, PodFile

Act = Literal["runc", "restore", "blank", "refuse", "again"]
"""again: look at the files once more."""
NO_FILE_S, WAIT_S, GIVE_UP_S = 1.0, 20.0, 120.0


def engine_rule(
    node: NodeFile | None, pod: PodFile | None, container: str, *, boot_id: str, has_slot: bool, now_s: float, waited_s: float,
    up_s: float,
) -> Act:  # fmt: skip
    """node, pod: as the files are now. waited_s: since the call began. up_s: since the node booted."""
    never = node is None or node.boot_id != boot_id
    alive = node is not None and not never and now_s - node.heartbeat_at_s <= ALIVE_S
    if pod is None and alive and waited_s < NO_FILE_S:
        return "again"
    if (pod is None and not has_slot) or (pod is not None and container not in pod.containers):
        return "runc"
    verdict = pod.containers[container].verdict if pod else "wait" if alive else "restore"
    if never:
        return "blank" if up_s >= GIVE_UP_S else _bounded(waited_s, "refuse")
    if verdict == "refuse" or (alive and not lease_held(node, now_s)):
        return "refuse"
    if verdict == "wait":
        return _bounded(waited_s, "refuse" if alive else "restore")
    return "blank" if verdict == "blank" else "restore"


def _bounded(waited_s: float, then: Act) -> Act:
    return "again" if waited_s < WAIT_S else then


def lease_held(node: NodeFile | None, now_s: float) -> bool:
    return node is not None and node.renewed_at_s is not None and now_s - node.renewed_at_s <= node.ttl_s
