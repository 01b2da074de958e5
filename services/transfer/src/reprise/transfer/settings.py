"""Every knob of transfer; each is an environment variable with the prefix `REPRISE_`."""

from pathlib import Path

from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """node_name is required: this service belongs to its node. Where the store is: reprise.archive.settings."""

    checkpoints_dir: Path = Path("/var/lib/kubelet/checkpoints")
    """Where the kubelet puts archives, mounted here under the same path."""
    cri_socket: str = "/run/crio/crio.sock"
    registry_host: str = "127.0.0.1"
    registry_port: int = 5797
    orphan_age_s: float = 3600.0
    """An archive that nobody told of is removed when it is this old."""
