"""Where things live. Everything is under one cache folder; nothing is written into the checkout."""

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
NODES = {"n1": f"{NET}.11", "n2": f"{NET}.12"}
INFRA_NODE = "n2"
"""Where the third-party servers run; the other node is the one that tests power off."""

CGROUP = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")
"""The host's hierarchies. A node is in all of them, whichever it sees: its processes are found in any."""


def pod_cidr(ip: str) -> str:
    return f"{POD_NET}.{ip.rpartition('.')[2]}.0/24"
