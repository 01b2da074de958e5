"""How the instances of each container ended before, on the node's disk: the kubelet's back-off and early exits go by it."""

import contextlib
from pathlib import Path

from pydantic import BaseModel
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.model import Name
from reprise.health_watcher.rules.early_exits import EarlyExits
from reprise.health_watcher.rules.slow_loops import SlowLoop

LIMIT = 2000


class Ends(BaseModel):
    """Of one container of one pod. at_s: by the wall clock, as the kubelet has it."""

    container_id: str = ""
    at_s: float = 0.0
    soon_in_a_row: int = 0
    early: EarlyExits = EarlyExits()
    slow: SlowLoop = SlowLoop()


class _File(BaseModel):
    ends: dict[str, Ends] = {}


class History:
    """file: written after each end; while the disk does not take it, it is known here all the same."""

    def __init__(self, file: Path, disk: Disk) -> None:
        self._file, self._disk = file, disk
        self._known: dict[str, Ends] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = _File.model_validate_json(disk.ask(file, file.read_text, "")).ends

    def of(self, name: Name) -> Ends:
        return self._known.get("/".join(name), Ends())

    def rejected(self, name: Name) -> tuple[str, ...]:
        return self.of(name).early.rejected

    def write(self, name: Name, ends: Ends) -> None:
        self._known["/".join(name)] = ends
        if len(self._known) > LIMIT:
            oldest = sorted(self._known, key=lambda known: self._known[known].at_s)
            for known in oldest[: LIMIT // 2]:
                del self._known[known]
        self._disk.write(self._file, _File(ends=self._known).model_dump_json())
