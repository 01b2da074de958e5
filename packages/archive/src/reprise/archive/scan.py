"""The first pass over an archive: the hash of each of its units. The sha256 of all of it goes on beside what follows."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from blake3 import blake3
from pyfastcdc import FastCDC
from reprise.archive.pages import HASH, ZERO, hash_units, rows
from reprise.archive.plan import Span
from reprise.archive.resolve import Units

BLOCK = 4 << 20
PIECE = 1 << 16
"""Bytes of a piece cut by content, on average; at least a quarter, at most four times as many."""


@dataclass(frozen=True)
class Scanned:
    """sha256 in hex, of the whole file, when it is known: nothing but the manifest waits for it."""

    units: Units
    sha256: Future[str]


def scan(path: Path, plan: Iterable[Span], page_key: bytes) -> Scanned:
    """One thread hashes the whole, another its units: both release the interpreter while they do."""
    pool = ThreadPoolExecutor(1, "sha256")
    whole = pool.submit(_sha256, path)
    pool.shutdown(wait=False)
    with path.open("rb", buffering=0) as file:
        hashes, sizes, breaks = bytearray(), list[np.ndarray[tuple[int], np.dtype[np.int32]]](), list[int]()
        buffer = bytearray(BLOCK)
        for span in plan:
            first = len(hashes) // HASH
            if span.unit:
                _hash_pages(file, span, page_key, buffer, hashes)
                sizes.append(np.full(span.size // span.unit, span.unit, np.int32))
                breaks += [first, *(first + at for at in span.breaks)]
            else:
                sizes.append(_cut_by_content(file, span, page_key, hashes))
        units = Units(rows(hashes), np.concatenate(sizes), np.array(breaks, np.int64))
        return Scanned(units, whole)


def _sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        digest = hashlib.sha256()
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
        return digest.hexdigest()


def _hash_pages(file: IO[bytes], span: Span, key: bytes, buffer: bytearray, hashes: bytearray) -> None:
    at, end, view = span.offset, span.offset + span.size, memoryview(buffer)
    step = len(buffer) // span.unit * span.unit or span.unit
    if step > len(buffer):
        view = memoryview(bytearray(step))
    while at < end:
        part = view[: min(step, end - at)]
        read_exactly(file.fileno(), part, at)
        hashes += hash_units(part, span.unit, key)
        at += len(part)


def _cut_by_content(file: IO[bytes], span: Span, key: bytes, hashes: bytearray) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    sizes = []
    for piece in FastCDC(PIECE, min_size=PIECE // 4, max_size=PIECE * 4).cut_stream(_Part(file, span)):
        sizes.append(piece.length)
        empty = not np.frombuffer(piece.data, np.uint8).any()
        hashes += ZERO if empty else blake3(piece.data, key=key).digest(HASH)
    return np.array(sizes, np.int32)


class _Part:
    """A span of the file as a stream."""

    def __init__(self, file: IO[bytes], span: Span) -> None:
        self._fd, self._at, self._end = file.fileno(), span.offset, span.offset + span.size

    def readinto(self, buffer: memoryview) -> int:
        count = min(len(buffer), self._end - self._at)
        if count:
            read_exactly(self._fd, buffer[:count], self._at)
        self._at += count
        return count


def read_exactly(fd: int, out: memoryview, offset: int) -> None:
    """Fill out from the file. Raises EOFError if it has become shorter."""
    done = 0
    while done < len(out):
        count = os.preadv(fd, [out[done:]], offset + done)
        if count == 0:
            raise EOFError("the archive became shorter while it was read")
        done += count
