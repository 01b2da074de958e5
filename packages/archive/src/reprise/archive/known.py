"""What a writer may refer to: the units in stored packs, told by the packs' own footers."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from reprise.archive.cache import PackCache
from reprise.archive.layout import Lineage, last
from reprise.archive.manifest import Manifest, PackRef
from reprise.archive.pack import read_footer
from reprise.archive.packer import Placed
from reprise.archive.recipe import Footer
from reprise.archive.resolve import Known
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored

MAX_ROWS = 3 << 19
"""Units that are looked up, newest packs first: bounds memory (about 50 bytes each)."""
BASES = 2


@dataclass(frozen=True)
class Stored:
    """known.chunk_sizes[i] is of the chunk at places[i]; Placed.pack is an index into packs."""

    known: Known
    places: list[Placed]
    packs: list[PackRef]


def bases(manifests: list[Manifest], pod_uid: str) -> list[Manifest]:
    """Whose packs to look at: the newest checkpoint of the same pod, whose memory is the most alike, and the newest."""
    own = [m for m in manifests if m.target.pod_uid == pod_uid]
    found = {m.checkpoint_id: m for m in (own[:1] + manifests[:BASES])}
    return list(found.values())[:BASES]


def usable(refs: Iterable[PackRef], store: Store, lineage: Lineage) -> list[PackRef]:
    """Those that are not doomed and lie in the store whole. Called after the intent is written: see intents.py.

    The doomed are read first: a pack that was collected in between, its mark removed, is then seen to be gone.
    """
    doomed = {last(entry.key) for entry in store.list(lineage.doomed)}
    sizes = {last(entry.key): entry.size for entry in store.list(lineage.packs)}
    return [ref for ref in refs if ref.id not in doomed and sizes.get(ref.id) == ref.size]


def load(refs: list[PackRef], store: Store, lineage: Lineage, data_key: bytes, cache: PackCache | None) -> Stored:
    """Read the footers of these packs, newest last. A damaged pack is left out: what is in it is stored again."""
    hashes, chunks, starts, sizes = [], [], [], list[int]()
    places, packs, row_count = list[Placed](), list[PackRef](), 0
    for ref, footer in _footers(refs, store, lineage, data_key, cache):
        if row_count + len(footer.units) > MAX_ROWS:
            break
        row_count += len(footer.units)
        counts = footer.chunks["units"].astype(np.int64)
        unit_sizes = footer.units["size"].astype(np.int64)
        ends = np.cumsum(unit_sizes)
        firsts = np.concatenate(([0], np.cumsum(counts)[:-1])) if len(counts) else np.zeros(0, np.int64)
        heads = (ends - unit_sizes)[np.minimum(firsts, max(len(ends) - 1, 0))] if len(ends) else np.zeros(len(counts), np.int64)
        hashes.append(footer.hashes)
        chunks.append((np.repeat(np.arange(len(counts)), counts) + len(places)).astype(np.int32))
        starts.append((ends - unit_sizes - np.repeat(heads, counts)).astype(np.int32))
        for ordinal, row in enumerate(footer.chunks.tolist()):
            offset, stored, size, flags, _ = row
            places.append(Placed(len(packs), ordinal, offset, stored, size, flags))
            sizes.append(size)
        packs.append(ref)
    if not packs:
        return Stored(Known(np.zeros((0, 2), np.uint64), *(np.zeros(0, np.int64),) * 3), [], [])
    known = Known(np.concatenate(hashes), np.concatenate(chunks), np.concatenate(starts), np.array(sizes, np.int64))
    return Stored(known, places, packs)


def _footers(
    refs: list[PackRef], store: Store, lineage: Lineage, data_key: bytes, cache: PackCache | None
) -> Iterator[tuple[PackRef, Footer]]:
    def read(ref: PackRef) -> tuple[PackRef, Footer] | None:
        try:
            source = cache.over(store) if cache else store
            footer, whole = read_footer(source, lineage, data_key, ref)
        except (DamagedObject, NotStored):
            return None
        return whole, footer

    with ThreadPoolExecutor(4, "footer") as pool:
        yield from (found for found in pool.map(read, refs) if found)
