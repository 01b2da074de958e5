"""Puts an archive together again: bit for bit, from any offset, with bounded memory.

Packs are fetched ahead in stretches as long as they come, since requests cost the store more than their bytes; chunks are
decoded ahead one by one, and handed out in order. A chunk is kept as long as the recipe needs it again soon: pages that were
dirty in some checkpoint come one by one out of chunks that span a stretch of memory.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from reprise.archive.cache import PackCache
from reprise.archive.collector import doom
from reprise.archive.crypto import Cipher
from reprise.archive.damage import REMEDY
from reprise.archive.keyring import Keyring
from reprise.archive.manifest import Manifest
from reprise.archive.pack import damaged_pack, open_chunk
from reprise.archive.pages import Ints
from reprise.archive.recipe import ZEROS, BadDocument, Recipe, Rows, decode_recipe
from reprise.archive.store import Store
from reprise.archive.writer import RECIPE, recipe_cipher
from reprise.contracts.errors import DamagedObject, NotStored, StoreError

WORKERS = 2
"""Threads that fetch, and as many that decode."""
BLOCK = 1 << 20
"""Bytes that are handed out at once, about."""
FETCH = 16 << 20
"""Bytes of chunks, as they are stored, that are fetched together."""
FETCHES = 2
"""Such fetches ahead of the one that is decoded."""
AHEAD = 8
"""Chunks that are decoded ahead of the reader."""
HELD = 32 << 20
"""Bytes of decoded chunks that are held, at most; what is needed again later is then fetched again."""
_ZERO = bytes(BLOCK)


@dataclass(frozen=True)
class _Stretch:
    """Bytes of a pack, and whether they are the cache's."""

    pack: int
    offset: int
    data: bytes
    cached: bool


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
    """Fetches and decodes a manifest's chunks. Raises DamagedObject that names checkpoint, pack and chunk.

    A pack that turns out damaged in the store is doomed at once: the next checkpoint must not refer to it.
    """

    def __init__(self, store: Store, cache: PackCache | None, data_key: bytes, manifest: Manifest, recipe: Recipe) -> None:
        self._store, self._cache, self._manifest, self._recipe = store, cache, manifest, recipe
        lineage = manifest.lineage
        self._ciphers = [Cipher(data_key, str(lineage), ref.id) for ref in manifest.packs]

    def fetch(self, numbers: Ints) -> dict[int, _Stretch]:
        """The stretch that each of these chunks lies in; chunks that touch in a pack are fetched at once."""
        rows = self._recipe.chunks[numbers]
        order = np.lexsort((rows["offset"], rows["pack"]))
        rows, numbers = rows[order], numbers[order]
        ends = rows["offset"] + rows["stored"]
        apart = (rows["pack"][1:] != rows["pack"][:-1]) | (rows["offset"][1:] != ends[:-1])
        found: dict[int, _Stretch] = {}
        for part in np.split(np.arange(len(rows)), np.flatnonzero(apart) + 1):
            first, last = part[0], part[-1]
            stretch = self._fetch(int(rows["pack"][first]), int(rows["offset"][first]), int(ends[last]))
            found |= dict.fromkeys(numbers[part].tolist(), stretch)
        return found

    def decode(self, number: int, stretch: _Stretch) -> bytes:
        """The chunk's bytes. A damaged copy in the cache is dropped, and the store's is used."""
        try:
            return self._decode(number, stretch)
        except DamagedObject:
            if not (self._cache and stretch.cached):
                raise
            self._cache.drop(self._key(stretch.pack))
        return self._decode(number, self.fetch(np.array([number]))[number])

    def _fetch(self, pack: int, begin: int, end: int) -> _Stretch:
        key = self._key(pack)
        data = self._cache.read(key, begin, end - begin) if self._cache else None
        if data is not None:
            return _Stretch(pack, begin, data, cached=True)
        try:
            return _Stretch(pack, begin, self._store.get(key, begin, end - begin), cached=False)
        except NotStored as error:
            raise self._damaged(pack, "it is not in the store") from error

    def _key(self, pack: int) -> str:
        return self._manifest.lineage.pack(self._manifest.packs[pack].id)

    def _decode(self, number: int, stretch: _Stretch) -> bytes:
        row = self._recipe.chunks[number]
        at, ordinal = int(row["offset"]) - stretch.offset, int(row["ordinal"])
        sealed = memoryview(stretch.data)[at : at + int(row["stored"])]
        try:
            return open_chunk(self._ciphers[stretch.pack], ordinal, sealed, int(row["size"]), int(row["flags"]))
        except InvalidTag as error:
            raise self._broken(stretch, f"chunk {ordinal} does not decrypt: damaged, or from elsewhere") from error
        except BadDocument as error:
            raise self._broken(stretch, f"chunk {ordinal}: {error}") from error

    def _broken(self, stretch: _Stretch, what: str) -> DamagedObject:
        if not stretch.cached:
            with contextlib.suppress(StoreError):  # what is to be told is the damage
                doom(self._store, self._manifest.lineage, self._manifest.packs[stretch.pack].id)
        return self._damaged(stretch.pack, what)

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
    with ThreadPoolExecutor(WORKERS, "fetch") as fetching, ThreadPoolExecutor(WORKERS, "decode") as decoding:
        ahead = _Ahead(chunks, recipe, runs, fetching, decoding)
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
            fetching.shutdown(wait=False, cancel_futures=True)
            decoding.shutdown(wait=False, cancel_futures=True)


