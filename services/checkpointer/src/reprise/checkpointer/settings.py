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
    criu_log_dir: Path = Path("/var/lib/containers/storage/overlay-containers")
    """Where the runtime leaves CRIU's dump.log (read-only mount); the kubelet's message is cut before the reason.
    Its statistics there tell when CRIU has finished."""
    cgroup_root: str = "/host/cgroup"
    """The host's /sys/fs/cgroup as mounted here: a planned move's last checkpoint ends with a frozen container."""
