"""The one list of what stands still on this node and why, for the agent that starts after this one. On tmpfs: it means nothing
after a reboot, and no disk that is full, read-only or hangs may keep a node from freezing.

What must stand still is frozen first and written down afterwards. What an agent froze and could not write down, because it was
killed or tmpfs is full, the next one finds frozen (Reconciler._take_over). A hold is written down before it is asked for.
"""

import contextlib
from dataclasses import replace
from pathlib import Path

from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.adapters.files import names, write_mark, write_whole
from reprise.health_watcher.model import Frozen, Held, Reason, Standing
from reprise.runtime.cri import RunningContainer
from reprise.runtime.telemetry import log


class Ledger:
    """Loaded when the agent starts: holds that it finds have run out, so that they are let go of.

    marks: the folder on the disk that tells the engine, too, which pods are released: by name, see docs/node-files.md.
    """

    def __init__(self, file: Path, marks: Path, disk: Disk) -> None:
        self._file, self._marks, self._disk = file, marks, disk
        known = self._load()
        self.frozen = dict(known.frozen)
        self.held = {held.container_id: replace(held, until_s=0.0) for held in known.held}
        self.released = {*known.released, *disk.ask("released", lambda: names(marks), set[str]())}
        """UIDs of pods whose failover is final."""
        self.unwritable = ""
        """Why the list is not on tmpfs as it is here."""

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
        self._try_to_save()
        return True

    def forget(self, container_id: str) -> None:
        if self.frozen.pop(container_id, None):
            self._try_to_save()

    def hold(self, held: Held) -> None:
        """Raises OSError; then it is not held."""
        before = dict(self.held)
        self.held[held.container_id] = held
        try:
            self.save()
        except OSError:
            self.held = before
            raise

    def let_go(self, held: Held) -> None:
        """It may be frozen: until its fence was asked it counts as such."""
        entry = self.frozen.get(held.container_id)
        if not entry:
            self.frozen[held.container_id] = Frozen(pod_uid=held.pod_uid, container=held.container, reasons=("isolated",))
        if self.held.get(held.container_id) == held:
            del self.held[held.container_id]
        self._try_to_save()

    def release(self, pod_uid: str) -> None:
        """For good: it is told once, and one that is forgotten never runs again. Raises ValueError if that is no UID."""
        if "/" in pod_uid or pod_uid.startswith("."):
            raise ValueError(f"{pod_uid!r} is no pod's UID")
        self.released.add(pod_uid)
        self._disk.do(("released", pod_uid), lambda: write_mark(self._marks / pod_uid))
        self._try_to_save()

    def forget_pods(self, there: set[str]) -> None:
        """There are no other pods any more."""
        for gone in self.released - there:
            self.released.discard(gone)
            self._disk.do(("released", gone), lambda mark=self._marks / gone: mark.unlink(missing_ok=True))  # type: ignore[misc]

    def save(self) -> None:
        """Raises OSError."""
        standing = Standing(frozen=self.frozen, held=tuple(self.held.values()), released=tuple(sorted(self.released)))
        try:
            write_whole(self._file, standing.model_dump_json())
        except OSError as error:
            self.unwritable = f"what stands still here cannot be written down: {error}"
            raise
        self.unwritable = ""

    def try_again(self) -> None:
        if self.unwritable:
            self._try_to_save()

    def _try_to_save(self) -> None:
        """While tmpfs is full it is known all the same, and what is frozen stays so."""
        try:
            self.save()
        except OSError as error:
            log().error("the ledger could not be written", error=str(error))

    def _load(self) -> Standing:
        with contextlib.suppress(OSError, ValueError):
            return Standing.model_validate_json(self._file.read_text())
        return Standing()
