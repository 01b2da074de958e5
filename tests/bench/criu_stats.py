"""CRIU's own figures of a restore. CRI-O removes the file as soon as the restore has succeeded: it is caught meanwhile."""

import os
import threading
import time
from pathlib import Path

from reprise.archive.criu import read_restore_stats
from reprise_lab.node import Node
from reprise_lab.shell import LabError

LOOK_S = 0.002


class RestoreStats:
    """Use as a context manager around a restore on that node; a restore before it is not seen."""

    def __init__(self, node: str) -> None:
        self._folder = Node(node).root / "run/containers/storage/overlay-containers"
        self._stop = threading.Event()
        self._found: list[int] = []
        self._thread = threading.Thread(target=self._look_for_ever, daemon=True)

    def __enter__(self) -> "RestoreStats":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def restore_s(self) -> float:
        """Of the last one. Raises LabError if none was caught."""
        for fd in reversed(self._found):
            if stats := read_restore_stats(os.pread(fd, 1 << 16, 0)):
                return stats.restore_time_us / 1e6
        raise LabError("CRIU's stats-restore was not seen: CRI-O removed it first")

    def _look_for_ever(self) -> None:
        known = set(self._folder.iterdir())
        fresh: set[Path] = set()
        while not self._stop.is_set():
            fresh |= set(self._folder.iterdir()) - known
            for folder in list(fresh):
                try:
                    fd = os.open(folder / "userdata/stats-restore", os.O_RDONLY)
                except OSError:
                    continue
                self._found.append(fd)
                fresh.discard(folder)
                known.add(folder)
            time.sleep(LOOK_S)
