"""One upload: scan, resolve, write what is new, commit. Each step is a function; nothing counts before the last.

Two cores are kept busy with bounded memory: one thread scans the units, then two read what is new, compress and encrypt it
into packs, while two upload full ones; beside all that one makes the sha256 of the file.
"""

import contextlib
import platform
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from reprise.archive.cache import PackCache
from reprise.archive.criu import PageRun
from reprise.archive.crypto import Cipher, derive
from reprise.archive.facts import ArchiveFacts, BadArchive, facts_of
from reprise.archive.intents import Intent, declare, new_writer_id, read_intents, withdraw
from reprise.archive.keyring import Keyring
from reprise.archive.known import Stored, bases, load, usable
from reprise.archive.layout import Lineage, last
from reprise.archive.manifest import Cost, Manifest, PackRef
from reprise.archive.packer import Clock, Packer, Placed
from reprise.archive.plan import PAGE, PAGES, Span, cut_plan, read_pagemaps
from reprise.archive.recipe import CHUNK_ROW, RUN_ROW, UNIT_ROW, ZEROS, Recipe, Rows, encode_recipe
from reprise.archive.resolve import CHUNK, Resolved, Units, resolve, runs
from reprise.archive.scan import scan
from reprise.archive.source import ArchiveSource, file_of, open_source
from reprise.archive.store import Store
from reprise.archive.tarindex import Member, index_file
from reprise.archive.tracing import step, traceparent
from reprise.contracts.errors import CheckpointError
from reprise.contracts.events import Trigger
from reprise.contracts.model import Target, Workload

WORKERS = 2
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
RECIPE = b"recipe"


@dataclass(frozen=True)
class Order:
    """What is to be stored, and as what. path: a slot's folder, or a tar."""

    path: Path
    checkpoint_id: str
    workload: Workload
    target: Target
    trigger: Trigger

    @property
    def lineage(self) -> Lineage:
        return Lineage.of(self.workload, self.target.container)


