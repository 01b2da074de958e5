"""The engine's marks on what it has frozen for a checkpoint: docs/node-files.md, `freezing/`."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class FreezingMarks:
    """run_dir: the node's /run/reprise as it is mounted here."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / "freezing"

    def left(self) -> Iterator[str]:
        """The containers that an engine had frozen when it was killed. No other engine freezes one before the next is asked for:
        its mark is locked. The kernel says by the lock who lives; process ids mean nothing in another PID namespace.
        """
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            with contextlib.suppress(OSError), path.open("rb") as mark:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(mark.fileno()), path.stat()):
                    yield path.name

    def are_there(self, container_id: str) -> bool:
        """Whether it is frozen for a checkpoint, or was when its engine was killed."""
        return (self._folder / container_id).exists()

    def remove(self, container_id: str) -> None:
        """From here on it is nobody's but the agent's."""
        with contextlib.suppress(OSError):
            (self._folder / container_id).unlink()
