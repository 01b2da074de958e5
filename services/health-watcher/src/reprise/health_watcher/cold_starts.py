"""The cold starts that were announced, on the node's disk: an agent that starts anew goes by them too.

One is of the next instance in place of the one that is gone. It is kept after that has started, for the readiness gate, until
another one is announced or the pod is gone.
"""

import contextlib
from pathlib import Path

from pydantic import BaseModel
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.model import Name


class ColdStart(BaseModel):
    """gone, instance: containers' ids; of the latter, empty: it has not started yet."""

    gone: str
    reason: str
    instance: str = ""


class _File(BaseModel):
    cold: dict[str, ColdStart] = {}


class ColdStarts:
    """file: written at each change; while the disk does not take it, it is known here all the same."""

    def __init__(self, file: Path, disk: Disk) -> None:
        self._file, self._disk = file, disk
        self._known: dict[str, ColdStart] = {}
        with contextlib.suppress(OSError, ValueError):
            self._known = _File.model_validate_json(disk.ask(file, file.read_text, "")).cold

    def announce(self, name: Name, gone: str, reason: str) -> None:
        self._known["/".join(name)] = ColdStart(gone=gone, reason=reason)
        self._save()

    def next(self, name: Name, running: str) -> str:
        """Why the next start is a cold one; empty: it is not. running: the id of what runs, if anything does."""
        known = self._known.get("/".join(name))
        if known is None or known.instance:
            return ""
        if running and running != known.gone:
            self._known["/".join(name)] = known.model_copy(update={"instance": running})
            self._save()
            return ""
        return known.reason

    def started(self, name: Name, container_id: str) -> bool:
        """Whether this very instance is one."""
        known = self._known.get("/".join(name))
        return known is not None and container_id != known.gone and known.instance in ("", container_id)

    def forget_pods(self, there: set[str]) -> None:
        """There are no other pods any more."""
        left = {name: cold for name, cold in self._known.items() if name.partition("/")[0] in there}
        if left.keys() != self._known.keys():
            self._known = left
            self._save()

    def _save(self) -> None:
        self._disk.write(self._file, _File(cold=self._known).model_dump_json())