def _zeros(length: int) -> Iterator[bytes]:
    while length:
        count = min(length, BLOCK)
        yield _ZERO if count == BLOCK else _ZERO[:count]
        length -= count


class _Ahead:
    """Decodes what comes next while the reader uses what is there, and holds what it will need again."""

    def __init__(
        self, chunks: Chunks, recipe: Recipe, runs: Rows, fetching: ThreadPoolExecutor, decoding: ThreadPoolExecutor
    ) -> None:
        self._chunks, self._fetching, self._decoding = chunks, fetching, decoding
        numbers = runs["chunk"]
        self._last_use = np.full(len(recipe.chunks) + 1, -1)
        self._last_use[np.minimum(numbers, len(recipe.chunks))] = np.arange(len(numbers))
        self._groups = fetch_plan(recipe, numbers[numbers != ZEROS])
        self._todo = ((at, number) for at, group in enumerate(self._groups) for number in group.tolist())
        self._fetched: dict[int, Future[dict[int, _Stretch]]] = {}
        self._coming: dict[int, Future[bytes]] = {}
        self._held: OrderedDict[int, bytes] = OrderedDict()
        self._size = 0

    def get(self, number: int) -> bytes:
        """The chunk's bytes; waits for them."""
        while len(self._coming) < AHEAD and (todo := next(self._todo, None)):
            at, following = todo
            self._coming[following] = self._decoding.submit(self._decode, following, self._fetch(at))
        if number not in self._held:
            coming = self._coming.pop(number, None)
            # One that was let go for want of room is fetched again.
            self._hold(number, coming.result() if coming else self._again(number))
        self._held.move_to_end(number)
        return self._held[number]

    def used(self, number: int, at: int) -> None:
        """By run number at; after its last use it is let go."""
        if self._last_use[number] <= at:
            self._size -= len(self._held.pop(number))

    def _fetch(self, at: int) -> "Future[dict[int, _Stretch]]":
        """That group; the one before it is let go, as soon as what is being decoded of it is."""
        self._fetched.pop(at - 1, None)
        for group in range(at, min(at + 1 + FETCHES, len(self._groups))):
            if group not in self._fetched:
                self._fetched[group] = self._fetching.submit(self._chunks.fetch, self._groups[group])
        return self._fetched[at]

    def _decode(self, number: int, fetched: "Future[dict[int, _Stretch]]") -> bytes:
        return self._chunks.decode(number, fetched.result()[number])

    def _again(self, number: int) -> bytes:
        return self._chunks.decode(number, self._chunks.fetch(np.array([number]))[number])

    def _hold(self, number: int, data: bytes) -> None:
        self._held[number] = data
        self._size += len(data)
        while self._size > HELD and len(self._held) > 1:
            self._size -= len(self._held.popitem(last=False)[1])


def fetch_plan(recipe: Recipe, used: Ints) -> list[Ints]:
    """Chunks in the order of their first use, in groups of about FETCH bytes as they are stored."""
    numbers, first = np.unique(used, return_index=True)
    numbers = numbers[np.argsort(first)]
    groups = np.cumsum(recipe.chunks["stored"][numbers], dtype=np.int64) // FETCH
    return np.split(numbers, np.flatnonzero(np.diff(groups)) + 1) if len(numbers) else []
