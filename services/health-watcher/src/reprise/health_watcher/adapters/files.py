"""What the agent remembers in files: on tmpfs what fencing needs, on the node's disk the rest."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, whenever the agent is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)


def write_mark(path: Path) -> None:
    """An empty file, which outlives a power cut from here on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def names(folder: Path) -> set[str]:
    """Of the files that lie there."""
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def bring(names: tuple[str, ...], source: Path, target: Path) -> None:
    """What an earlier agent kept on the disk, and is on tmpfs now. Of an earlier boot it names nothing that is there."""
    for name in names:
        old, new = source / name, target / name
        if old.exists():
            if not new.exists():
                write_whole(new, old.read_text())
            old.unlink()
