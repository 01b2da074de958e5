"""Every knob of transfer; each is an environment variable with the prefix `REPRISE_`."""

from pathlib import Path

from pydantic import SecretStr
from reprise.runtime.settings import RuntimeSettings


class Settings(RuntimeSettings):
    """node_name is required: this service belongs to its node. Where the store is: reprise.archive.settings."""

    kek_dir: Path = Path("/etc/reprise/keys")
    """The mounted Secret of key-encryption keys: a file for each key, its name the key's id; `active` names one."""
    cache_dir: Path = Path("/var/lib/reprise/packs")
    """This node's copies of packs, encrypted as in the store."""
    cache_bytes: int = 4 << 30
    """How much it may hold; 0: no copies, each restore downloads."""
    cache_spare_bytes: int = 2 << 30
    """What is left free on its disk, whatever cache_bytes says."""
    keep_ladder: str = ""
    """Besides the newest N, e.g. `1h:24,1d:7`: the newest of each of the last 24 hours and 7 days."""
    gc_interval_s: float = 600.0
    """How often each node looks for packs that nothing refers to."""
    checkpoints_dir: Path = Path("/var/lib/kubelet/checkpoints")
    """Where the kubelet puts archives, mounted here under the same path."""
    cri_socket: str = ""
    """The container runtime's; empty: /run/crio/crio.sock or /run/containerd/containerd.sock, whichever exists."""
    run_dir: Path = Path("/run/reprise")
    """What this node's engine and agents share, of which `pods` is read here."""
    registry_token: SecretStr = SecretStr("")
    """Whoever shows it may pull checkpoints as images from this node's registry; empty: there is no registry."""
    registry_host: str = "127.0.0.1"
    registry_port: int = 5797
    orphan_age_s: float = 3600.0
    """An archive that nobody told of is removed when it is this old."""
    slots_dir: Path = Path("/var/lib/reprise/slots")
    """This node's slots."""
    staging_spare_bytes: int = 4 << 30
    """What staging leaves free on the node's disk."""
    slots_gone_after_s: float = 1800.0
    """Slots that nothing was staged to for so long, of a pod that is not on the node, are removed."""
