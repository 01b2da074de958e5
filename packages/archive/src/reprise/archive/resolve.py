"""Which units of an archive are where: zeros, in a chunk that is stored already, or in a new one. Pure.

The unit of reference is a page (or a piece cut by content), the unit of storage a chunk of up to 1 MiB: five dirty pages of
a hundred cost five, and yet they are compressed and encrypted together.
"""

from dataclasses import dataclass

import numpy as np
from reprise.archive.pages import Hashes, Ints, Lookup, first_of_equals

CHUNK = 1 << 20
"""Bytes of a chunk before compression, at most."""
WORTH = 4
"""A stored chunk is used again if at least 1/WORTH of its bytes would be: a restore reads at most WORTH times its size."""
ZEROS = -1
"""In place of a chunk's number: the bytes are zeros."""


@dataclass(frozen=True)
class Units:
    """The pieces of an archive in order. sizes in bytes; hashes of zeros: nothing but zeros.

    breaks: indices of units before which a new chunk should rather begin.
    """

    hashes: Hashes
    sizes: Ints
    breaks: Ints


@dataclass(frozen=True)
class Known:
    """Stored units: row i lies in chunk number chunks[i] from byte starts[i]. chunk_sizes: by number, in bytes."""

    hashes: Hashes
    chunks: Ints
    starts: Ints
    chunk_sizes: Ints


@dataclass(frozen=True)
class Resolved:
    """For each unit its chunk (ZEROS, a known one's number, or from `first_new` on a new one's) and where it begins there.

    new: the units that each new chunk consists of, as (first, past the last) into `stored`, the units to be stored.
    """

    chunks: Ints
    starts: Ints
    first_new: int
    stored: Ints
    new: list[tuple[int, int]]


def resolve(units: Units, known: Known) -> Resolved:
    """Decide for each unit. Known chunks of which too little would be used are left alone."""
    zero = ~units.hashes.any(axis=1)
    found = Lookup(known.hashes).find(units.hashes)
    found[zero] = -1
    found = _worth_it(found, units.sizes, known)
    fresh = np.flatnonzero((found < 0) & ~zero).astype(np.int32)
    first = fresh[first_of_equals(units.hashes[fresh])]
    stored = fresh[first == fresh]
    new, chunk_of, start_of = _gather(stored, units)
    first_new = len(known.chunk_sizes)
    chunks, starts = np.full(len(found), ZEROS, np.int32), np.zeros(len(found), np.int32)
    hits = np.flatnonzero(found >= 0)
    chunks[hits], starts[hits] = known.chunks[found[hits]], known.starts[found[hits]]
    chunks[stored], starts[stored] = chunk_of + first_new, start_of
    chunks[fresh], starts[fresh] = chunks[first], starts[first]
    return Resolved(chunks, starts, first_new, stored, new)


def _worth_it(found: Ints, sizes: Ints, known: Known) -> Ints:
    """found, without what lies in chunks of which less than 1/WORTH would be used. A unit counts once for its chunk."""
    used_rows = np.unique(found[found >= 0])
    if not len(used_rows):
        return found
    row_sizes = np.zeros(len(known.chunks), np.int32)
    hits = found >= 0
    row_sizes[found[hits]] = sizes[hits]
    used = np.bincount(known.chunks[used_rows], row_sizes[used_rows], len(known.chunk_sizes))
    worth = used * WORTH >= known.chunk_sizes
    return np.where(hits & worth[known.chunks[found]], found, np.int32(-1))


def _gather(stored: Ints, units: Units) -> tuple[list[tuple[int, int]], Ints, Ints]:
    """Chunks of up to CHUNK bytes, in order. (ranges of `stored`, chunk of each, start of each in its chunk)."""
    sizes = units.sizes[stored]
    ends = np.cumsum(sizes, dtype=np.int64)
    breaks = np.unique(np.searchsorted(stored, units.breaks))
    ranges, at = list[tuple[int, int]](), 0
    while at < len(stored):
        begin = ends[at] - sizes[at]
        end = max(int(np.searchsorted(ends, begin + CHUNK, "right")), at + 1)
        # A mapping of its own gets chunks of its own, unless they would be small.
        enough = int(np.searchsorted(ends, begin + CHUNK // 4))
        nearest = int(np.searchsorted(breaks, max(enough, at + 1)))
        if nearest < len(breaks) and breaks[nearest] < end:
            end = int(breaks[nearest])
        ranges.append((at, end))
        at = end
    counts = np.array([end - begin for begin, end in ranges], np.int64)
    heads = np.array([ends[begin] - sizes[begin] for begin, _ in ranges], np.int64)
    starts = (ends - sizes - np.repeat(heads, counts)).astype(np.int32)
    return ranges, np.repeat(np.arange(len(ranges), dtype=np.int32), counts), starts


def runs(resolved: Resolved, sizes: Ints) -> tuple[Ints, Ints, Ints]:
    """The recipe: (chunk, start, length in bytes) of each run of bytes that follow one another, in the archive's order."""
    chunks, starts = resolved.chunks, resolved.starts
    if not len(chunks):
        return chunks, starts, np.zeros(0, np.int64)
    follows = (chunks[1:] == chunks[:-1]) & ((chunks[1:] == ZEROS) | (starts[1:] == starts[:-1] + sizes[:-1]))
    begins = np.concatenate(([0], np.flatnonzero(~follows) + 1))
    return chunks[begins], starts[begins], np.add.reduceat(sizes, begins, dtype=np.int64)
