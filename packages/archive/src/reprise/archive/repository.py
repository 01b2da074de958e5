"""The repository of checkpoints: one writer and one reader of archives, retention, and live images. layout.py has the names.

Publishing, listing and pruning need no keys: what they read and write says nothing of a process's memory.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reprise.archive import collector, images
from reprise.archive.cache import PackCache
from reprise.archive.checker import Checker, Copies, Finding
from reprise.archive.collector import Collected
from reprise.archive.crypto import KeyUnavailable, KeyWrapper
from reprise.archive.images import Idle, ImageRef
from reprise.archive.keyring import Keyring
from reprise.archive.layout import Lineage
from reprise.archive.manifest import LivePointer, Manifest
from reprise.archive.opened import OpenArchive
from reprise.archive.pack import PackRef, damaged_pack
from reprise.archive.packer import Clock
from reprise.archive.reader import Chunks, read_recipe
from reprise.archive.retention import Ladder, prune_plan
from reprise.archive.store import Store
from reprise.archive.writer import Order, Writer
from reprise.contracts.errors import DamagedObject, NotStored
from reprise.contracts.events import Trigger
from reprise.contracts.model import Target, Workload

__all__ = ["ImageRef", "Repository", "Stats"]


@dataclass(frozen=True)
class Stats:
    """Sizes in bytes. archives: what all checkpoints would take as they are; stored: what they and all else take."""

    checkpoints: int
    archives: int
    packs: int
    stored: int


class Repository:
    """All of it over one Store. keys: None where archives are neither written nor read. Raises StoreError, and what the
    single methods say.
    """

    def __init__(self, store: Store, keys: KeyWrapper | None = None, cache: PackCache | None = None) -> None:
        self.store, self.cache = store, cache
        self._keyring = Keyring(store, keys) if keys else None
        self.clock = Clock()

    @property
    def keyring(self) -> Keyring:
        if self._keyring is None:
            raise KeyUnavailable("no keys are configured here", remedy="set REPRISE_KEK_DIR to the mounted Secret")
        return self._keyring

    def write_archive(self, path: Path, *, checkpoint_id: str, workload: Workload, target: Target, trigger: Trigger) -> Manifest:
        """Verify the archive, store what of it is new, then commit its manifest.

        Raises BadArchive, CheckpointError, KeyUnavailable. Interrupted, the next call with the same id goes on.
        """
        order = Order(path, checkpoint_id, workload, target, trigger)
        writer = Writer(self.store, self.keyring, self.cache)
        try:
            return writer.write(order, self.list_manifests(workload, target.container))
        finally:
            self.clock = writer.clock

    def read_archive(self, manifest: Manifest, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """The tar, bit for bit, from offset on, length bytes or to the end.

        Raises DamagedObject naming checkpoint, pack and chunk. Each chunk, and the recipe that says where it belongs, is
        authenticated; the sha256 of the whole is the layer's digest, which the container runtime compares.
        """
        return self.open(manifest).read(offset, length)

    def open(self, manifest: Manifest) -> OpenArchive:
        """For reading here and there in it. Raises DamagedObject, KeyUnavailable, StoreUnavailable."""
        recipe = read_recipe(self.store, self.keyring, manifest)
        data_key = self.keyring.data_key(manifest.lineage)
        return OpenArchive(manifest, recipe, Chunks(self.store, self.cache, data_key, manifest, recipe))

    def find(self, workload: Workload, container: str, checkpoint_id: str) -> Manifest | None:
        """The committed manifest, or None."""
        key = Lineage.of(workload, container).manifest(checkpoint_id)
        try:
            return collector.parse(self.store.get(key), key)
        except NotStored:
            return None

    def list_manifests(self, workload: Workload, container: str) -> list[Manifest]:
        """Good checkpoints, newest first; one whose manifest is damaged is left out."""
        prefix = Lineage.of(workload, container).archives
        keys = [entry.key for entry in self.store.list(prefix) if entry.key.endswith("/manifest.json")]
        found = []
        for key in sorted(keys, reverse=True):
            try:
                manifest = collector.parse(self.store.get(key), key)
            except (DamagedObject, NotStored):
                continue
            if manifest:
                found.append(manifest)
        return found

    def lineages(self, namespace: str) -> list[Lineage]:
        """Of what anything is stored in this namespace."""
        prefix = "archives/"
        keys = (entry.key.removeprefix(prefix).split("/") for entry in self.store.list(f"{prefix}{namespace}/"))
        return [Lineage(*found) for found in sorted({(key[0], key[1], key[2]) for key in keys if len(key) > 3})]

    def publish_image(self, manifest: Manifest, live_id: str) -> ImageRef:
        """Make the checkpoint an image and let the live reference show it; it never moves back in time."""
        return images.publish(self.store, manifest, live_id)

    def live(self, namespace: str, live_id: str, container: str) -> LivePointer | None:
        """What the live reference shows; None if there is none."""
        return images.live(self.store, namespace, live_id, container)

    def idle_references(self, least: timedelta) -> list[Idle]:
        """The live references that have not moved for so long."""
        return images.idle(self.store, least)

    def withdraw_reference(self, found: Idle) -> bool:
        """Remove a live reference, not what it shows; False if it has moved on since it was found."""
        return images.withdraw(self.store, found)

    def image(self, pointer: LivePointer) -> bytes:
        """The image manifest that a live reference shows."""
        return images.image(self.store, pointer)

    def blob(self, namespace: str, wanted: str) -> bytes | Manifest | None:
        """By digest: bytes of an image's manifest or config, or the manifest whose archive is the layer."""
        return images.blob(self.store, namespace, wanted)

    def prune(self, workload: Workload, container: str, keep: int, ladder: Ladder = ()) -> list[str]:
        """Remove all but the newest `keep` good checkpoints and the ladder's; never the last, nor one that a live
        reference shows (each replica's newest is another pod's). Returns the ids removed.

        The manifest goes first: what is half removed is no checkpoint any more. gc() frees its packs.
        """
        lineage = Lineage.of(workload, container)
        # Only those whose manifest can be read count as good: a damaged newest one must not cost the last good one.
        manifests = {m.checkpoint_id: m for m in self.list_manifests(workload, container)}
        doomed = prune_plan({name: m.taken_at for name, m in manifests.items()}, keep, ladder)
        if doomed:
            spared = images.in_use(self.store, lineage)
            doomed = [checkpoint_id for checkpoint_id in doomed if checkpoint_id not in spared]
        return [name for name in doomed if self._retire(lineage, manifests[name])]

    def _retire(self, lineage: Lineage, manifest: Manifest) -> bool:
        """First marked, then looked once more who holds it: images.publish() does it the other way round."""
        name = manifest.checkpoint_id
        mark = f"{lineage.retired}{name}.{os.urandom(8).hex()}"
        self.store.put(mark, b"")
        spared = name in images.in_use(self.store, lineage)
        if not spared:
            collector.remove(self.store, manifest)
            images.withdraw_blobs(self.store, manifest)
            for entry in self.store.list(f"{lineage.retired}{name}."):
                self.store.delete(entry.key)
        self.store.delete(mark)
        return not spared

    def prefetch(self, manifest: Manifest) -> int:
        """Fetch the packs that the cache lacks, as far as there is room. Returns the bytes fetched."""
        fetched, cache = 0, self.cache
        if cache is None:
            return 0
        for ref in manifest.packs:
            key = manifest.lineage.pack(ref.id)
            if key not in cache:
                body = self._whole_pack(manifest, ref)
                fetched += len(body)
                if not cache.put(key, body):
                    break
        return fetched

    def _whole_pack(self, manifest: Manifest, ref: PackRef) -> bytes:
        try:
            body = self.store.get(manifest.lineage.pack(ref.id))
        except NotStored as error:
            raise damaged_pack(manifest.lineage, ref.id, "it is not in the store", manifest.checkpoint_id) from error
        if len(body) != ref.size:
            what = f"it has {len(body)} bytes of {ref.size}"
            raise damaged_pack(manifest.lineage, ref.id, what, manifest.checkpoint_id)
        return body

    def check(self, *, read_data: bool = False) -> Iterator[Finding]:
        """Every kind of damage, and the checkpoints that it touches."""
        return Checker(self.store, self.keyring).check(read_data=read_data)

    def repair(self, findings: list[Finding], copies: Copies | None = None) -> list[str]:
        """Upload again what copies (this node's cache, if none are given) still has undamaged. Returns the healed packs' keys.

        The others are not used by later checkpoints.
        """
        return Checker(self.store, self.keyring).repair(findings, copies or self.cache)

    def heal(self, manifest: Manifest) -> list[str]:
        """Upload again what this node's cache has undamaged of a checkpoint's packs and the store has not. Returns their keys."""
        return Checker(self.store, self.keyring).heal(manifest, self.cache) if self.cache else []

    def gc(self, *, dry_run: bool = False, now: datetime | None = None) -> Collected:
        """Remove what nothing refers to. dry_run: only say what would go."""
        done = Collected()
        for lineage in collector.lineages(self.store):
            collector.collect(self.store, lineage, now or datetime.now(UTC), dry_run=dry_run, done=done)
        return done

    def rewrap_keys(self, namespace: str = "") -> list[str]:
        """Wrap every key under the active key-encryption key; see Keyring.rewrap."""
        return self.keyring.rewrap(namespace)

    def stats(self) -> Stats:
        """What there is, and what it takes."""
        checkpoints = archives = packs = stored = 0
        for entry in self.store.list(""):
            stored += entry.size
            packs += entry.key.startswith("packs/")
            if entry.key.startswith("archives/") and entry.key.endswith("/manifest.json"):
                try:
                    manifest = collector.parse(self.store.get(entry.key), entry.key)
                except (DamagedObject, NotStored):
                    continue
                if manifest:
                    checkpoints, archives = checkpoints + 1, archives + manifest.size
        return Stats(checkpoints, archives, packs, stored)
