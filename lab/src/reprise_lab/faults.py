"""Real faults: what tests and the demo do to the lab."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from reprise_lab import kind, listing
from reprise_lab.node import Node
from reprise_lab.paths import API_IP, NODES
from reprise_lab.shell import LabError, kill

From = Literal["all", "nats", "api"]
TABLE = "reprise_lab_cut"
AGENT_DEAD_S = 6.0
"""An agent that has written nothing for 5 s counts as dead (docs/node-files.md)."""


def _alone() -> None:
    """Raises LabError in a test that others may run beside: what strikes a node or a service strikes theirs too."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        raise LabError("this disturbs other tests: mark it with `alone`")


def power_off(name: str) -> None:
    """All of the node's processes die at once; its link is gone."""
    _alone()
    Node(name).off()


def power_on(name: str) -> None:
    """Boot it again with the disk it had; returns when it is Ready."""
    Node(name).up()


def cut_rules(what: From) -> dict[str, list[str]]:
    """nftables rules by hook."""
    if what == "all":
        return {"prerouting": ['iifname "eth0" drop'], "postrouting": ['oifname "eth0" drop']}
    both = {
        "nats": ["tcp dport 4222 drop", "tcp sport 4222 drop"],
        "api": [f"ip {side} {{ {API_IP}, 10.96.0.1 }} drop" for side in ("daddr", "saddr")],
    }[what]
    return dict.fromkeys(("prerouting", "output", "postrouting"), both)


def cut(name: str, what: From) -> None:
    """Drop packets in the node's network namespace, both ways, pods' included; heal() ends it.

    all: everything on the node's link; nats: TCP port 4222; api: the API server, by address and by its service.
    """
    _alone()
    heal(name)
    rules = cut_rules(what)
    # Before conntrack and destination NAT (-300): a service's address is still its own there.
    hooks = ("prerouting", "postrouting") if what == "all" else ("prerouting", "output", "postrouting")
    lines = [f"add table inet {TABLE}"]
    for hook in hooks:
        lines.append(f"add chain inet {TABLE} {hook} {{ type filter hook {hook} priority -310; }}")
        lines += [f"add rule inet {TABLE} {hook} {rule}" for rule in rules[hook]]
    Node(name).exec("sh", "-c", "printf '%s\n' \"$@\" | nft -f -", "nft", *lines)


def heal(name: str) -> None:
    """A node that was powered off meanwhile has lost its rules with its network namespace."""
    if Node(name).init_pid:
        Node(name).exec("nft", "delete", "table", "inet", TABLE, check=False)


def pod_json(namespace: str, pod: str) -> dict[str, object]:
    return listing.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")


def container_pids(uid: str, container_id: str) -> list[int]:
    """Every process of a container as the host numbers it, its first process first."""
    lab = kind.current()
    for node in NODES:
        for folder in lab.pods(node).glob(f"**/pod{uid}/{lab.container_folder(container_id)}"):
            pids: list[int] = []
            for file in folder.rglob("cgroup.procs"):
                pids += [int(p) for p in file.read_text().split()]
            return sorted(pids, key=lambda pid: (_inner_pid(pid) != 1, pid))
    return []


def living_pids(uid: str) -> list[int]:
    """Of a pod with one container: the processes of whichever lives, without conmon's and the sandbox's."""
    lab = kind.current()
    for node in NODES:
        for folder in lab.pods(node).glob(f"**/pod{uid}/{lab.container_folder('*')}/"):
            pids = [int(p) for p in (folder / "cgroup.procs").read_text().split()]
            commands = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids if Path(f"/proc/{pid}").exists()}
            if pids and "conmon" not in folder.name and not commands & {"pause", "catatonit"}:
                return sorted(pids, key=lambda pid: (_inner_pid(pid) != 1, pid))
    return []


def _inner_pid(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    line = next((x for x in status.splitlines() if x.startswith("NSpid:")), "NSpid:\t0")
    return int(line.split()[-1])


def process_signal(namespace: str, pod: str, container: str, number: int) -> int:
    """Send a signal to the container's first process (STOP and CONT: to all of them); returns its pid.

    The API server may still show a container that is dead: the id with living processes is the one.
    """
    found = pod_json(namespace, pod)
    uid = found["metadata"]["uid"]  # type: ignore[index]
    statuses = found["status"].get("containerStatuses", [])  # type: ignore[attr-defined]
    chosen = next((s for s in statuses if not container or s["name"] == container), None)
    if chosen is None:
        raise LabError(f"pod {namespace}/{pod} has no container {container!r}")
    pids = container_pids(str(uid), chosen.get("containerID", "").rpartition("/")[2]) or living_pids(str(uid))
    if not pids:
        raise LabError(f"container {chosen['name']} of {namespace}/{pod} has no living process now")
    return _send(pids, number)


def pod_signal(uid: str, number: int) -> int:
    """process_signal() to a pod with one container, without asking the API server, which may be away."""
    pids = living_pids(uid)
    if not pids:
        raise LabError(f"the pod with uid {uid} has no living process now")
    return _send(pids, number)


def _send(pids: list[int], number: int) -> int:
    for pid in pids if number in (signal.SIGSTOP, signal.SIGCONT) else pids[:1]:
        kill(pid, number)
    return pids[0]


def service_pids(service: str, node: str = "") -> list[int]:
    """Every process of every pod of one of our services, on that node if one is named. Raises LabError if it has no pod."""
    every = listing.pods("reprise-system", f"app.kubernetes.io/name={service}")
    pods = [pod for pod in every if node in ("", pod["spec"].get("nodeName"))]
    if not pods:
        raise LabError(f"there is no pod of service {service!r} in reprise-system")
    pids: list[int] = []
    for pod in pods:
        for status in pod["status"].get("containerStatuses", []):
            pids += container_pids(pod["metadata"]["uid"], status.get("containerID", "").rpartition("/")[2])
    return pids


@contextlib.contextmanager
def agents_away(node: str) -> Iterator[None]:
    """Every service of ours on that node stands still, and counts as dead, until the block ends."""
    _alone()
    pids = [pid for service in ("health-watcher", "checkpointer", "transfer") for pid in service_pids(service, node)]
    try:
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        time.sleep(AGENT_DEAD_S)
        yield
    finally:
        for pid in pids:
            kill(pid, signal.SIGCONT)


def kill_service(service: str) -> int:
    """kill -9 the processes of every pod of one of our services; returns how many."""
    _alone()
    pids = service_pids(service)
    for pid in pids:
        kill(pid, signal.SIGKILL)
    return len(pids)
