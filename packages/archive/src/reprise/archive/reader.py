"""Puts an archive together again: bit for bit, from any offset, with bounded memory.

Chunks are fetched and decoded ahead by a few threads and handed out in order. A chunk is kept as long as the recipe needs it
again soon: pages that were dirty in some checkpoint come one by one out of chunks that span a stretch of memory.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from reprise.archive.cache import PackCache
from reprise.archive.crypto import Cipher
from reprise.archive.keyring import Keyring
from reprise.archive.manifest import Manifest
from reprise.archive.pack import REMEDY, damaged_pack, open_chunk
from reprise.archive.recipe import ZEROS, BadDocument, Recipe, Rows, decode_recipe
from reprise.archive.store import Store
from reprise.archive.writer import RECIPE, recipe_cipher
from reprise.contracts.errors import DamagedObject, NotStored

WORKERS = 2
BLOCK = 1 << 20
"""Bytes that are handed out at once, about."""
FETCH = 4 << 20
"""Bytes of neighbouring chunks that are fetched at once, at most."""
AHEAD = 4
"""Fetches that are decoded ahead of the reader."""
HELD = 32 << 20
"""Bytes of decoded chunks that are held, at most; what is needed again later is then fetched again."""
_ZERO = bytes(BLOCK)


@dataclass(frozen=True)
class _Fetch:
    """Chunks that lie side by side in one pack."""

    numbers: tuple[int, ...]
    pack: int
    offset: int
    length: int


def read_recipe(store: Store, keyring: Keyring, manifest: Manifest) -> Recipe:
    """Raises DamagedObject, KeyUnavailable, StoreUnavailable."""
    cipher, context = recipe_cipher(keyring.data_key(manifest.lineage), manifest)
    try:
        recipe = decode_recipe(cipher.decrypt(0, store.get(manifest.recipe_key), RECIPE + context), len(manifest.packs))
    except NotStored as error:
        raise _damaged(manifest, "its recipe is not in the store") from error
    except InvalidTag as error:
        raise _damaged(manifest, "its recipe does not decrypt: damaged, of another checkpoint, or another key") from error
    except BadDocument as error:
        raise _damaged(manifest, f"its recipe cannot be read: {error}") from error
    if recipe.size != manifest.size:
        raise _damaged(manifest, f"its recipe makes {recipe.size} bytes, its manifest says {manifest.size}")
    return recipe


def _damaged(manifest: Manifest, what: str) -> DamagedObject:
    return DamagedObject(f"checkpoint {manifest.checkpoint_id}: {what}", subject=str(manifest.lineage), remedy=REMEDY)


class Chunks:
    """Fetches and decodes a manifest's chunks. Raises DamagedObject that names checkpoint, pack and chunk."""

    def __init__(self, store: Store, cache: PackCache | None, data_key: bytes, manifest: Manifest, recipe: Recipe) -> None:
        self._store, self._cache, self._manifest, self._recipe = store, cache, manifest, recipe
        lineage = manifest.lineage
        self._ciphers = [Cipher(data_key, str(lineage), ref.id) for ref in manifest.packs]

    def fetch(self, fetch: _Fetch) -> dict[int, bytes]:
        """By chunk number. A damaged copy in the cache is dropped, and the store's is used."""
        key = self._manifest.lineage.pack(self._manifest.packs[fetch.pack].id)
        if self._cache:
            data = self._cache.read(key, fetch.offset, fetch.length)
            if data is not None:
                try:
                    return self._decode(fetch, data)
                except DamagedObject:
                    self._cache.drop(key)
        try:
            return self._decode(fetch, self._store.get(key, fetch.offset, fetch.length))
        except NotStored as error:
            raise self._damaged(fetch.pack, "it is not in the store") from error

    def _decode(self, fetch: _Fetch, data: bytes) -> dict[int, bytes]:
        found, view = {}, memoryview(data)
        for number in fetch.numbers:
            row = self._recipe.chunks[number]
            at, ordinal = int(row["offset"]) - fetch.offset, int(row["ordinal"])
            sealed = view[at : at + int(row["stored"])]
            try:
                found[number] = open_chunk(self._ciphers[fetch.pack], ordinal, sealed, int(row["size"]), int(row["flags"]))
            except InvalidTag as error:
                raise self._damaged(fetch.pack, f"chunk {ordinal} does not decrypt: damaged, or from elsewhere") from error
            except BadDocument as error:
                raise self._damaged(fetch.pack, f"chunk {ordinal}: {error}") from error
        return found

    def _damaged(self, pack: int, what: str) -> DamagedObject:
        return damaged_pack(self._manifest.lineage, self._manifest.packs[pack].id, what, self._manifest.checkpoint_id)


def read(chunks: Chunks, recipe: Recipe, offset: int = 0, length: int = 0) -> Iterator[bytes]:
    """The archive's bytes from offset on, length of them or to the end, in pieces of about BLOCK."""
    parts: list[bytes | memoryview] = []
    pending = 0
    for piece in pieces(chunks, recipe, window(recipe, offset, length)):
        if pending == 0 and isinstance(piece, bytes) and len(piece) >= BLOCK // 2:
            yield piece
            continue
        parts.append(piece)
        pending += len(piece)
        if pending >= BLOCK:
            yield b"".join(parts)
            parts, pending = [], 0
    if parts:
        yield b"".join(parts)


