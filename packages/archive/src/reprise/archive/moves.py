"""Pages that lie elsewhere in the next checkpoint: a heap that grew by a page moves all that comes after it in the file.

ext4 and XFS can open and close gaps in a file without copying what follows (fallocate(2), FALLOC_FL_INSERT_RANGE and
FALLOC_FL_COLLAPSE_RANGE), so that moved pages need not be written again.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from reprise.archive.identity import OTHER, PAGE, ZERO_PAGE, Identities

LEAST_PAGES = 256
"""A move that saves less is not worth the kernel's work: it writes back and forgets what is cached of the file from there."""
MOST_RUNS = 64
COLLAPSE_RANGE, INSERT_RANGE = 0x08, 0x20
ODD = np.uint64(0x9E3779B97F4A7C15)
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


@dataclass(frozen=True)
class Move:
    """At this page of the file as it is by then, open a gap of so many pages; close one, if negative."""

    page: int
    pages: int


def moves(before: Identities, after: Identities) -> list[Move]:
    """What brings the long runs of pages that both have to where the next has them; to be done in this order."""
    found: list[Move] = []
    shifted = 0
    for old, new in _kept(before, after):
        if pages := new - old - shifted:
            found.append(Move(old + shifted + min(pages, 0), pages))
            shifted += pages
    return found


def _kept(before: Identities, after: Identities) -> list[tuple[int, int]]:
    """Where runs that are worth it begin, in both, ascending in both. A run may have changed pages in it."""
    old, new = _in_both(before, after)
    if not len(old):
        return []
    edges = np.flatnonzero(np.diff(new - old)) + 1
    begins, ends = np.concatenate(([0], edges)), np.concatenate((edges, [len(old)]))
    long = np.flatnonzero(ends - begins >= LEAST_PAGES)
    chosen = np.sort(long[np.argsort(begins[long] - ends[long], kind="stable")[:MOST_RUNS]])
    kept: list[tuple[int, int]] = []
    free = 0
    for begin, end in zip(begins[chosen].tolist(), ends[chosen].tolist(), strict=True):
        if old[begin] >= free:
            kept.append((int(old[begin]), int(new[begin])))
            free = int(old[end - 1]) + 1
    return kept


def _in_both(before: Identities, after: Identities) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pages that each has once: their places in both, ascending in the next."""
    (a, at_a), (b, at_b) = _once(before), _once(after)
    _, index_a, index_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    old, new = at_a[index_a], at_b[index_b]
    order = np.argsort(new)
    return old[order], new[order]


def _once(pages: Identities) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """What occurs once, as one number each, and where. Two that share a number cost a poor choice, not a wrong page."""
    at = np.flatnonzero((pages[:, 0] != ZERO_PAGE[0]) & (pages[:, 0] != OTHER))
    names = pages[at, 0] ^ (pages[at, 1] * ODD)
    found, first, counts = np.unique(names, return_index=True, return_counts=True)
    return found[counts == 1], at[first[counts == 1]]


def move(fd: int, pages: Identities, planned: list[Move]) -> Identities:
    """Move what the open file holds; returns what it holds then. Where the filesystem cannot, it stays as it was."""
    for step in planned:
        mode = INSERT_RANGE if step.pages > 0 else COLLAPSE_RANGE
        if _libc.fallocate(fd, mode, step.page * PAGE, abs(step.pages) * PAGE):
            break
        if step.pages > 0:
            pages = np.insert(pages, step.page, np.tile(ZERO_PAGE, (step.pages, 1)), axis=0)
        else:
            pages = np.delete(pages, slice(step.page, step.page - step.pages), axis=0)
    return pages
