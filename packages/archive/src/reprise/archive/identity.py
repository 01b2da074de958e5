"""What each page of a stored archive's member is made of, so that a file can be brought from one checkpoint to the next by
writing what differs. Two pages of one identity are the same bytes: a chunk never changes.
"""

import hashlib

import numpy as np
import numpy.typing as npt
from reprise.archive.manifest import Manifest
from reprise.archive.reader import window
from reprise.archive.recipe import ZEROS, Recipe, Rows

PAGE = 4096
Identities = npt.NDArray[np.uint64]
"""One row of two numbers a page: the pack's name hashed, and where in it."""
ZERO_PAGE = np.array((0, 0), np.uint64)
OTHER = np.uint64(1)


def identities(manifest: Manifest, recipe: Recipe, offset: int, size: int) -> Identities:
    """Of the member that lies at offset. A page that is put together of several pieces is like no other."""
    count = -(-size // PAGE)
    found = np.empty((count, 2), np.uint64)
    found[:, 0], found[:, 1] = OTHER, np.arange(count)
    runs = window(recipe, offset, size)
    if not len(runs):
        return found
    lengths = runs["length"].astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    first, end = -(-begins // PAGE), (begins + lengths) // PAGE
    end[-1] = count if begins[-1] + lengths[-1] == size and begins[-1] % PAGE == 0 else end[-1]
    pages = np.maximum(end - first, 0)
    index = np.repeat(np.arange(len(runs)), pages)
    page = np.arange(pages.sum()) - np.repeat(np.cumsum(pages) - pages, pages) + np.repeat(first, pages)
    within = page * PAGE - begins[index]
    zero = runs["chunk"][index] == ZEROS
    names = _pack_names(manifest)
    chunk = recipe.chunks[np.where(zero, 0, runs["chunk"][index])] if len(recipe.chunks) else None
    if chunk is None:
        found[page] = ZERO_PAGE
        return found
    place = (chunk["ordinal"].astype(np.uint64) << np.uint64(32)) + (runs["start"][index] + within).astype(np.uint64)
    found[page, 0] = np.where(zero, 0, names[chunk["pack"]])
    found[page, 1] = np.where(zero, 0, place)
    return found


def _pack_names(manifest: Manifest) -> npt.NDArray[np.uint64]:
    names = [int.from_bytes(hashlib.blake2b(ref.id.encode(), digest_size=8).digest()) | 2 for ref in manifest.packs]
    return np.array(names or [2], np.uint64)


def changed(before: Identities, after: Identities) -> npt.NDArray[np.int64]:
    """Ranges of pages [begin, end) that differ; pages beyond the end of before count as zeros, which a longer file has."""
    old = np.zeros_like(after)
    common = min(len(before), len(after))
    old[:common] = before[:common]
    differs = ((old != after).any(axis=1) | (after[:, 0] == OTHER)).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], differs, [0])).astype(np.int8)))
    return edges.reshape(-1, 2)


def runs_of(recipe: Recipe, offset: int, size: int, ranges: npt.NDArray[np.int64]) -> Rows:
    """The recipe's runs that make up these ranges of pages of the member, one after another."""
    runs = window(recipe, offset, size)
    lengths = runs["length"].astype(np.int64)
    ends = np.cumsum(lengths)
    begins = ends - lengths
    low, high = ranges[:, 0] * PAGE, np.minimum(ranges[:, 1] * PAGE, size)
    first, last = np.searchsorted(ends, low, "right"), np.searchsorted(ends, high)
    counts = last - first + 1
    which = np.repeat(np.arange(len(ranges)), counts)
    index = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    start = np.maximum(begins[index], low[which])
    end = np.minimum(ends[index], high[which])
    found: Rows = runs[index].copy()
    skipped = start - begins[index]
    found["start"] += np.where(found["chunk"] == ZEROS, 0, skipped).astype(found["start"].dtype)
    found["length"] = end - start
    return found
