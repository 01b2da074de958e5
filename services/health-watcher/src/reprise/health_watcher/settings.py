"""Every knob of health-watcher; each is an environment variable with the prefix `REPRISE_`."""

from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """node_name is required: this service belongs to its node."""

    host_ip: str = ""
    """Where this node's kubelet answers; published in the lease for the arbiter."""
    cri_socket: str = "/run/crio/crio.sock"
    exits_dir: str = "/run/crio/exits"
    """CRI-O's container_exits_dir as mounted here. Where there is none, ends are noticed by the event stream only."""
    restores_dir: str = "/host/overlay-containers"
    """overlay-containers below the run root of CRI-O's storage as mounted here. Where there is none, CRIU's statistics of a
    restore are not told."""
    cgroup_root: str = "/host/cgroup"
    """The host's /sys/fs/cgroup as mounted here: the freezer (v1) or the unified tree (v2)."""
    state_dir: str = "/var/lib/reprise"
    """On the node's disk: which containers we froze, so that a restarted agent thaws them and no others."""
    kubelet_port: int = 10250
    watchdog_device: str = ""
    """A hardware watchdog, e.g. /dev/watchdog, that resets the node if its agent is dead while it is cut off; empty: not used."""
    watchdog_timeout_s: int = 10
    """The node is given up a second after that at the earliest. It must outlast a restart of the agent."""
    hold_blank_s: float = 5.0
    """How long the blank instance that the kubelet starts after a crash is held at most while its restore is prepared; 0: not."""
