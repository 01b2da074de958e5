"""The repository of checkpoints: one writer and one reader of archives, retention, and images. layout.py has the names.

Listing, pruning and naming images need no keys: what they read and write says nothing of a process's memory. They also need
none of the libraries that handle contents (the extra `contents`): what does is imported where it is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.archive import collector, images
from reprise.archive.cache import PackCache
from reprise.archive.collector import Collected
from reprise.archive.crypto import KeyUnavailable, KeyWrapper
from reprise.archive.damage import Copies, Finding
from reprise.archive.images import ImageRef
from reprise.archive.keyring import Keyring
from reprise.archive.layout import OF_OLDER_VERSIONS, Lineage, last
from reprise.archive.manifest import Manifest, PackRef
from reprise.archive.oci import build_image
from reprise.archive.retention import Ladder, newest_of_each_pod, prune_plan
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored, RepriseError
from reprise.contracts.events import Trigger
from reprise.contracts.model import Target, Workload

if TYPE_CHECKING:
    from reprise.archive.checker import Checker
    from reprise.archive.opened import OpenArchive
    from reprise.archive.packer import Clock

__all__ = ["ImageRef", "LastGood", "Repository", "Stats"]


class LastGood(RepriseError):
    """It may not be deleted."""


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
        self.clock: Clock | None = None

    @property
    def keyring(self) -> Keyring:
        if self._keyring is None:
            raise KeyUnavailable("no keys are configured here", remedy="set REPRISE_KEK_DIR to the mounted Secret")
        return self._keyring

    def write_archive(self, path: Path, *, checkpoint_id: str, workload: Workload, target: Target, trigger: Trigger) -> Manifest:
        """Verify the archive, store what of it is new, then commit its manifest. path: a slot's folder, or a tar.

        Raises BadArchive, CheckpointError, KeyUnavailable. Interrupted, the next call with the same id goes on.
        """
        from reprise.archive.writer import Order, Writer

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
        from reprise.archive.opened import OpenArchive
        from reprise.archive.reader import Chunks, read_recipe

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
        return list(self._manifests(Lineage.of(workload, container)))

    def _manifests(self, lineage: Lineage) -> Iterator[Manifest]:
        keys = [entry.key for entry in self.store.list(lineage.archives) if entry.key.endswith("/manifest.json")]
        for key in sorted(keys, reverse=True):
            try:
                manifest = collector.parse(self.store.get(key), key)
            except (DamagedObject, NotStored):
                continue
            if manifest:
                yield manifest

    def lineages(self, namespace: str) -> list[Lineage]:
        """Of what anything is stored in this namespace."""
        prefix = "archives/"
        keys = (entry.key.removeprefix(prefix).split("/") for entry in self.store.list(f"{prefix}{namespace}/"))
        return [Lineage(*found) for found in sorted({(key[0], key[1], key[2]) for key in keys if len(key) > 3})]

    def publish(self, workload: Workload, container: str, checkpoint_id: str) -> tuple[str, str]:
        """The reference and digest of the image that any node's registry makes of this checkpoint.

        Raises NotStored if it is not there, DamagedObject.
        """
        manifest = self.find(workload, container, checkpoint_id)
        if manifest is None:
            raise NotStored("it was pruned, or never committed", subject=f"checkpoint {checkpoint_id} of {workload}")
        image = images.image_of(manifest)
        return image.reference, image.digest

    def image(self, lineage: Lineage, reference: str) -> bytes | None:
        """The image manifest of a checkpoint, by its id or by the image's digest; None if there is none. Raises DamagedObject."""
        if ":" in reference:
            found = self.blob(lineage, reference)
            return found if isinstance(found, bytes) else None
        key = lineage.manifest(reference)
        with contextlib.suppress(NotStored):
            manifest = collector.parse(self.store.get(key), key)
            return build_image(manifest)[0] if manifest else None
        return None

    def blob(self, lineage: Lineage, wanted: str) -> bytes | Manifest | None:
        """By digest: bytes of an image's manifest or config, or the manifest whose archive is the layer; newest first."""
        found = (images.blob_of(manifest, wanted) for manifest in self._manifests(lineage))
        return next((blob for blob in found if blob is not None), None)

    def prune(self, workload: Workload, container: str, keep: int, ladder: Ladder = ()) -> list[str]:
        """Remove all but each pod's newest `keep` good checkpoints and the ladder's; never the last. Returns the ids removed,
        and those that delete() removed.

        The manifest goes first: what is half removed is no checkpoint any more. gc() frees its packs.
        """
        # Only those whose manifest can be read count as good: a damaged newest one must not cost the last good one.
        manifests = {m.checkpoint_id: m for m in self.list_manifests(workload, container)}
        doomed = prune_plan({name: (m.target.pod_uid, m.taken_at) for name, m in manifests.items()}, keep, ladder)
        for name in doomed:
            collector.remove(self.store, manifests[name])
        return sorted({*doomed, *self._deleted(Lineage.of(workload, container), manifests.keys())})

    def _deleted(self, lineage: Lineage, good: Collection[str]) -> list[str]:
        """Told once: the marks go. One that is still good was not removed: the delete was interrupted."""
        marks = [entry.key for entry in self.store.list(lineage.deleted)]
        for key in marks:
            self.store.delete(key)
        return [name for name in map(last, marks) if name not in good]

    def delete(self, manifest: Manifest) -> None:
        """Remove a checkpoint that nobody wants any more; the workload's next prune() tells of it. gc() frees its packs.

        Raises LastGood: each pod's newest is what a failover needs.
        """
        every = self.list_manifests(manifest.workload, manifest.target.container)
        if manifest.checkpoint_id in newest_of_each_pod({m.checkpoint_id: (m.target.pod_uid, m.taken_at) for m in every}):
            raise LastGood(
                f"checkpoint {manifest.checkpoint_id} is the newest good one of pod {manifest.target.pod}: a failover needs it",
                subject=str(manifest.lineage), remedy="`reprise checkpoint take` takes a newer one; then this one can go",
            )  # fmt: skip
        self.store.put(manifest.lineage.deleted + manifest.checkpoint_id, b"")
        collector.remove(self.store, manifest)

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
        from reprise.archive.pack import damaged_pack

        try:
            body = self.store.get(manifest.lineage.pack(ref.id))
        except NotStored as error:
            raise damaged_pack(manifest.lineage, ref.id, "it is not in the store", manifest.checkpoint_id) from error
        if len(body) != ref.size:
            what = f"it has {len(body)} bytes of {ref.size}"
            raise damaged_pack(manifest.lineage, ref.id, what, manifest.checkpoint_id)
        return body

    def _checker(self) -> Checker:
        from reprise.archive.checker import Checker

        return Checker(self.store, self.keyring)

    def check(self, *, read_data: bool = False, namespace: str = "") -> Iterator[Finding]:
        """Every kind of damage, and the checkpoints that it touches; of one namespace, or of all."""
        return self._checker().check(read_data=read_data, namespace=namespace)

    def repair(self, findings: list[Finding], copies: Copies | None = None) -> list[str]:
        """Upload again what copies (this node's cache, if none are given) still has undamaged. Returns the healed packs' keys.

        The others are not used by later checkpoints.
        """
        return self._checker().repair(findings, copies or self.cache)

    def heal(self, manifest: Manifest) -> list[str]:
        """Upload again what this node's cache has undamaged of a checkpoint's packs and the store has not. Returns their keys."""
        return self._checker().heal(manifest, self.cache) if self.cache else []

    def gc(self, *, dry_run: bool = False, now: datetime | None = None) -> Collected:
        """Remove what nothing refers to. dry_run: only say what would go."""
        done = Collected()
        for lineage in collector.lineages(self.store):
            collector.collect(self.store, lineage, now or datetime.now(UTC), dry_run=dry_run, done=done)
        for entry in () if dry_run else [entry for prefix in OF_OLDER_VERSIONS for entry in self.store.list(prefix)]:
            self.store.delete(entry.key)
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
