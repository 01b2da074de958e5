"""Fills packs from several threads at once and uploads them as they are full, with bounded memory."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import zstandard
from reprise.archive.crypto import TAG, Cipher
from reprise.archive.manifest import PackRef
from reprise.archive.pack import CHUNK, FOOTER, HEAD, trailer
from reprise.archive.recipe import COMPRESSED, FOOTER_ROW, UNIT_ROW, Footer, Rows, encode_footer

PACK = 16 << 20
"""Bytes at which a pack is closed."""
MAX_UNITS = 1 << 16
"""Units at which a pack is closed: bounds its footer when pages compress very well."""
ROOM = PACK + (1 << 20) + MAX_UNITS * 20 + (1 << 19)
BUFFERS = 3
"""Packs in memory: one being filled, two on their way."""
UPLOADS = 2
FAST = zstandard.ZstdCompressionParameters.from_level(1, window_log=20, hash_log=14, min_match=6)
"""zstd level 1, but matches of 6 bytes instead of 7, over all of a chunk: what words of 8 bytes share. docs/format.md has
the figures."""
DOUBLE = zstandard.ZstdCompressionParameters.from_level(3, window_log=20, hash_log=14, chain_log=12, min_match=6)
"""zstd level 3, but with tables that stay in a core's cache: for some processes as quick and several per cent smaller, for others
slower and larger."""
TRY_EACH = 16
"""Chunks after which both are tried again: what lies together in memory is alike."""
BETTER = 0.98
"""DOUBLE is used if it is that much smaller: where it is not, it only takes longer."""
WORTH_IT = 0.97
"""A chunk that does not shrink below this is stored as it is: a restore then need not decompress it."""
SAMPLE, SAMPLES = 4096, range(4)
"""Bytes of each sample, and the samples."""
_local = threading.local()


@dataclass(frozen=True)
class Placed:
    """Where a chunk lies. pack: counts this writer's packs; offset, stored and size in bytes."""

    pack: int
    ordinal: int
    offset: int
    stored: int
    size: int
    flags: int


@dataclass
class Clock:
    """Seconds of processor or waiting time by step, summed over threads: what the bench prints."""

    spent: dict[str, float] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, step: str, began: float) -> float:
        """Count from `began` until now; returns now."""
        now = time.perf_counter()
        with self.lock:
            self.spent[step] = self.spent.get(step, 0.0) + now - began
        return now


class _OpenPack:
    """One buffer being filled. `pending` are chunks that have their place but are not encrypted into it yet."""

    def __init__(self, number: int, pack_id: str, cipher: Cipher, buffer: bytearray) -> None:
        self.number, self.id, self.cipher, self.buffer = number, pack_id, cipher, buffer
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.units: list[Rows] = []
        self.unit_count, self.end, self.pending, self.closed = 0, len(HEAD), 0, False
        self.lock = threading.Lock()
        buffer[: len(HEAD)] = HEAD

    def has_room(self, units: int) -> bool:
        return self.end < PACK and self.unit_count + units <= MAX_UNITS

    def reserve(self, stored: int, size: int, flags: int, units: Rows) -> Placed:
        placed = Placed(self.number, len(self.rows), self.end, stored, size, flags)
        self.rows.append((self.end, stored, size, flags, len(units)))
        self.units.append(units)
        self.unit_count += len(units)
        self.end += stored
        with self.lock:
            self.pending += 1
        return placed

    def settle(self, *, close: bool) -> bool:
        """One chunk is in place, or no more will come. True once: when the pack is complete."""
        with self.lock:
            if close:
                self.closed = True
            else:
                self.pending -= 1
            return self.closed and self.pending == 0

    def seal(self) -> tuple[PackRef, memoryview]:
        """Add footer and trailer."""
        units = np.concatenate(self.units) if self.units else np.empty(0, UNIT_ROW)
        plain = encode_footer(Footer(np.array(self.rows, FOOTER_ROW), units))
        sealed = self.cipher.encrypt(Cipher.FOOTER, plain, FOOTER)
        body = sealed + trailer(len(sealed))
        self.buffer[self.end : self.end + len(body)] = body
        size = self.end + len(body)
        return PackRef(id=self.id, size=size, footer=len(sealed)), memoryview(self.buffer)[:size]


