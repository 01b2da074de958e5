"""The rules of transfer, pure."""

from collections.abc import Iterable
from pathlib import Path

from reprise.contracts.errors import CheckpointError


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