class Writer:
    """Raises BadArchive, CheckpointError, KeyUnavailable, StoreError; then nothing is committed."""

    def __init__(self, store: Store, keyring: Keyring, cache: PackCache | None) -> None:
        self._store, self._keyring, self._cache = store, keyring, cache
        self.clock = Clock()

    def write(self, order: Order, manifests: list[Manifest]) -> Manifest:
        """manifests: the lineage's good ones, newest first."""
        with contextlib.closing(open_source(order.path)) as source:
            return self._write(order, source, manifests)

    def _write(self, order: Order, source: ArchiveSource, manifests: list[Manifest]) -> Manifest:
        with step("parse"):
            facts, plan = _parse(order, source)
        lineage, writer_id = order.lineage, new_writer_id()
        with step("chunk"):
            scanned = scan(source, plan, self._keyring.page_key(lineage))
            data_key = self._keyring.data_key(lineage, create=True)
            stored = self._known(order, writer_id, manifests, data_key)
            resolved = resolve(scanned.units, stored.known)
        with step("upload"):
            places, packs = self._store_new(order, source, writer_id, data_key, scanned.units, resolved)
            sha256 = scanned.sha256.result()
        if not source.is_unchanged():
            raise BadArchive("it changed while it was read", subject=order.path.name)
        with step("commit"):
            recipe, used = _recipe(scanned.units, resolved, stored, places, packs)
            manifest = _manifest(order, facts, sha256, used, _cost(scanned.units, resolved, packs), writer_id)
            self._store.put(manifest.recipe_key, seal_recipe(recipe, data_key, manifest))
            self._commit(order, manifest)
        return manifest

    def _known(self, order: Order, writer_id: str, manifests: list[Manifest], data_key: bytes) -> Stored:
        """Declare the intent first, then trust only what is neither doomed nor gone. The order is the safety: intents.py."""
        store, lineage = self._store, order.lineage
        refs = {ref.id: ref for base in reversed(bases(manifests, order.target.pod_uid)) for ref in base.packs}
        refs |= self._interrupted(lineage, order.checkpoint_id)
        declare(
            store, lineage,
            Intent(writer_id=writer_id, checkpoint_id=order.checkpoint_id, node=order.target.node, reuses=tuple(refs)),
        )  # fmt: skip
        return load(usable(refs.values(), store, lineage)[::-1], store, lineage, data_key, self._cache) if refs else _NOTHING

    def _interrupted(self, lineage: Lineage, checkpoint_id: str) -> dict[str, PackRef]:
        """Packs that an upload of this checkpoint sent before it was interrupted."""
        dead = [i.writer_id for i in read_intents(self._store, lineage) if i.checkpoint_id == checkpoint_id]
        if not dead:
            return {}
        entries = [(last(entry.key), entry.size) for entry in self._store.list(lineage.packs)]
        return {name: PackRef(id=name, size=size, footer=0) for name, size in entries if name.partition("-")[0] in dead}

    def _store_new(
        self, order: Order, source: ArchiveSource, writer_id: str, data_key: bytes, units: Units, resolved: Resolved
    ) -> tuple[list[Placed], list[PackRef]]:
        """Where each new chunk lies, and the packs they are in."""
        lineage = order.lineage

        def send(ref: PackRef, body: memoryview) -> None:
            self._store.put(lineage.pack(ref.id), body)
            if self._cache:
                self._cache.put(lineage.pack(ref.id), body)

        packer = Packer(writer_id, lambda pack_id: Cipher(data_key, str(lineage), pack_id), send)
        places: list[Placed | None] = [None] * len(resolved.new)
        offsets = np.cumsum(units.sizes, dtype=np.int64) - units.sizes
        todo = enumerate(resolved.new)
        lock = threading.Lock()

        def work() -> None:
            buffer = memoryview(bytearray(CHUNK))
            for number, (begin, end) in _drain(todo, lock):
                wanted = resolved.stored[begin:end]
                plain = _read_units(source, offsets[wanted], units.sizes[wanted], buffer)
                places[number] = packer.add(plain, _unit_rows(units, wanted))

        try:
            with ThreadPoolExecutor(WORKERS, "chunk") as pool:
                for future in [pool.submit(work) for _ in range(WORKERS if len(resolved.new) > 1 else 1)]:
                    future.result()
            packs = packer.finish()
        finally:
            packer.abort()
            self.clock = packer.clock
        return [place for place in places if place], packs

    def _commit(self, order: Order, manifest: Manifest) -> None:
        """The conditional put is the commit. Whoever else put something there first has decided it."""
        lineage, store = order.lineage, self._store
        body = manifest.model_dump_json().encode()
        # A retry whose first answer was lost finds its own manifest there.
        if not store.create(manifest.key, body) and store.get(manifest.key) != body:
            raise CheckpointError(
                "it was stored or given up by another meanwhile", subject=f"checkpoint {manifest.checkpoint_id}",
                reason="Superseded", remedy="nothing: the next checkpoint is not affected",
            )  # fmt: skip
        # Only its own: a twin that sleeps could commit later, when retention has freed the manifest's name.
        withdraw(store, lineage, writer_id_of(manifest))


def verify_archive(source: ArchiveSource, container_id: str) -> ArchiveFacts:
    """What it says of itself besides its open files, if it is whole and of this container. Raises BadArchive."""
    with file_of(source) as file:
        members = index_file(file, source.name)
        facts = facts_of(file, source.name, members, open_files=False)
        _require_container(source.name, container_id, facts)
        _require_pages(source.name, members, read_pagemaps(file, members))
        return facts


def _require_pages(name: str, members: Iterable[Member], pagemaps: dict[int, list[PageRun]]) -> None:
    """Memory that was cut off restores nothing: CRIU reads the missing end of a pages file for ever (CRIU 4.2)."""
    for member in members:
        if (found := PAGES.fullmatch(member.path)) and (runs := pagemaps.get(int(found[1]))):
            wanted = sum(run.nr for run in runs) * PAGE
            if member.size < wanted:
                raise BadArchive(
                    f"{member.path} has {member.size} bytes and its pagemap tells of {wanted}: it is cut off", subject=name
                )


def _parse(order: Order, source: ArchiveSource) -> tuple[ArchiveFacts, list[Span]]:
    """What the archive says of itself, and where it is cut."""
    with file_of(source) as file:
        members = index_file(file, source.name)
        facts = facts_of(file, source.name, members)
        _require_container(source.name, order.target.container_id, facts)
        return facts, cut_plan(members, source.size, read_pagemaps(file, members))


_NOTHING = load([], None, None, b"", None)  # type: ignore[arg-type]


def _drain(todo: Iterator[tuple[int, tuple[int, int]]], lock: threading.Lock) -> Iterator[tuple[int, tuple[int, int]]]:
    """The next of what several threads share."""
    while True:
        with lock:
            item = next(todo, None)
        if item is None:
            return
        yield item