class Packer:
    """add() may be called from several threads; an error of an upload is raised by the next add() or by finish()."""

    def __init__(self, writer_id: str, cipher: Callable[[str], Cipher], send: Callable[[PackRef, memoryview], None]) -> None:
        self._writer_id, self._cipher, self._send = writer_id, cipher, send
        self._lock = threading.Lock()
        self._free: queue.Queue[bytearray | None] = queue.Queue()
        for _ in range(BUFFERS):
            self._free.put(None)
        self._uploads = ThreadPoolExecutor(UPLOADS, "upload")
        self._sent: list[Future[PackRef]] = []
        self._open: _OpenPack | None = None
        self._count, self._failed = 0, threading.Event()
        self.clock = Clock()

    def add(self, plain: memoryview, units: Rows) -> Placed:
        """Compress, find a place, encrypt into it."""
        began = time.perf_counter()
        body, flags = compress(plain)
        began = self.clock.add("compress", began)
        stored = len(body) + TAG
        with self._lock:
            pack = self._room(len(units))
            placed = pack.reserve(stored, len(plain), flags, units)
        began = self.clock.add("wait for upload", began)
        try:
            out = memoryview(pack.buffer)[placed.offset : placed.offset + stored]
            pack.cipher.encrypt_into(placed.ordinal, body, out, CHUNK)
        finally:
            if pack.settle(close=False):
                self._upload(pack)
        self.clock.add("encrypt", began)
        return placed

    def finish(self) -> list[PackRef]:
        """All packs, when they are in the store. Raises what an upload raised."""
        with self._lock:
            if self._open and self._open.settle(close=True):
                self._upload(self._open)
            self._open = None
        try:
            return [future.result() for future in self._sent]
        finally:
            self.abort()

    def abort(self) -> None:
        """Wait for what is on its way, and send nothing more."""
        self._failed.set()
        self._uploads.shutdown(wait=True, cancel_futures=True)

    def _room(self, units: int) -> _OpenPack:
        if self._open and not self._open.has_room(units):
            if self._open.settle(close=True):
                self._upload(self._open)
            self._open = None
        if self._open is None:
            buffer = self._free.get()
            if self._failed.is_set():
                self._free.put(buffer)
                self._raise()
            pack_id = f"{self._writer_id}-{self._count:05x}"
            self._open = _OpenPack(self._count, pack_id, self._cipher(pack_id), buffer or bytearray(ROOM))
            self._count += 1
        return self._open

    def _raise(self) -> None:
        for future in self._sent:
            if future.done() and not future.cancelled():
                future.result()
        raise RuntimeError("the packer was ended")

    def _upload(self, pack: _OpenPack) -> None:
        # In the order of their numbers, so that finish() lists them so.
        future = self._uploads.submit(self._seal_and_send, pack)
        while len(self._sent) <= pack.number:
            self._sent.append(future)
        self._sent[pack.number] = future

    def _seal_and_send(self, pack: _OpenPack) -> PackRef:
        began = time.perf_counter()
        try:
            ref, body = pack.seal()
            with body:
                self._send(ref, body)
            return ref
        except BaseException:
            self._failed.set()
            raise
        finally:
            self.clock.add("upload", began)
            self._free.put(pack.buffer)


def compress(plain: memoryview) -> tuple[bytes | memoryview, int]:
    """(what to store, its flags). Four samples tell whether the rest is worth a try: most random data is seen by them."""
    step = len(plain) // len(SAMPLES)
    compressor = _compressor()
    if step > 4 * SAMPLE:
        samples = b"".join([plain[at * step : at * step + SAMPLE] for at in SAMPLES])
        if len(compressor.fast.compress(samples)) >= len(samples) * WORTH_IT:
            return plain, 0
    packed = compressor.compress(plain)
    return (packed, COMPRESSED) if len(packed) < len(plain) * WORTH_IT else (plain, 0)


class _Compressor:
    """Goes on with the parameters that were the better ones for the last chunk that both were tried on."""

    def __init__(self) -> None:
        self.fast = zstandard.ZstdCompressor(compression_params=FAST)
        self._double = zstandard.ZstdCompressor(compression_params=DOUBLE)
        self._better, self._count = self.fast, 0

    def compress(self, plain: memoryview) -> bytes:
        self._count += 1
        if self._count % TRY_EACH != 1:
            return self._better.compress(plain)
        fast, double = self.fast.compress(plain), self._double.compress(plain)
        self._better = self._double if len(double) < len(fast) * BETTER else self.fast
        return min(fast, double, key=len)


def _compressor() -> _Compressor:
    """One for each thread: it is not safe to share, and making one costs more than a chunk."""
    if not hasattr(_local, "compressor"):
        _local.compressor = _Compressor()
    found: _Compressor = _local.compressor
    return found
