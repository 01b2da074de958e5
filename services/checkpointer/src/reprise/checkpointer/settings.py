"""Every knob of checkpointer; each is an environment variable with the prefix `REPRISE_`."""

from pathlib import Path

from reprise.runtime.settings import RuntimeSettings

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Settings(RuntimeSettings):
    """node_name and host_ip are required: this service calls its own node's kubelet only."""

    host_ip: str = ""
    kubelet_port: int = 10250
    kubelet_ca: Path = ACCOUNT / "ca.crt"
    """Whom the kubelet's serving certificate must be signed by."""
    token_file: Path = ACCOUNT / "token"
    kubelet_timeout_s: float = 120.0
    run_dir: Path = Path("/run/reprise")
    """What this node's engine and agents share, of which `requests` is written, and `dumps` and `starts` are read here."""
    slots_dir: Path = Path("/var/lib/reprise/slots")
    """This node's slots: what a program of mode http hands out is written there."""
    state_timeout_s: float = 30.0
    """How long such a program may take to answer."""
    cgroup_root: str = "/host/cgroup"
    """The host's /sys/fs/cgroup as mounted here: a planned move's last checkpoint ends with a frozen container."""
