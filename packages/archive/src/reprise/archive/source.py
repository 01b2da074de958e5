"""An archive as it is read while it is stored: a tar on disk, or a node's slot as the tar that it would make.

A slot (docs/node-files.md) is not copied into a tar first: headers are made in memory, and each range of data is read from the
file that it lies in. The tar of a slot is the same whoever makes it, and whenever: members sorted by name, times zero, owned by
root, files 0600, folders 0700.
"""

import bisect
import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from reprise.archive.seekable import seekable
from reprise.archive.tarindex import BLOCK, BadArchive

LARGE = 1 << 20
"""Files of at least this many bytes stay open while they are read: their pages are read here and there."""
MOST_OPEN = 64
BUFFER = 16 << 10
MOST_FOLDERS = 8
"""How deep folders may lie in each other."""


class ArchiveSource(Protocol):
    """Bytes at any offset, for several threads at once. name: what errors call it; size in bytes."""

    name: str
    size: int

    def read_into(self, out: memoryview, offset: int) -> None:
        """Fill out from offset on. Raises BadArchive if what is there has become shorter."""
        ...

    def is_unchanged(self) -> bool:
        """Whether it still is what it was when it was opened."""
        ...

    def clone(self) -> "ArchiveSource":
        """The same with file descriptors of its own, for a thread that may outlive this one."""
        ...

    def close(self) -> None: ...


def open_source(path: Path) -> ArchiveSource:
    """A slot's folder, or a tar. Raises BadArchive if a slot holds what no engine writes, OSError if it cannot be read."""
    return SlotSource(path) if path.is_dir() else TarSource(path)


def file_of(source: ArchiveSource) -> IO[bytes]:
    """The source as a file that can seek."""
    return seekable(source.size, source.read_into, BUFFER)


class TarSource:
    """A tar on disk."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._opened = _state(os.fstat(self._fd))
        self.size = self._opened[1]

    def read_into(self, out: memoryview, offset: int) -> None:
        _read_exactly(self._fd, out, offset, self.name)

    def is_unchanged(self) -> bool:
        return _state(self._path.stat()) == self._opened

    def clone(self) -> "TarSource":
        return TarSource(self._path)

    def close(self) -> None:
        os.close(self._fd)


class SlotSource:
    """A slot's folder as a tar."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.name
        self._found = list(_walk(path))
        self._starts, self._parts, self.size = _lay_out(self._found)
        self._open: dict[str, int] = {}
        self._lock = threading.Lock()

    def read_into(self, out: memoryview, offset: int) -> None:
        at = bisect.bisect_right(self._starts, offset) - 1
        done = 0
        while done < len(out):
            if at >= len(self._parts):
                raise BadArchive("it became shorter while it was read", subject=self.name)
            part, within = self._parts[at], offset + done - self._starts[at]
            end = self._starts[at + 1] if at + 1 < len(self._starts) else self.size
            count = min(len(out) - done, end - self._starts[at] - within)
            if isinstance(part, bytes):
                out[done : done + count] = part[within : within + count]
            else:
                self._read(part, out[done : done + count], within, end - self._starts[at])
            done, at = done + count, at + 1

    def _read(self, member: str, out: memoryview, offset: int, size: int) -> None:
        with self._lock:
            fd = self._open.get(member)
            keep = fd is not None or (size >= LARGE and len(self._open) < MOST_OPEN)
            if fd is None:
                fd = self._open_member(member)
            if keep:
                self._open[member] = fd
        try:
            _read_exactly(fd, out, offset, self.name)
        finally:
            if not keep:
                os.close(fd)

    def _open_member(self, member: str) -> int:
        try:
            return os.open(self._path / member, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise BadArchive(f"{member} cannot be read: {error.strerror}", subject=self.name) from error

    def is_unchanged(self) -> bool:
        return list(_walk(self._path)) == self._found

    def clone(self) -> "SlotSource":
        return SlotSource(self._path)

    def close(self) -> None:
        with self._lock:
            for fd in self._open.values():
                os.close(fd)
            self._open.clear()


Found = tuple[str, bool, int, int, int]
"""A member: its path, whether it is a folder, its inode, size and time of change in nanoseconds."""


def _walk(folder: Path, below: str = "", depth: int = 0) -> Iterator[Found]:
    """Every member, sorted by name. Raises BadArchive for what no engine writes."""
    if depth > MOST_FOLDERS:
        raise BadArchive(f"folders lie more than {MOST_FOLDERS} deep in {below[:200]!r}", subject=folder.name)
    for name in sorted(entry.name for entry in (folder / below).iterdir()):
        path = f"{below}{name}"
        told = os.lstat(folder / path)
        if stat.S_ISDIR(told.st_mode):
            yield path, True, told.st_ino, 0, 0
            yield from _walk(folder, f"{path}/", depth + 1)
        elif stat.S_ISREG(told.st_mode):
            yield path, False, *_state(told)
        else:
            raise BadArchive(f"{path[:200]!r} is neither a file nor a folder", subject=folder.name)


def _lay_out(found: list[Found]) -> tuple[list[int], list[bytes | str], int]:
    """Where each part begins, the parts (headers, or a file's path), and the size of all."""
    starts, parts, at, head = list[int](), list[bytes | str](), 0, b""

    def add(part: bytes | str, size: int) -> None:
        nonlocal at
        if size:
            starts.append(at)
            parts.append(part)
            at += size

    for path, is_folder, _, size, _ in found:
        head += header(path, size, is_folder=is_folder)
        if size:
            add(head, len(head))
            add(path, size)
            head = bytes(-size % BLOCK)
    head += bytes(2 * BLOCK)
    head += bytes(-(at + len(head)) % tarfile.RECORDSIZE)
    add(head, len(head))
    return starts, parts, at


def header(path: str, size: int, *, is_folder: bool = False) -> bytes:
    """A member's header, the same whenever it is made."""
    info = tarfile.TarInfo(path)
    info.size = size
    info.type, info.mode = (tarfile.DIRTYPE, 0o700) if is_folder else (tarfile.REGTYPE, 0o600)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _state(told: os.stat_result) -> tuple[int, int, int]:
    return told.st_ino, told.st_size, told.st_mtime_ns


def _read_exactly(fd: int, out: memoryview, offset: int, name: str) -> None:
    done = 0
    while done < len(out):
        count = os.preadv(fd, [out[done:]], offset + done)
        if count == 0:
            raise BadArchive("it became shorter while it was read", subject=name)
        done += count