def _read_units(source: ArchiveSource, offsets: np.ndarray, sizes: np.ndarray, buffer: memoryview) -> memoryview:
    """The units one after another; those that lie together are read together."""
    apart = np.flatnonzero(offsets[1:] != offsets[:-1] + sizes[:-1]) + 1
    begins = np.concatenate(([0], apart))
    lengths = np.add.reduceat(sizes, begins)
    at = 0
    for offset, length in zip(offsets[begins].tolist(), lengths.tolist(), strict=True):
        source.read_into(buffer[at : at + length], offset)
        at += length
    return buffer[:at]


def _unit_rows(units: Units, wanted: np.ndarray) -> Rows:
    rows = np.empty(len(wanted), UNIT_ROW)
    rows["hash"], rows["size"] = units.hashes[wanted], units.sizes[wanted]
    return rows


def _recipe(
    units: Units, resolved: Resolved, stored: Stored, places: list[Placed], packs: list[PackRef]
) -> tuple[Recipe, list[PackRef]]:
    """The recipe, and the packs that it refers to: only those, so that nothing else is kept for it."""
    chunk, start, length = runs(resolved, units.sizes)
    used = np.unique(chunk[chunk >= 0])
    all_packs = [*stored.packs, *packs]
    found, index = list[PackRef](), dict[int, int]()
    table = np.empty(len(used), CHUNK_ROW)
    for row, number in enumerate(used.tolist()):
        old = number < resolved.first_new
        place = stored.places[number] if old else places[number - resolved.first_new]
        pack = place.pack if old else place.pack + len(stored.packs)
        if pack not in index:
            index[pack] = len(found)
            found.append(all_packs[pack])
        table[row] = (index[pack], place.ordinal, place.offset, place.stored, place.size, place.flags)
    rows = np.empty(len(chunk), RUN_ROW)
    rows["chunk"] = np.where(chunk >= 0, np.searchsorted(used, chunk), ZEROS)
    rows["start"], rows["length"] = start, length
    rows["start"][chunk < 0] = 0
    return Recipe(table, rows), found


def writer_id_of(manifest: Manifest) -> str:
    return last(manifest.recipe_key).removeprefix("recipe-")


def recipe_cipher(data_key: bytes, manifest: Manifest) -> tuple[Cipher, bytes]:
    """The cipher and what it binds: a recipe is of one checkpoint with this sha256 and no other."""
    context = f"{manifest.checkpoint_id}\0{manifest.sha256}\0{manifest.size}".encode()
    return Cipher(derive(data_key, b"", b"reprise 1 recipes"), str(manifest.lineage), last(manifest.recipe_key)), context


def seal_recipe(recipe: Recipe, data_key: bytes, manifest: Manifest) -> bytes:
    cipher, context = recipe_cipher(data_key, manifest)
    return cipher.encrypt(0, encode_recipe(recipe), RECIPE + context)


def _cost(units: Units, resolved: Resolved, packs: list[PackRef]) -> Cost:
    total = int(units.sizes.sum())
    zeros = int(units.sizes[resolved.chunks < 0].sum())
    new = int(units.sizes[resolved.stored].sum())
    return Cost(new=new, zeros=zeros, reused=total - new - zeros, uploaded=sum(pack.size for pack in packs))


def _manifest(order: Order, facts: ArchiveFacts, sha256: str, packs: list[PackRef], cost: Cost, writer_id: str) -> Manifest:
    return Manifest(
        checkpoint_id=order.checkpoint_id,
        workload=order.workload,
        target=order.target,
        trigger=order.trigger,
        taken_at=datetime.now(UTC),
        size=cost.new + cost.reused + cost.zeros,
        sha256=sha256,
        recipe_key=f"{order.lineage.archives}{order.checkpoint_id}/recipe-{writer_id}",
        packs=tuple(packs),
        cost=cost,
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=platform.release(),
        cpu_features=cpu_features(),
        facts=facts,
        traceparent=traceparent(),
    )


def cpu_features(path: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The flags of the first core; none where the kernel does not tell."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return ()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return tuple(sorted(found.partition(":")[2].split()))


def _require_container(name: str, wanted: str, facts: ArchiveFacts) -> None:
    if facts.container_id != wanted:
        raise BadArchive(
            f"it is of container {facts.container_id[:12]}, not of {wanted[:12]}: the container was replaced while the "
            "checkpoint was taken",
            subject=name,
            reason="OtherContainer",
            remedy="nothing: the next checkpoint will be of the new container",
        )
