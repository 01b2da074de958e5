"""The one list of what stands still on this node and why; on disk before anything is frozen.

An agent that is killed after it wrote thaws what never froze, which is harmless; the other way round something would stand still
for ever, and on no list.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

from reprise.health_watcher.adapters.files import names, write_mark, write_whole
from reprise.health_watcher.model import Frozen, Held, Reason, Standing
from reprise.runtime.cri import RunningContainer


class Ledger:
    """Loaded when the agent starts: holds that it finds have run out, so that they are let go of.

    marks: the folder that tells the engine, too, which pods are released: by name, see docs/node-files.md.
    """

    def __init__(self, file: Path, marks: Path) -> None:
        self._file, self._marks = file, marks
        known = self._load()
        self.frozen = dict(known.frozen)
        self.held = {held.container_id: replace(held, until_s=0.0) for held in known.held}
        self.released = names(marks)
        """UIDs of pods whose failover is final."""

    def reasons(self, container_id: str) -> frozenset[Reason]:
        found = self.frozen.get(container_id)
        return frozenset(found.reasons) if found else frozenset()

    def of_pod(self, pod_uid: str) -> dict[str, Frozen]:
        return {container_id: each for container_id, each in self.frozen.items() if each.pod_uid == pod_uid}

    def freeze(self, container: RunningContainer, reasons: frozenset[Reason]) -> bool:
        """Write down why; False if that was known."""
        entry = Frozen(pod_uid=container.pod_uid, container=container.name, reasons=tuple(sorted(reasons)))
        if self.frozen.get(container.id) == entry:
            return False
        self.frozen[container.id] = entry
        self.save()
        return True

    def forget(self, container_id: str) -> None:
        if self.frozen.pop(container_id, None):
            self.save()

    def hold(self, held: Held) -> None:
        self.held[held.container_id] = held
        self.save()

    def let_go(self, held: Held) -> None:
        """It may be frozen: until its fence was asked it counts as such."""
        entry = self.frozen.get(held.container_id)
        if not entry:
            self.frozen[held.container_id] = Frozen(pod_uid=held.pod_uid, container=held.container, reasons=("isolated",))
        if self.held.get(held.container_id) == held:
            del self.held[held.container_id]
        self.save()

    def release(self, pod_uid: str) -> None:
        """For good: it is told once, and one that is forgotten never runs again. Raises OSError; ValueError if that is no UID."""
        if "/" in pod_uid or pod_uid.startswith("."):
            raise ValueError(f"{pod_uid!r} is no pod's UID")
        write_mark(self._marks / pod_uid)
        self.released.add(pod_uid)

    def forget_pods(self, there: set[str]) -> None:
        """There are no other pods any more."""
        for gone in self.released - there:
            with contextlib.suppress(OSError):  # the next time
                (self._marks / gone).unlink(missing_ok=True)
                self.released.discard(gone)

    def save(self) -> None:
        standing = Standing(frozen=self.frozen, held=tuple(self.held.values()))
        write_whole(self._file, standing.model_dump_json())

    def _load(self) -> Standing:
        with contextlib.suppress(OSError, ValueError):
            return Standing.model_validate_json(self._file.read_text())
        return Standing()
