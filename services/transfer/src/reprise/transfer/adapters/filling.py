"""Writes a stored checkpoint into a slot of this node. Most of its pages lie here already, in an older checkpoint's slot.

Where the file system shares blocks between files, the live slot's pages are cloned; else the spare's, from which nobody restores
any more, become the new one's; else the live one's are copied. Then what differs is written. A slot that may be restored is only
read.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reprise.archive.identity import PAGE, Identities, identities
from reprise.archive.manifest import Manifest
from reprise.archive.opened import OpenArchive
from reprise.archive.tarindex import BadArchive, Member, index_file
from reprise.transfer.adapters.slots import sync
from reprise.transfer.decide import MEMBERS, PAGES

FICLONE = 0x40049409
"""linux/fs.h, _IOW(0x94, 9, int)."""
PIECE = 1 << 20


@dataclass(frozen=True)
class Base:
    """An older checkpoint that lies on this node. folder: its slot."""

    folder: Path
    archive: OpenArchive


@dataclass(frozen=True)
class Filled:
    """written: bytes. cloned: whether the file system shares blocks, so that no spare is of use."""

    written: int
    cloned: bool


class Filler:
    """home: the folder of the container's slots. live is only read; spare is used up."""

    def __init__(self, home: Path, archive: OpenArchive, live: Base | None, spare: Base | None) -> None:
        self._home, self._archive, self._live, self._spare = home, archive, live, spare
        self._written, self._cloned = 0, False
        self._indexes: dict[Path, dict[str, Member]] = {}

    def fill(self) -> Filled:
        """The slot is there, whole and on the disk, or it is not. Raises BadArchive, DamagedObject, StoreUnavailable, OSError."""
        name = self._archive.manifest.checkpoint_id
        part = self._home / f"{name}.partial"
        shutil.rmtree(part, ignore_errors=True)
        _make(part, self._home)
        try:
            members = [member for member in _index(self._archive) if member.regular and MEMBERS.fullmatch(member.path)]
            for member in members:
                self._write(part, member)
            if not any(member.path == "slot.json" for member in members):
                self._save(part / "slot.json", iter([_slot_json(self._archive.manifest)]))
            # Once all are written: the journal is committed for the first, and the others find that done.
            for path in (*part.rglob("*"), part):
                sync(path)
            part.rename(self._home / name)
            sync(self._home)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        finally:
            if self._spare and self._spare.folder.name.endswith(".removed"):
                shutil.rmtree(self._spare.folder, ignore_errors=True)
        return Filled(self._written, self._cloned)

    def _write(self, part: Path, member: Member) -> None:
        path = part / member.path
        if path.parent != part:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        if PAGES.fullmatch(member.path) and member.size and member.size % PAGE == 0:
            self._pages(path, member)
        else:
            self._save(path, self._archive.read(member.offset, member.size) if member.size else iter(()))

    def _save(self, path: Path, content: Iterator[bytes | memoryview]) -> None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            for piece in content:
                self._written += file.write(piece)

    def _pages(self, path: Path, member: Member) -> None:
        with self._begun(path, member) as (fd, before):
            self._written += self._archive.write_pages(member, fd, before)[1]

    @contextlib.contextmanager
    def _begun(self, path: Path, member: Member) -> Iterator[tuple[int, Identities | None]]:
        """The new file, and what it holds already."""
        held = self._take_over(path, member)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            yield fd, held if held is not None else self._copy(fd, member)
        finally:
            os.close(fd)

    def _take_over(self, path: Path, member: Member) -> Identities | None:
        """The spare's file is moved here. Renamed first: nobody finds it under the old name after the look who has it open."""
        if self._spare is None or self._can_clone(path.parent, member):
            return None
        known = self._known(self._spare, member)
        if known is None:
            return None
        if not self._spare.folder.name.endswith(".removed"):
            out = self._spare.folder.with_name(f"{self._spare.folder.name}.removed")
            self._spare.folder.rename(out)  # what lacks a part must not be found under its name
            self._spare = replace(self._spare, folder=out)
        (self._spare.folder / member.path).rename(path)
        if _is_open_elsewhere(path):
            path.unlink()  # CRIU reads it: it keeps what it has open
            return None
        return known

    def _copy(self, fd: int, member: Member) -> Identities | None:
        known = self._known(self._live, member)
        if self._live is None or known is None:
            return None
        try:
            source = os.open(self._live.folder / member.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return None
        try:
            if _clone(source, fd):
                self._cloned = True
            else:
                self._written += _copy(source, fd)
        finally:
            os.close(source)
        return known

    def _can_clone(self, folder: Path, member: Member) -> bool:
        if self._live is None or not (self._live.folder / member.path).is_file():
            return False
        probe, source = folder / ".clone", os.open(self._live.folder / member.path, os.O_RDONLY | os.O_CLOEXEC)
        fd = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return _clone(source, fd)
        finally:
            os.close(fd)
            os.close(source)
            probe.unlink()

    def _known(self, base: Base | None, member: Member) -> Identities | None:
        """What the base's file of this name holds; None if it is not what was stored of it."""
        if base is None:
            return None
        if base.folder not in self._indexes:
            self._indexes[base.folder] = {found.path: found for found in _index(base.archive)}
        found = self._indexes[base.folder].get(member.path)
        try:
            size = (base.folder / member.path).lstat().st_size
        except OSError:
            return None
        if found is None or not found.regular or found.size != size or size % PAGE:
            return None
        return identities(base.archive.manifest, base.archive.recipe, found.offset, found.size)


def _index(archive: OpenArchive) -> list[Member]:
    with archive.file() as file:
        return index_file(file, f"checkpoint {archive.manifest.checkpoint_id}")


def _make(folder: Path, home: Path) -> None:
    """0700, and so those above it that are not there yet: `mkdir(parents=True)` would make these for everybody."""
    for path in (home.parent.parent, home.parent, home, folder):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)


def _clone(source: int, fd: int) -> bool:
    try:
        fcntl.ioctl(fd, FICLONE, source)
    except OSError:
        return False
    return True


def _copy(source: int, fd: int) -> int:
    done, size = 0, os.fstat(source).st_size
    while done < size:
        count = os.copy_file_range(source, fd, size - done, done, done)
        if count == 0:
            raise BadArchive("it became shorter while it was copied", subject="a slot")
        done += count
    return done


def _is_open_elsewhere(path: Path) -> bool:
    """The kernel grants a write lease only where nobody else has the file open."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _slot_json(manifest: Manifest) -> bytes:
    """Of an archive that was not made from a slot: what the engine would have told."""
    target, facts = manifest.target, manifest.facts
    told = {
        "version": 1, "checkpoint_id": manifest.checkpoint_id, "namespace": manifest.workload.namespace, "pod": target.pod,
        "pod_uid": target.pod_uid, "container": target.container, "container_id": facts.container_id, "image": facts.base_image,
        "runtime": facts.runtime, "criu": facts.criu_version, "kernel": manifest.kernel, "engine": "",
        "created_at": manifest.taken_at.isoformat(), "pause_s": 0.0, "held": False, "stopped": [], "size": manifest.size,
        "stats": facts.stats.model_dump(),
    }  # fmt: skip
    return json.dumps(told).encode()
