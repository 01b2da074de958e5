"""The node's slots, as docs/node-files.md describes them: complete checkpoints, of which `live` and `previous` are restored.

root/<namespace>/<pod uid>/<container>/<checkpoint id>/, and the two links beside. Whatever is interrupted, both lead to
complete good checkpoints: what is unfinished or on its way out has another name.
"""

import asyncio
import contextlib
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from reprise.transfer.decide import PLAIN, UNFINISHED, superfluous

LIVE, PREVIOUS = "live", "previous"
ABANDONED_S = 3600.0
"""A folder that was begun and not touched for so long is of a process that has ended."""


class Slots:
    """root: the node's slots as they are mounted here. A home is `<namespace>/<pod uid>/<container>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.busy: set[str] = set()
        """What is being stored: `<home>/<checkpoint id>`."""
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, home: str) -> asyncio.Lock:
        """For whoever moves links, writes or removes there."""
        return self._locks[home]

    def path(self, home: str, checkpoint_id: str = "") -> Path:
        return self.root / home / checkpoint_id

    def holds(self, home: str, checkpoint_id: str) -> bool:
        path = self.path(home, checkpoint_id)
        return bool(checkpoint_id) and path.is_dir() and not path.is_symlink()

    def live(self, home: str) -> str:
        """The checkpoint that is restored first; empty if there is none."""
        return self._target(home, LIVE)

    def previous(self, home: str) -> str:
        return self._target(home, PREVIOUS)

    def shown(self, home: str) -> set[str]:
        """What may be restored."""
        return {self.live(home), self.previous(home)} - {""}

    def promote(self, home: str, checkpoint_id: str, *, back: bool = False) -> bool:
        """Let `live` lead to this one, and `previous` to the live one before. back: also to an older one than that.

        The order is the safety: interrupted in between, both lead to the one before, and doing it again ends it.
        """
        live = self.live(home)
        if checkpoint_id == live or (checkpoint_id < live and not back):
            return False
        if live:
            self._link(home, PREVIOUS, live)
        self._link(home, LIVE, checkpoint_id)
        return True

    def withdraw(self, home: str, checkpoint_id: str) -> None:
        """Take it out of what is restored, and remove it: the one before is live again."""
        if self.live(home) == checkpoint_id:
            before = self.previous(home)
            if before and before != checkpoint_id:
                self._link(home, LIVE, before)
            else:
                self._unlink(home, LIVE)
        if self.previous(home) in (checkpoint_id, self.live(home)):
            self._unlink(home, PREVIOUS)
        self.remove(home, checkpoint_id)

    def remove(self, home: str, checkpoint_id: str) -> None:
        """Renamed first: a half of it must not be found under its name."""
        path = self.path(home, checkpoint_id)
        out = path.with_name(f"{checkpoint_id}.removed")
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(out, ignore_errors=True)
            path.rename(out)
        shutil.rmtree(out, ignore_errors=True)

    def tidy(self, home: str, *, spares: int = 0) -> None:
        """Remove what nobody needs any more."""
        found, folder = list[str](), self.path(home)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_symlink() or not path.is_dir():
                continue
            if not path.name.endswith(UNFINISHED):
                found.append(path.name)
            elif time.time() - path.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)
        busy = [slot.rpartition("/")[2] for slot in self.busy if slot.rpartition("/")[0] == home]
        for name in superfluous(found, self.live(home), self.previous(home), busy, spares):
            self.remove(home, name)

    def spare(self, home: str) -> str:
        """The newest that is neither live nor the one before, and older; empty if there is none."""
        shown, folder = self.shown(home), self.path(home)
        names = [path.name for path in folder.iterdir() if path.is_dir() and not path.is_symlink()] if folder.is_dir() else []
        return max((n for n in names if n not in shown and not n.endswith(UNFINISHED) and n < max(shown, default="")), default="")

    def homes(self) -> Iterator[tuple[str, float]]:
        """Each home, and when something was last made live there, in seconds since the epoch."""
        for folder in self.root.glob("*/*/*"):
            with contextlib.suppress(OSError):
                link = folder / LIVE
                at = link.lstat().st_mtime if link.is_symlink() else folder.stat().st_mtime
                yield str(folder.relative_to(self.root)), at

    def forget(self, home: str) -> None:
        """All of it, and the folders above if they are empty then."""
        folder = self.path(home)
        for link in (LIVE, PREVIOUS):
            self._unlink(home, link)
        shutil.rmtree(folder, ignore_errors=True)
        for parent in (folder.parent, folder.parent.parent):
            with contextlib.suppress(OSError):
                parent.rmdir()

    def _target(self, home: str, link: str) -> str:
        try:
            name = os.readlink(self.path(home) / link)  # noqa: PTH115
        except OSError:
            return ""
        return name if PLAIN.fullmatch(name) and self.holds(home, name) else ""

    def _link(self, home: str, link: str, checkpoint_id: str) -> None:
        folder = self.path(home)
        part = folder / f".{link}.{os.getpid()}"
        part.unlink(missing_ok=True)
        part.symlink_to(checkpoint_id)
        part.replace(folder / link)
        sync(folder)

    def _unlink(self, home: str, link: str) -> None:
        (self.path(home) / link).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """What a file holds, or what was renamed in a folder, stays so after a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
