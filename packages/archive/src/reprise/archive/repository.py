"""The repository of checkpoints: one writer and one reader of archives, retention, and live images.

archives/<namespace>/<kind>.<name>/<container>/<checkpoint id>/archive.tar
                                                              /manifest.json       written last: the commit
                                                              /image-manifest.json, image-config.json
live/<namespace>/<live id>/<container>.json                   what the live reference shows
"""

import contextlib
import hashlib
import os
import platform
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import ValidationError
from reprise.archive.facts import REMEDY, ArchiveFacts, BadArchive, read_facts
from reprise.archive.manifest import LivePointer, Manifest
from reprise.archive.oci import build_image, digest
from reprise.archive.store import StreamingStore
from reprise.contracts.errors import DamagedObject, NotStored
from reprise.contracts.events import Trigger
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class ImageRef:
    """A published checkpoint image."""

    reference: str
    digest: str


class HashingReader:
    """A file that hashes and counts what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class Repository:
    """All of it over one store. Raises StoreError; write_archive also BadArchive."""

    def __init__(self, store: StreamingStore) -> None:
        self.store = store

    def write_archive(self, path: Path, *, checkpoint_id: str, workload: Workload, target: Target, trigger: Trigger) -> Manifest:
        """Verify and upload an archive with bounded memory, then commit its manifest.

        The facts are read and the bytes are hashed and uploaded at the same time, from two open files of one inode.
        """
        folder = self._folder(workload, target.container) + checkpoint_id
        facts, sha256, size = self._upload(path, f"{folder}/archive.tar")
        if facts.container_id != target.container_id and target.container_id:
            self.store.delete(f"{folder}/archive.tar")
            raise BadArchive(
                f"it is of container {facts.container_id[:12]}, not of {target.container_id[:12]}: the container was "
                "replaced while the checkpoint was taken",
                subject=path.name,
                reason="OtherContainer",
                remedy="nothing: the next checkpoint will be of the new container",
            )
        stored = self.store.size(f"{folder}/archive.tar")
        if stored != size:
            raise DamagedObject(f"the store holds {stored} bytes of {size}", subject=path.name)
        manifest = Manifest(
            checkpoint_id=checkpoint_id,
            workload=workload,
            target=target,
            trigger=trigger,
            taken_at=datetime.now(UTC),
            size=size,
            sha256=sha256,
            object_key=f"{folder}/archive.tar",
            architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
            kernel=platform.release(),
            facts=facts,
        )
        self.store.put(f"{folder}/manifest.json", manifest.model_dump_json().encode())
        return manifest

    def _upload(self, path: Path, key: str) -> tuple[ArchiveFacts, str, int]:
        outcome: list[ArchiveFacts | Exception] = []

        def inspect() -> None:
            try:
                with path.open("rb") as file:
                    outcome.append(read_facts(file, path.name))
            except Exception as error:
                outcome.append(error)

        _require_end(path)
        reader = threading.Thread(target=inspect)
        reader.start()
        with path.open("rb") as file:
            hashing = HashingReader(file)
            self.store.put_stream(key, hashing)  # type: ignore[arg-type]
            size_on_disk = os.fstat(file.fileno()).st_size
        reader.join()
        facts = outcome[0]
        if isinstance(facts, Exception):
            self.store.delete(key)
            raise facts
        if hashing.size != size_on_disk:
            raise BadArchive("it changed while it was read", subject=path.name)
        return facts, hashing.hexdigest(), hashing.size

    def read_archive(self, manifest: Manifest) -> Iterator[bytes]:
        """The tar, bit for bit. Raises DamagedObject, at the latest at the end, if it is not what was committed."""
        total, size = hashlib.sha256(), 0
        for data in self.store.stream(manifest.object_key):
            total.update(data)
            size += len(data)
            yield data
        if size != manifest.size or total.hexdigest() != manifest.sha256:
            raise DamagedObject(
                f"{size} bytes with sha256 {total.hexdigest()[:12]}, committed were {manifest.size} with {manifest.sha256[:12]}",
                subject=f"checkpoint {manifest.checkpoint_id}",
                remedy="restore from another checkpoint; check the store's disks",
            )

    def find(self, workload: Workload, container: str, checkpoint_id: str) -> Manifest | None:
        """The committed manifest, or None."""
        try:
            return self._manifest(f"{self._folder(workload, container)}{checkpoint_id}/manifest.json")
        except NotStored:
            return None

    def list_manifests(self, workload: Workload, container: str) -> list[Manifest]:
        """Good checkpoints, newest first; one whose manifest is damaged is left out."""
        keys = [e.key for e in self.store.list(self._folder(workload, container)) if e.key.endswith("/manifest.json")]
        found = []
        for key in sorted(keys, reverse=True):
            try:
                found.append(self._manifest(key))
            except (DamagedObject, NotStored):
                continue
        return found

    def _manifest(self, key: str) -> Manifest:
        try:
            return Manifest.model_validate_json(self.store.get(key))
        except ValidationError as error:
            raise DamagedObject(f"not a manifest: {error.errors()[0]['msg']}", subject=key) from error

    def publish_image(self, manifest: Manifest, live_id: str) -> ImageRef:
        """Make the checkpoint an image and let the live reference show it; it never moves back in time."""
        image, config = build_image(manifest)
        folder = manifest.object_key.removesuffix("archive.tar")
        self.store.put(f"{folder}image-config.json", config)
        self.store.put(f"{folder}image-manifest.json", image)
        target = manifest.target
        shown = self.live(manifest.workload.namespace, live_id, target.container)
        reference = live_reference(manifest.workload.namespace, live_id, target.container)
        if shown and shown.checkpoint_id >= manifest.checkpoint_id:
            return ImageRef(reference, shown.digest)
        pointer = LivePointer(
            live_id=live_id,
            pod_uid=target.pod_uid,
            checkpoint_id=manifest.checkpoint_id,
            image_key=f"{folder}image-manifest.json",
            digest=digest(image),
        )
        key = self._live_key(manifest.workload.namespace, live_id, target.container)
        self.store.put(key, pointer.model_dump_json().encode())
        return ImageRef(reference, pointer.digest)

    def live(self, namespace: str, live_id: str, container: str) -> LivePointer | None:
        """What the live reference shows; None if there is none."""
        key = self._live_key(namespace, live_id, container)
        try:
            return LivePointer.model_validate_json(self.store.get(key))
        except NotStored:
            return None
        except ValidationError as error:
            raise DamagedObject("not a live pointer", subject=key) from error

    def prune(self, workload: Workload, container: str, keep: int) -> list[str]:
        """Remove all but the newest `keep` good checkpoints; never the last, nor one that a live reference shows (each
        replica's newest is another pod's). Returns the ids removed.

        The manifest goes first: what is half removed is no checkpoint any more, and its archive goes with the folder.
        """
        folder = self._folder(workload, container)
        # Only those whose manifest can be read count as good: a damaged newest one must not cost the last good one.
        doomed = prune_plan([m.checkpoint_id for m in self.list_manifests(workload, container)], keep)
        if doomed:
            shown = self._shown(workload.namespace, folder)
            doomed = [checkpoint_id for checkpoint_id in doomed if checkpoint_id not in shown]
        keys = [entry.key for entry in self.store.list(folder)] if doomed else []
        for checkpoint_id in doomed:
            self.store.delete(f"{folder}{checkpoint_id}/manifest.json")
            for key in keys:
                if key.startswith(f"{folder}{checkpoint_id}/") and not key.endswith("/manifest.json"):
                    self.store.delete(key)
        return doomed

    def _shown(self, namespace: str, folder: str) -> set[str]:
        """The checkpoints below folder that live references show."""
        found = set()
        for entry in self.store.list(f"live/{namespace}/"):
            with contextlib.suppress(NotStored, ValidationError):
                pointer = LivePointer.model_validate_json(self.store.get(entry.key))
                if pointer.image_key.startswith(folder):
                    found.add(pointer.checkpoint_id)
        return found

    @staticmethod
    def _folder(workload: Workload, container: str) -> str:
        return f"archives/{workload.namespace}/{workload.kind.lower()}.{workload.name}/{container}/"

    @staticmethod
    def _live_key(namespace: str, live_id: str, container: str) -> str:
        return f"live/{namespace}/{live_id}/{container}.json"


def _require_end(path: Path) -> None:
    """A tar ends in two blocks of zeros; one cut off between two members would read as a whole one without them."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1024))
        if size < 1024 or any(file.read()):
            raise BadArchive(f"it is cut off or no tar ({size} bytes, no end marker)", subject=path.name, remedy=REMEDY)


def prune_plan(checkpoint_ids: list[str], keep: int) -> list[str]:
    """Which to remove, oldest first: all but the newest max(keep, 1). Ids sort by time."""
    ordered = sorted(set(checkpoint_ids))
    return ordered[: -max(keep, 1)]
