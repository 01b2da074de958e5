"""The first pass over an archive: the hash of each of its units. The sha256 of all of it goes on beside what follows."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from blake3 import blake3
from pyfastcdc import FastCDC
from reprise.archive.pages import HASH, ZERO, hash_units, rows
from reprise.archive.plan import Span
from reprise.archive.resolve import Units
from reprise.archive.source import ArchiveSource

BLOCK = 4 << 20
PIECE = 1 << 16
"""Bytes of a piece cut by content, on average; at least a quarter, at most four times as many."""


@dataclass(frozen=True)
class Scanned:
    """sha256 in hex, of the whole file, when it is known: nothing but the manifest waits for it."""

    units: Units
    sha256: Future[str]


def scan(source: ArchiveSource, plan: Iterable[Span], page_key: bytes) -> Scanned:
    """One thread hashes the whole, another its units: both release the interpreter while they do."""
    pool = ThreadPoolExecutor(1, "sha256")
    whole = pool.submit(_sha256, source.clone())  # goes on if this is broken off, and the source closed
    pool.shutdown(wait=False)
    hashes, sizes, breaks = bytearray(), list[np.ndarray[tuple[int], np.dtype[np.int32]]](), list[int]()
    buffer = bytearray(BLOCK)
    for span in plan:
        first = len(hashes) // HASH
        if span.unit:
            _hash_pages(source, span, page_key, buffer, hashes)
            sizes.append(np.full(span.size // span.unit, span.unit, np.int32))
            breaks += [first, *(first + at for at in span.breaks)]
        else:
            sizes.append(_cut_by_content(source, span, page_key, hashes))
    return Scanned(Units(rows(hashes), np.concatenate(sizes), np.array(breaks, np.int64)), whole)


def _sha256(source: ArchiveSource) -> str:
    try:
        digest, view = hashlib.sha256(), memoryview(bytearray(1 << 20))
        for at in range(0, source.size, len(view)):
            part = view[: source.size - at]
            source.read_into(part, at)
            digest.update(part)
        return digest.hexdigest()
    finally:
        source.close()


def _hash_pages(source: ArchiveSource, span: Span, key: bytes, buffer: bytearray, hashes: bytearray) -> None:
    at, end, view = span.offset, span.offset + span.size, memoryview(buffer)
    step = len(buffer) // span.unit * span.unit or span.unit
    if step > len(buffer):
        view = memoryview(bytearray(step))
    while at < end:
        part = view[: min(step, end - at)]
        source.read_into(part, at)
        hashes += hash_units(part, span.unit, key)
        at += len(part)


def _cut_by_content(
    source: ArchiveSource, span: Span, key: bytes, hashes: bytearray
) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    sizes = []
    for piece in FastCDC(PIECE, min_size=PIECE // 4, max_size=PIECE * 4).cut_stream(_Part(source, span)):
        sizes.append(piece.length)
        empty = not np.frombuffer(piece.data, np.uint8).any()
        hashes += ZERO if empty else blake3(piece.data, key=key).digest(HASH)
    return np.array(sizes, np.int32)


class _Part:
    """A span of the source as a stream."""

    def __init__(self, source: ArchiveSource, span: Span) -> None:
        self._source, self._at, self._end = source, span.offset, span.offset + span.size

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._end - self._at)
        if count:
            self._source.read_into(buffer[:count], self._at)
        self._at += count
        return count
