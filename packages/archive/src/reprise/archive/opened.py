"""A stored archive that is read here and there: as a file, and as files that are brought from one checkpoint to the next."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass

from reprise.archive.identity import PAGE, Identities, changed, identities, runs_of
from reprise.archive.manifest import Manifest
from reprise.archive.moves import LEAST_PAGES, move, moves
from reprise.archive.reader import Chunks, pieces, read
from reprise.archive.recipe import Recipe
from reprise.archive.seekable import seekable
from reprise.archive.tarindex import Member

BLOCK = 256 << 10


@dataclass(frozen=True)
class OpenArchive:
    """Raises DamagedObject, StoreUnavailable."""

    manifest: Manifest
    recipe: Recipe
    chunks: Chunks

    def read(self, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """length 0 means to the end."""
        return read(self.chunks, self.recipe, offset, length)

    def file(self) -> io.BufferedReader:
        return seekable(self.manifest.size, self._read_into, BLOCK)

    def _read_into(self, out: memoryview, offset: int) -> None:
        out[:] = b"".join(self.read(offset, len(out)))

    def write_pages(self, member: Member, fd: int, before: Identities | None) -> tuple[Identities, int]:
        """Make the open file the member's data; before: what it holds now, None for an empty one.

        Returns what it holds then and the bytes written. Interrupted, it holds a mixture.
        """
        after = identities(self.manifest, self.recipe, member.offset, member.size)
        if before is None:
            os.ftruncate(fd, 0)
            before = after[:0]
        ranges = changed(before, after)
        if (ranges[:, 1] - ranges[:, 0]).sum() >= LEAST_PAGES:
            before = move(fd, before, moves(before, after))
            ranges = changed(before, after)
        os.ftruncate(fd, member.size)
        written = 0
        if len(ranges):
            source = pieces(self.chunks, self.recipe, runs_of(self.recipe, member.offset, member.size, ranges))
            written = _fill(fd, source, [(a * PAGE, min(b * PAGE, member.size)) for a, b in ranges.tolist()])
        return after, written


def _fill(fd: int, source: Iterator[bytes | memoryview], ranges: list[tuple[int, int]]) -> int:
    """Write the source's bytes to these ranges of the file, one after another."""
    written, left = 0, memoryview(b"")
    for begin, end in ranges:
        at = begin
        while at < end:
            if not left:
                left = memoryview(next(source))
            part = left[: end - at]
            os.pwrite(fd, part, at)
            at, written, left = at + len(part), written + len(part), left[len(part) :]
    return written
