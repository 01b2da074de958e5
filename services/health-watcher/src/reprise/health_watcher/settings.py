"""Every knob of health-watcher and of the arbiter; each is an environment variable with the prefix `REPRISE_`."""

from pydantic import Field
from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """node_name is required: this service belongs to its node."""

    host_ip: str = ""
    """Where this node's kubelet answers; published in the lease for the arbiter."""
    cri_socket: str = ""
    """The container runtime's; empty: /run/crio/crio.sock or /run/containerd/containerd.sock, whichever exists."""
    exits_dir: str = "/run/crio/exits"
    """CRI-O's container_exits_dir as mounted here. Where there is none, ends are noticed by the runtime's event stream."""
    run_dir: str = "/run/reprise"
    """What the engine and the agents share until the node reboots: docs/node-files.md."""
    logs_dir: str = "/var/log/pods"
    """The containers' logs as mounted here, read only."""
    cgroup_root: str = "/host/cgroup"
    """The host's /sys/fs/cgroup as mounted here: the freezer (v1) or the unified tree (v2)."""
    state_dir: str = "/var/lib/reprise"
    """On the node's disk: the slots, and what this agent has to know when it starts again."""
    watchdog_device: str = ""
    """A hardware watchdog, e.g. /dev/watchdog, that resets the node if its agent is dead while it is cut off; empty: not used."""
    watchdog_timeout_s: int = 10
    """The node is given up a second after that at the earliest. It must outlast a restart of the agent."""


class ArbiterSettings(RuntimeSettings):
    """node_name is required: the arbiter tells by its node's clock how old its view is."""

    kubelet_port: int = 10250
    """Of every node."""
    brake_share: float = Field(default=0.5, gt=0, le=1)
    """Of the nodes, and of the protected pods: more are not failed over at once, unless it is a single node. 1: no brake."""
    brake_window_s: float = Field(default=60.0, gt=0)
    """For so long a node that was given up counts after it returned; while it is lost it always does."""
