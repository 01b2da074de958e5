"""Writes the slot of a state that a program handed out (docs/node-files.md), complete or not at all."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


class StateSlots:
    """root: the node's /var/lib/reprise/slots as it is mounted here. A home is `<namespace>/<pod uid>/<container>`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def live(self, home: str) -> str:
        """The checkpoint that would be given back first; empty if there is none."""
        try:
            return (self._root / home / "live").readlink().name
        except OSError:
            return ""

    def begin(self, home: str, checkpoint_id: str) -> IO[bytes]:
        """The file for the state. Raises OSError."""
        part = self._part(home, checkpoint_id)
        shutil.rmtree(part, ignore_errors=True)
        for folder in (part.parent.parent.parent, part.parent.parent, part.parent, part):
            folder.mkdir(mode=0o700, exist_ok=True)
        return os.fdopen(os.open(part / "state", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def commit(self, home: str, checkpoint_id: str, state: IO[bytes], told: Mapping[str, Any]) -> None:
        """state: what begin() gave; told: its slot.json. Raises OSError."""
        part = self._part(home, checkpoint_id)
        state.flush()
        os.fdatasync(state.fileno())
        with os.fdopen(os.open(part / "slot.json", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(json.dumps(told).encode())
            file.flush()
            os.fdatasync(file.fileno())
        part.rename(part.with_name(checkpoint_id))
        folder = os.open(part.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def drop(self, home: str, checkpoint_id: str) -> None:
        """What was begun is not wanted."""
        shutil.rmtree(self._part(home, checkpoint_id), ignore_errors=True)

    def _part(self, home: str, checkpoint_id: str) -> Path:
        return self._root / home / f"{checkpoint_id}.partial"
