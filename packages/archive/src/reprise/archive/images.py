"""Checkpoints as images at the node-local registry: live references, and blobs by their digest.

A live reference moves on with compare-and-set and never back in time. A blob is found by its digest for as long as its
checkpoint is kept, whatever the reference shows by then: a pull that began before goes on.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from reprise.archive.collector import parse
from reprise.archive.layout import Lineage, image_key, live_key
from reprise.archive.manifest import LivePointer, Manifest, Withdrawn
from reprise.archive.oci import build_image, digest
from reprise.archive.store import Store
from reprise.contracts.errors import DamagedObject, NotStored, StoreUnavailable
from reprise.contracts.images import live_reference

ATTEMPTS = 10
WITHDRAWN = Withdrawn(withdrawn=True).model_dump_json().encode()
CLOCK = ".reprise/clock"


@dataclass(frozen=True)
class ImageRef:
    """A published checkpoint image."""

    reference: str
    digest: str


@dataclass(frozen=True)
class Idle:
    """A live reference that has not moved for so long. pointer: None if its removal was interrupted."""

    key: str
    idle: timedelta
    version: str
    pointer: LivePointer | None

    @property
    def namespace(self) -> str:
        return self.key.split("/")[1]

    @property
    def live_id(self) -> str:
        return self.key.split("/")[2]


class Blob(BaseModel):
    """What a digest stands for: it is made of the checkpoint's manifest, or is its archive."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["image", "config", "layer"]
    manifest_key: str


def publish(store: Store, manifest: Manifest, live_id: str) -> ImageRef:
    """Make the checkpoint an image and let the live reference show it, unless it shows a newer one.

    Raises NotStored if retention removes the checkpoint: it held it first, then looked; prune() first marks, then looks who
    holds or shows it. One of the two sees the other.
    """
    hold = f"{manifest.lineage.held}{manifest.checkpoint_id}.{live_id}"
    store.put(hold, b"")
    try:
        if any(store.list(f"{manifest.lineage.retired}{manifest.checkpoint_id}.")):
            raise NotStored("retention removes it", subject=f"checkpoint {manifest.checkpoint_id} of {manifest.workload}")
        store.size(manifest.key)
        image, config = build_image(manifest)
        for kind, name in (("image", digest(image)), ("config", digest(config)), ("layer", f"sha256:{manifest.sha256}")):
            blob = Blob(kind=kind, manifest_key=manifest.key)  # type: ignore[arg-type]
            store.put(image_key(manifest.workload.namespace, name), blob.model_dump_json().encode())
        return _advance(store, manifest, live_id, digest(image))
    finally:
        with contextlib.suppress(StoreUnavailable):
            store.delete(hold)


def _advance(store: Store, manifest: Manifest, live_id: str, image_digest: str) -> ImageRef:
    namespace, container = manifest.workload.namespace, manifest.target.container
    key, reference = live_key(namespace, live_id, container), live_reference(namespace, live_id, container)
    pointer = LivePointer(
        live_id=live_id, pod_uid=manifest.target.pod_uid, checkpoint_id=manifest.checkpoint_id, manifest_key=manifest.key,
        digest=image_digest,
    )  # fmt: skip
    body = pointer.model_dump_json().encode()
    for _ in range(ATTEMPTS):
        try:
            told, version = store.get_versioned(key)
        except NotStored:
            if store.create(key, body):
                return ImageRef(reference, image_digest)
            continue
        shown = _pointer(told, key)
        if shown is None:
            continue  # it is gone in a moment; if its removal was interrupted, when that is done again
        if shown.checkpoint_id >= manifest.checkpoint_id:
            return ImageRef(reference, shown.digest)
        if store.replace(key, body, version):
            return ImageRef(reference, image_digest)
    raise StoreUnavailable("others keep changing it", subject=key)


def live(store: Store, namespace: str, live_id: str, container: str) -> LivePointer | None:
    """What the live reference shows; None if there is none."""
    key = live_key(namespace, live_id, container)
    try:
        return _pointer(store.get(key), key)
    except NotStored:
        return None


def idle(store: Store, least: timedelta) -> list[Idle]:
    """The live references that were not written for so long, by the store's own clock. Raises DamagedObject for one that
    cannot be read.
    """
    now, found = _now(store), []
    for entry in store.list("live/"):
        if now - entry.modified < least:
            continue
        with contextlib.suppress(NotStored):
            body, version = store.get_versioned(entry.key)
            found.append(Idle(entry.key, now - entry.modified, version, _pointer(body, entry.key)))
    return found


def _now(store: Store) -> datetime:
    """Ages are differences of one clock: ours may be hours off."""
    store.put(CLOCK, b"")
    return next(entry.modified for entry in store.list(CLOCK))


def withdraw(store: Store, found: Idle) -> bool:
    """Remove a live reference if it still is as it was found; False if it has moved on meanwhile.

    S3 has no conditional delete that every server knows. So compare-and-set first puts something in its place that no
    publication writes over, and only that is deleted: a pointer that was advanced in between is never hit.
    """
    if found.pointer is not None and not store.replace(found.key, WITHDRAWN, found.version):
        return False
    store.delete(found.key)
    return True


def _pointer(body: bytes, key: str) -> LivePointer | None:
    """None while it is being removed."""
    if body == WITHDRAWN:
        return None
    try:
        return LivePointer.model_validate_json(body)
    except ValidationError as error:
        raise DamagedObject("not a live pointer", subject=key) from error


def image(store: Store, pointer: LivePointer) -> bytes:
    """The image manifest that the pointer shows. Raises NotStored, DamagedObject."""
    manifest = parse(store.get(pointer.manifest_key), pointer.manifest_key)
    if manifest is None:
        raise NotStored("it was given up", subject=pointer.manifest_key)
    return build_image(manifest)[0]


def blob(store: Store, namespace: str, wanted: str) -> bytes | Manifest | None:
    """An image's manifest or config as bytes; for a layer the manifest whose archive it is; None if there is none."""
    try:
        found = Blob.model_validate_json(store.get(image_key(namespace, wanted)))
        manifest = parse(store.get(found.manifest_key), found.manifest_key)
    except NotStored:
        return None
    except ValidationError as error:
        raise DamagedObject("not a blob's entry", subject=image_key(namespace, wanted)) from error
    if manifest is None:
        return None
    if found.kind == "layer":
        return manifest
    made = build_image(manifest)[0 if found.kind == "image" else 1]
    return made if digest(made) == wanted else None


def withdraw_blobs(store: Store, manifest: Manifest) -> None:
    """Of a checkpoint that is removed. What another checkpoint with the same bytes has taken over stays."""
    made = build_image(manifest)
    for name in (digest(made[0]), digest(made[1]), f"sha256:{manifest.sha256}"):
        key = image_key(manifest.workload.namespace, name)
        with contextlib.suppress(NotStored, ValidationError):
            if Blob.model_validate_json(store.get(key)).manifest_key == manifest.key:
                store.delete(key)


def in_use(store: Store, lineage: Lineage) -> set[str]:
    """The checkpoints of this lineage that are held or that a live reference shows. Held first: a publication lets go of
    its hold only after the reference shows it.
    """
    found = {entry.key.removeprefix(lineage.held).rpartition(".")[0] for entry in store.list(lineage.held)}
    for entry in store.list(f"live/{lineage.namespace}/"):
        with contextlib.suppress(NotStored, ValidationError):
            pointer = LivePointer.model_validate_json(store.get(entry.key))
            if pointer.manifest_key.startswith(lineage.archives):
                found.add(pointer.checkpoint_id)
    return found
