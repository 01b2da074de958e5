"""Where a tar's members lie, read from its headers alone: data is seeked over, nothing is extracted.

The tar comes from a container runtime on the same node, but whatever it holds, reading it costs bounded memory and time,
and only a plain tree of files, directories and links that stay inside it passes. Format: POSIX pax and GNU tar, as
Python's tarfile reads them.
"""

import io
import os
import posixpath
import tarfile
from dataclasses import dataclass
from typing import IO

from reprise.contracts.errors import RepriseError

BLOCK = 512
MAX_MEMBERS = 200_000
MAX_HEADER = 1 << 20
"""Bytes of one extended (pax) header or long name; tarfile would read one of any size at once."""
MAX_HEADERS = 256 << 20
"""Bytes of all headers together."""
MAX_PADDING = 1 << 20
"""Bytes of zeros behind the last member; tar pads to a record of 10 KiB, some writers to more."""
REMEDY = "the archive is thrown away; the next checkpoint is not affected. See the container runtime's log if it repeats"


class BadArchive(RepriseError):
    """Not a checkpoint archive, or a damaged one."""

    def __init__(self, message: str, *, subject: str, reason: str = "", remedy: str = REMEDY) -> None:
        super().__init__(message, subject=subject, reason=reason, remedy=remedy)


@dataclass(frozen=True)
class Member:
    """offset and size: of the member's data within the tar, in bytes. path: relative, without `./`."""

    path: str
    offset: int
    size: int
    regular: bool


class _Headers(io.RawIOBase):
    """What tarfile may do with the file: read short pieces, and only ever move on."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._read, self._furthest = file, 0, 0

    def read(self, size: int = -1) -> bytes:
        self._read += max(size, 0)
        if not 0 <= size <= MAX_HEADER or self._read > MAX_HEADERS:
            raise tarfile.TarError("its headers are larger than any real ones")
        self._furthest = max(self._furthest, self._file.tell())
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        # One step back is how tarfile sees whether the data before it is whole; more is a header of negative size.
        if whence != os.SEEK_SET or offset < self._furthest - BLOCK:
            raise tarfile.TarError("a header leads backwards")
        return self._file.seek(offset)


def index_file(file: IO[bytes], name: str) -> list[Member]:
    """Every member, in the tar's order. file: one that can seek. Raises BadArchive, naming the archive and what is wrong."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size < 2 * BLOCK or size % BLOCK:
        raise BadArchive(f"it is cut off or no tar ({size} bytes)", subject=name)
    try:
        members, end = _members(file, size, name)
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError, IndexError) as error:
        raise BadArchive(f"not a whole tar: {error}", subject=name) from error
    _require_end(file, end, size, name)
    return members


def _members(file: IO[bytes], size: int, name: str) -> tuple[list[Member], int]:
    found: list[Member] = []
    seen: set[str] = set()
    with tarfile.open(fileobj=_Headers(file), mode="r:", errorlevel=2) as tar:
        while (info := tar.next()) is not None:
            member = _check(info, size, name)
            if member.path in seen:
                raise BadArchive(f"two members are named {member.path[:200]!r}", subject=name)
            if len(found) >= MAX_MEMBERS:
                raise BadArchive(f"more than {MAX_MEMBERS} members", subject=name)
            seen.add(member.path)
            found.append(member)
            tar.members = []  # type: ignore[attr-defined]  # TarFile would remember every one: memory
        return found, tar.offset


def _check(info: tarfile.TarInfo, size: int, name: str) -> Member:
    path = posixpath.normpath(info.name)
    shown = repr(info.name[:200])
    if info.name.startswith("/") or ".." in info.name.split("/") or "\0" in info.name:
        raise BadArchive(f"member {shown} points outside", subject=name)
    if info.issparse():
        raise BadArchive(f"member {shown} is sparse: no runtime writes one", subject=name)
    if not (info.isreg() or info.isdir() or info.issym() or info.islnk()):
        raise BadArchive(f"member {shown} is a device or of an unknown type", subject=name)
    if info.issym() or info.islnk():
        base = posixpath.dirname(path) if info.issym() else ""
        target = posixpath.normpath(posixpath.join(base, info.linkname))
        if target.startswith(("/", "../")) or target == "..":
            raise BadArchive(f"link {shown} points outside", subject=name)
    length = info.size if info.isreg() else 0
    if length < 0 or info.offset_data < 0 or info.offset_data + length > size:
        raise BadArchive(f"member {shown} of {info.size} bytes does not fit: the archive is cut off", subject=name)
    return Member(path, info.offset_data, length, info.isreg())


def _require_end(file: IO[bytes], end: int, size: int, name: str) -> None:
    """A tar ends in two blocks of zeros and nothing but zeros; one cut off between two members would pass without."""
    # tarfile's offset stands behind the first block of zeros, or before a header that it could not read.
    rest = size - end
    if not 0 <= rest <= MAX_PADDING:
        raise BadArchive(f"{rest} bytes follow its last member", subject=name)
    file.seek(end)
    tail = file.read(rest)
    file.seek(max(0, size - 2 * BLOCK))
    if any(tail):
        raise BadArchive("something that is no member follows its last member", subject=name)
    if any(file.read()):
        raise BadArchive("it is cut off: no end marker", subject=name)
