"""Page hashes: one keyed BLAKE3 of 16 bytes for each unit of pages, found again by a vectorized look-up.

A hash is 128 bits under a key that is secret to the tenant: nobody who writes into a process's memory can aim at a
collision, and by chance one is to be expected among 2^64 pages. A page of zeros has no hash: its row is all zero.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

HASH = 16
Hashes = npt.NDArray[np.uint64]
"""Shape (n, 2): a row is one hash as two little-endian u64."""
Ints = npt.NDArray[np.integer[Any]]
"""Of 32 bits where there is one for each unit and it fits: with a process of gigabytes these are what takes the memory."""

ZERO = bytes(HASH)


def hash_units(data: memoryview, unit: int, key: bytes) -> bytes:
    """The hashes of data's units one after another; zeros for a unit of zeros. len(data) is a multiple of unit."""
    words = np.frombuffer(data, np.uint64).reshape(-1, unit // 8)
    # Most units differ from zero in their first word: the full look is only for those that do not.
    zero = np.zeros(len(words), bool)
    maybe = np.flatnonzero(words[:, 0] == 0)
    zero[maybe] = ~words[maybe].any(axis=1)
    hasher = blake3(key=key)  # one for all: making one costs as much as hashing a page

    def hashed(at: int) -> bytes:
        hasher.reset()
        return hasher.update(data[at : at + unit]).digest(HASH)

    return b"".join([ZERO if empty else hashed(n * unit) for n, empty in enumerate(zero.tolist())])


def rows(hashes: bytes | bytearray) -> Hashes:
    """The hashes as rows, without a copy."""
    return np.frombuffer(hashes, "<u8").reshape(-1, 2)


class Lookup:
    """Finds rows among known ones. Of known rows that share their first half, one is found: that costs a repeated
    upload once in 2^64, never a wrong page.
    """

    def __init__(self, known: Hashes) -> None:
        self._order = np.argsort(known[:, 0], kind="stable").astype(np.int32)
        self._first = known[self._order, 0]
        self._second = known[self._order, 1]

    def find(self, wanted: Hashes) -> Ints:
        """For each wanted row the index of a known one that is equal, or -1."""
        if not len(self._order) or not len(wanted):
            return np.full(len(wanted), -1, np.int32)
        at = np.searchsorted(self._first, wanted[:, 0])
        at[at == len(self._first)] = 0
        equal = (self._first[at] == wanted[:, 0]) & (self._second[at] == wanted[:, 1])
        return np.where(equal, self._order[at], np.int32(-1))


def first_of_equals(hashes: Hashes) -> Ints:
    """For each row the index of the first row that is equal to it: its own where it is the first."""
    order = np.argsort(hashes[:, 0], kind="stable").astype(np.int32)
    half = hashes[order, 0]
    starts = np.ones(len(hashes), bool)
    starts[1:] = half[1:] != half[:-1]
    head = np.maximum.accumulate(np.where(starts, np.arange(len(hashes), dtype=np.int32), np.int32(0)))
    half = hashes[order, 1]
    equal = half == half[head]
    found = np.empty(len(hashes), np.int32)
    found[order] = np.where(equal, order[head], order)
    return found