def window(recipe: Recipe, offset: int, length: int) -> Rows:
    """The runs that cover the wanted bytes, the first and the last cut to them."""
    ends = np.cumsum(recipe.runs["length"].astype(np.int64))
    total = int(ends[-1]) if len(ends) else 0
    begin, end = min(max(offset, 0), total), min(offset + length, total) if length else total
    if begin >= end:
        return recipe.runs[:0]
    first, last = int(np.searchsorted(ends, begin, "right")), int(np.searchsorted(ends, end))
    runs = recipe.runs[first : last + 1].copy()
    runs["length"][-1] -= int(ends[last]) - end
    skipped = begin - (int(ends[first]) - int(recipe.runs["length"][first]))
    runs["start"][0] += skipped if runs["chunk"][0] != ZEROS else 0
    runs["length"][0] -= skipped
    return runs


def pieces(chunks: Chunks, recipe: Recipe, runs: Rows) -> Iterator[bytes | memoryview]:
    """The bytes of any runs of the recipe, in their order, in pieces of any size."""
    with ThreadPoolExecutor(WORKERS, "decode") as pool:
        ahead = _Ahead(chunks, recipe, runs, pool)
        try:
            for first in range(0, len(runs), 1 << 15):  # not all at once: as Python's integers they are ten times as large
                for at, (number, start, length) in enumerate(runs[first : first + (1 << 15)].tolist(), first):
                    if number == ZEROS:
                        yield from _zeros(length)
                        continue
                    data = ahead.get(number)
                    yield data if length == len(data) else memoryview(data)[start : start + length]
                    ahead.used(number, at)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _zeros(length: int) -> Iterator[bytes]:
    while length:
        count = min(length, BLOCK)
        yield _ZERO if count == BLOCK else _ZERO[:count]
        length -= count


class _Ahead:
    """Decodes what comes next while the reader uses what is there, and holds what it will need again."""

    def __init__(self, chunks: Chunks, recipe: Recipe, runs: Rows, pool: ThreadPoolExecutor) -> None:
        self._chunks, self._pool = chunks, pool
        numbers = runs["chunk"]
        self._last_use = np.full(len(recipe.chunks) + 1, -1)
        self._last_use[np.minimum(numbers, len(recipe.chunks))] = np.arange(len(numbers))
        unique, first = np.unique(numbers, return_index=True)
        self._fetches = fetch_plan(recipe, unique[np.argsort(first)].tolist())
        self._by_number = {number: at for at, fetch in enumerate(self._fetches) for number in fetch.numbers}
        self._next = self._size = 0
        self._coming: dict[int, Future[dict[int, bytes]]] = {}
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def get(self, number: int) -> bytes:
        """The chunk's bytes; waits for them."""
        while self._next < len(self._fetches) and len(self._coming) < AHEAD:
            self._coming[self._next] = self._pool.submit(self._chunks.fetch, self._fetches[self._next])
            self._next += 1
        if number not in self._held:
            fetch = self._by_number[number]
            coming = self._coming.pop(fetch, None)
            # One that was let go for want of room is fetched again.
            for found, data in (coming.result() if coming else self._chunks.fetch(self._fetches[fetch])).items():
                self._hold(found, data)
        self._held.move_to_end(number)
        return self._held[number]

    def used(self, number: int, at: int) -> None:
        """By run number at; after its last use it is let go."""
        if self._last_use[number] <= at:
            self._size -= len(self._held.pop(number))

    def _hold(self, number: int, data: bytes) -> None:
        if number in self._held:
            return
        self._held[number] = data
        self._size += len(data)
        while self._size > HELD and len(self._held) > FETCH // BLOCK:
            self._size -= len(self._held.popitem(last=False)[1])


def fetch_plan(recipe: Recipe, numbers: list[int]) -> list[_Fetch]:
    """In the order of first use; chunks that follow one another in use and in their pack are fetched together."""
    plan: list[_Fetch] = []
    for number in dict.fromkeys(n for n in numbers if n != ZEROS):
        row = recipe.chunks[number]
        pack, offset, stored, size = int(row["pack"]), int(row["offset"]), int(row["stored"]), int(row["size"])
        if plan:
            before = plan[-1]
            held = sum(int(recipe.chunks[n]["size"]) for n in before.numbers)
            if before.pack == pack and before.offset + before.length == offset and held + size <= FETCH:
                plan[-1] = _Fetch((*before.numbers, number), pack, before.offset, before.length + stored)
                continue
        plan.append(_Fetch((number,), pack, offset, stored))
    return plan


def verified(parts: Iterator[bytes], manifest: Manifest) -> Iterator[bytes]:
    """The same, and at the end DamagedObject if size or sha256 are not the manifest's. Hashes in a thread of its own."""
    digest, size = hashlib.sha256(), 0
    with ThreadPoolExecutor(1, "sha256") as pool:
        hashed: Future[None] | None = None
        for data in parts:
            if hashed:
                hashed.result()  # one piece behind at most
            hashed = pool.submit(digest.update, data)
            size += len(data)
            yield data
        if hashed:
            hashed.result()
    if size != manifest.size or digest.hexdigest() != manifest.sha256:
        raise _damaged(
            manifest,
            f"{size} bytes with sha256 {digest.hexdigest()[:12]}, committed were {manifest.size} with {manifest.sha256[:12]}",
        )
