"""The rules of transfer, pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reprise.contracts.errors import CheckpointError
from reprise.contracts.events import CheckpointTaken
from reprise.transfer.model import Noted


def archive_path(told: str, checkpoints_dir: Path) -> Path:
    """The archive that an event names, if it is a checkpoint archive right in the kubelet's folder.

    Raises CheckpointError: an event must not make a root process read or remove any other file.
    """
    path = Path(told)
    plain = path.name.startswith("checkpoint-") and path.suffix == ".tar" and ".." not in path.parts
    if path.parent != checkpoints_dir or not plain:
        raise CheckpointError(
            f"{told[:300]!r} is no checkpoint archive in {checkpoints_dir}",
            reason="ForeignPath",
            remedy="the kubelet's root folder differs from checkpoints_dir: set REPRISE_CHECKPOINTS_DIR",
        )
    return path


def orphans(archives: Iterable[tuple[Path, float]], busy: Iterable[Path], age_s: float) -> list[Path]:
    """Of (path, age in seconds): those that no event told of for so long that none will."""
    spared = set(busy)
    return [path for path, age in archives if age > age_s and path not in spared]


def gives_up(noted: Noted, taken: CheckpointTaken) -> bool:
    """Whether no image may be made of it: it was found poisoned, or the instance that it is of ended soon."""
    return taken.checkpoint_id in noted.void or taken.target.container_id in noted.dead


@dataclass(frozen=True)
class Refusal:
    """Why a checkpoint is not staged on this node, and what can be done."""

    reason: str
    message: str
    remedy: str


def staging_limitation(
    archive_runtime: str,
    node_runtime: str,
    base_image: str,
    *,
    base_present: bool,
    missing_bytes: int,
    free_bytes: int,
    spare_bytes: int,
) -> Refusal | None:
    """Why this node cannot hold the checkpoint ready; None if it can. Sizes in bytes.

    An archive of one runtime family does not restore on the other (FACTS: "failed to read io.kubernetes.cri-o.Annotations").
    """
    if archive_runtime != node_runtime:
        return Refusal(
            "OtherRuntime", f"the checkpoint is {archive_runtime}'s, this node runs {node_runtime}",
            "restores need nodes with the same container runtime",
        )  # fmt: skip
    if not base_present:
        return Refusal(
            "NoBaseImage", f"the base image {base_image} is not on the node in this version and cannot be pulled",
            "use an image that a registry still has under its tag, best by digest",
        )  # fmt: skip
    if free_bytes - missing_bytes < spare_bytes:
        return Refusal(
            "DiskPressure", f"staging needs {missing_bytes} bytes more, {free_bytes} are free and {spare_bytes} are to stay so",
            "free disk space on the node, or lower REPRISE_STAGING_SPARE_BYTES",
        )  # fmt: skip
    return None
