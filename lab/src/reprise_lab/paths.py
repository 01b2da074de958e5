"""Where things live. Everything is under one cache folder; nothing is written into the checkout."""

import json
import os
from pathlib import Path

HOME = Path(os.environ.get("LAB_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reprise-lab")
BIN = HOME / "bin"
SRC = HOME / "src"
ROOTFS = HOME / "rootfs"
PKI = HOME / "pki"
RUN = HOME / "run"
LAYOUTS = HOME / "images"
STORE = HOME / "store"
ENGINE = HOME / "engine"
"""`reprise-runc`, which every node mounts at /opt/reprise/bin."""
KUBECONFIG = PKI / "admin.kubeconfig"

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = Path(os.environ.get("REPRISE_CHECKOUT") or PACKAGE.parents[2])
UV = CHECKOUT / ".bootstrap/bin/uv"
"""The one of deploy/uv.txt; the Makefile installs it."""

BRIDGE = "replab0"
NETNS = "replab"
NET = "10.77.0"
API_IP = f"{NET}.2"
POD_NET = "10.78"
SERVICE_CIDR = "10.96.0.0/16"
DNS_IP = "10.96.0.10"
KIND = RUN / "kind.json"
"""What the lab that is up is made of (kind.py)."""
NODES_VARIABLE = "REPRISE_LAB_NODES"
COUNTS = (2, 3)
"""How many nodes a lab may have."""
NODES: dict[str, str] = {}
"""The address of each node of the lab that is up, or that `up` would boot."""
INFRA_NODE = "n2"
"""Where the third-party servers run, of three nodes only those that are single; of two, the other is the one to power off."""


def set_nodes(count: int) -> None:
    """NODES has so many from now on, for everybody who imported it."""
    NODES.clear()
    NODES.update({f"n{number}": f"{NET}.{10 + number}" for number in range(1, count + 1)})


def count_nodes() -> int:
    """Of the lab that is up, else as the environment says, else two. What cannot be read is kind.py's to refuse."""
    try:
        return int(json.loads(KIND.read_text()).get("nodes", COUNTS[0]))
    except FileNotFoundError:
        told = os.environ.get(NODES_VARIABLE, "")
        return int(told) if told in map(str, COUNTS) else COUNTS[0]
    except ValueError:
        return COUNTS[0]


set_nodes(count_nodes())

CGROUP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")
"""The host's hierarchies. A node is in all of them, whichever it sees: its processes are found in any."""


def pod_cidr(ip: str) -> str:
    return f"{POD_NET}.{ip.rpartition('.')[2]}.0/24"
