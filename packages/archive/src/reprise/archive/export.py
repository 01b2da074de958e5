"""A stored checkpoint as a file for other tools: the tar as it was stored, bit for bit, or an OCI archive around it.

checkpointctl and CRI-O read the tar; skopeo, `podman load` and `ctr images import` read the OCI archive. docs/cli.md has what
each needs of it and what it lacks. The file appears under its name only when it is whole and its sha256 is the manifest's.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.archive.damage import REMEDY
from reprise.archive.images import image_of
from reprise.archive.manifest import Manifest
from reprise.archive.oci import MANIFEST_TYPE, build_image, digest
from reprise.archive.source import header
from reprise.archive.tarindex import BLOCK
from reprise.contracts.errors import DamagedObject, RepriseError

if TYPE_CHECKING:
    from reprise.archive.opened import OpenArchive

REMEDIES = {
    errno.ENOSPC: "free some, or write elsewhere",
    errno.EDQUOT: "free some, or write elsewhere",
    errno.EFBIG: "its file system holds no file of this size: write elsewhere",
    errno.ENOENT: "make its folder first",
    errno.ENOTDIR: "what should be its folder is a file",
    errno.EACCES: "you may not write there",
    errno.EROFS: "write elsewhere",
}
OnWrite = Callable[[int], None]


class Form(StrEnum):
    tar = "tar"
    oci = "oci"


class ExportFailed(RepriseError):
    """The file cannot be written."""


@dataclass(frozen=True)
class Exported:
    """size of the file in bytes; digest: the tar's, or the image manifest's; reference: what the image is called."""

    path: Path
    form: Form
    size: int
    digest: str
    reference: str


def export(archive: "OpenArchive", to: Path, form: Form, *, force: bool = False, on_write: OnWrite = lambda _: None) -> Exported:
    """Write it, readable by its owner alone: it is a process's memory. on_write: told each piece's bytes, size in all.

    Raises ExportFailed, and what reading raises: DamagedObject, KeyUnavailable, StoreUnavailable. Nothing is left then.
    """
    manifest, image = archive.manifest, image_of(archive.manifest)
    with _whole_or_not_at_all(to, size_of(manifest, form), force=force) as write:
        for piece in _checked(archive) if form is Form.tar else _oci(archive):
            write(piece)
            on_write(len(piece))
    of = f"sha256:{manifest.sha256}" if form is Form.tar else image.digest
    return Exported(to, form, size_of(manifest, form), of, image.reference)


def size_of(manifest: Manifest, form: Form) -> int:
    """Bytes of the file."""
    if form is Form.tar:
        return manifest.size
    return sum(len(part) for part in _around(manifest)) + manifest.size + len(_end(manifest))


def _checked(archive: "OpenArchive") -> Iterator[bytes]:
    """The tar. Raises DamagedObject at its end if it is not what was stored: chunks are authenticated, their order is not."""
    seen = hashlib.sha256()
    for piece in archive.read():
        seen.update(piece)
        yield piece
    if seen.hexdigest() != archive.manifest.sha256:
        manifest = archive.manifest
        what = f"checkpoint {manifest.checkpoint_id}: what is stored has sha256 {seen.hexdigest()}, not {manifest.sha256}"
        raise DamagedObject(what, subject=str(manifest.lineage), remedy=REMEDY)


def _oci(archive: "OpenArchive") -> Iterator[bytes]:
    """The layer comes last: all else is known before it is read."""
    yield from _around(archive.manifest)
    yield from _checked(archive)
    yield _end(archive.manifest)


def _around(manifest: Manifest) -> Iterator[bytes]:
    """An image layout up to the layer's data: https://github.com/opencontainers/image-spec/blob/main/image-layout.md"""
    image, config = build_image(manifest)
    name = image_of(manifest).reference
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST_TYPE, "digest": digest(image), "size": len(image),
            "platform": {"architecture": manifest.architecture, "os": "linux"},
            # The second is how `ctr images import` names it.
            "annotations": {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": name},
        }],
    }  # fmt: skip
    yield _member("oci-layout", _document({"imageLayoutVersion": "1.0.0"}))
    yield _member("index.json", _document(index))
    yield header("blobs", 0, is_folder=True) + header("blobs/sha256", 0, is_folder=True)
    for blob in (image, config):
        yield _member(_blob(digest(blob)), blob)
    yield header(_blob(manifest.sha256), manifest.size)


def _end(manifest: Manifest) -> bytes:
    """The layer's padding, and the end of a tar: two blocks of zeros, filled up to a whole record."""
    tail = bytes(-manifest.size % BLOCK + 2 * BLOCK)
    before = sum(len(part) for part in _around(manifest)) + manifest.size + len(tail)
    return tail + bytes(-before % tarfile.RECORDSIZE)


def _blob(of: str) -> str:
    return f"blobs/sha256/{of.removeprefix('sha256:')}"


def _member(path: str, data: bytes) -> bytes:
    return header(path, len(data)) + data + bytes(-len(data) % BLOCK)


def _document(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True).encode()


@contextmanager
def _whole_or_not_at_all(to: Path, size: int, *, force: bool) -> Iterator[Callable[[bytes], None]]:
    """Writes into a file beside it, which gets its name at the end, and is removed otherwise."""
    with _told(to):
        _refuse_existing(to, force=force)
        free = shutil.disk_usage(to.parent).free
        if free < size:
            raise ExportFailed(
                f"it takes {size} bytes, and {free} are free there", subject=str(to), remedy=REMEDIES[errno.ENOSPC]
            )
        fd, part = tempfile.mkstemp(".part", f".{to.name[:200]}.", to.parent)
    try:
        with os.fdopen(fd, "wb") as file:

            def write(piece: bytes) -> None:
                with _told(to):
                    file.write(piece)

            yield write
            with _told(to):
                file.flush()
                os.fsync(file.fileno())
        with _told(to):
            _refuse_existing(to, force=force)
            Path(part).replace(to)
    finally:
        with suppress(FileNotFoundError):
            Path(part).unlink()


def _refuse_existing(to: Path, *, force: bool) -> None:
    try:
        mode = os.lstat(to).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise ExportFailed("it is a folder", subject=str(to), remedy="name a file in it")
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):  # renaming over a device would replace the device
        raise ExportFailed("it is neither a file nor a link", subject=str(to), remedy="name a file")
    if not force:
        raise ExportFailed("it exists", subject=str(to), remedy="--force replaces it; or name another file")


@contextmanager
def _told(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        remedy = REMEDIES.get(error.errno or 0, "check its path")
        raise ExportFailed(f"it cannot be written: {why}", subject=str(to), remedy=remedy) from error
