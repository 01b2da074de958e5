"""Two files of memory's pages for each live reference, on the node's disk: one is what the runtime's image leads to, the
other is brought to the next checkpoint meanwhile, by writing what differs from what it holds.

root/<namespace>/<live id>/<container>/state.json, layer.tar, image.json, config.json, {a,b}/pages-*.img, {a,b}/pages-*.npy
All 0600 and removed with the pod: this is a process's memory in the clear, as the kubelet's own archive is.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ValidationError
from reprise.archive.identity import Identities
from reprise.archive.oci import build_image, digest
from reprise.archive.opened import OpenArchive
from reprise.archive.tarindex import Member
from reprise.archive.thin import thin_layer
from reprise.contracts.errors import RepriseError

Name = Literal["a", "b"]


class SlotBusy(RepriseError):
    """Somebody reads the pages that are to be overwritten."""

    retryable = True


class Slot(BaseModel):
    """clean False: it was being written when the process ended. image_id: of the image that leads here, in hex."""

    checkpoint_id: str = ""
    clean: bool = False
    image_id: str = ""


class State(BaseModel):
    """newest: the slot that the image at hand leads to. staged_at: seconds since the epoch, for the sweep."""

    slots: dict[Name, Slot] = {}
    newest: Name = "a"
    staged_at: float = 0.0


@dataclass(frozen=True)
class LocalImage:
    """An image that this node made by itself. layer: the file that holds it."""

    checkpoint_id: str
    image: bytes
    config: bytes
    layer: Path

    def blob(self, wanted: str) -> bytes | Path | None:
        """By digest."""
        for body in (self.image, self.config):
            if digest(body) == wanted:
                return body
        return self.layer if json.loads(self.image)["layers"][0]["digest"] == wanted else None


class Slots:
    """root: mounted under the node's own path, because links lead there by name."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, namespace: str, live_id: str, container: str) -> Path:
        return self._root / namespace / live_id / container

    def missing_bytes(self, folder: Path, size: int) -> int:
        """What two slots of this size would take more than is taken."""
        taken = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
        return max(0, 2 * size - taken)

    def stage(
        self, folder: Path, archive: OpenArchive, pages: dict[str, Member], shown_image: str
    ) -> tuple[LocalImage | None, int]:
        """Bring the slot that the runtime does not show to this checkpoint, and make the image that leads there.

        shown_image: id of the image that the runtime has under the reference. Returns the image, None if the archive's other
        members are too large for one, and the bytes written. Raises SlotBusy, and what reading the archive raises.
        """
        state = self._read(folder)
        name: Name = "b" if state.slots.get("a", Slot()).image_id == shown_image != "" else "a"
        slot = folder / name
        for path in slot.glob("*.img"):
            _require_unread(path)
        before = state.slots.get(name, Slot())
        self._write(folder, state.model_copy(update={"slots": state.slots | {name: Slot()}}))
        written = self._fill(slot, archive, pages, fresh=not before.clean)
        layer = thin_layer(archive, pages, str(slot))
        if layer is None:
            return None, written
        image, config = build_image(archive.manifest, layer)
        for file, body in (("layer.tar", layer), ("config.json", config), ("image.json", image)):
            _replace(folder / file, body)
        done = Slot(checkpoint_id=archive.manifest.checkpoint_id, clean=True, image_id=digest(config).removeprefix("sha256:"))
        self._write(folder, State(slots=state.slots | {name: done}, newest=name, staged_at=time.time()))
        return LocalImage(done.checkpoint_id, image, config, folder / "layer.tar"), written

    def _fill(self, slot: Path, archive: OpenArchive, pages: dict[str, Member], *, fresh: bool) -> int:
        if fresh:
            shutil.rmtree(slot, ignore_errors=True)
        slot.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in [path for path in slot.iterdir() if path.stem not in {Path(name).stem for name in pages}]:
            stale.unlink()
        written = 0
        for name, member in pages.items():
            held = slot / f"{Path(name).stem}.npy"
            fd = os.open(slot / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                after, count = archive.write_pages(member, fd, _load(held))
                os.fdatasync(fd)  # what is called clean must be so after a power cut
            finally:
                os.close(fd)
            _save(held, after)
            written += count
        return written

    def image(self, namespace: str, live_id: str, container: str) -> LocalImage | None:
        """What was staged last under this reference, if it is whole."""
        folder = self.folder(namespace, live_id, container)
        state = self._read(folder)
        slot = state.slots.get(state.newest, Slot())
        try:
            found = LocalImage(
                slot.checkpoint_id,
                (folder / "image.json").read_bytes(),
                (folder / "config.json").read_bytes(),
                folder / "layer.tar",
            )
        except OSError:
            return None
        return found if slot.clean and digest(found.config) == f"sha256:{slot.image_id}" else None

    def all(self) -> Iterator[tuple[str, str, str, State]]:
        """Namespace, live id, container and state of each."""
        for path in self._root.glob("*/*/*/state.json"):
            namespace, live_id, container = path.parts[-4:-1]
            yield namespace, live_id, container, self._read(path.parent)

    def remove(self, namespace: str, live_id: str, container: str) -> None:
        folder = self.folder(namespace, live_id, container)
        shutil.rmtree(folder, ignore_errors=True)
        for parent in (folder.parent, folder.parent.parent):
            with suppress(OSError):
                parent.rmdir()

    @staticmethod
    def _read(folder: Path) -> State:
        try:
            return State.model_validate_json((folder / "state.json").read_bytes())
        except (OSError, ValidationError):
            return State()

    @staticmethod
    def _write(folder: Path, state: State) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(folder / "state.json", state.model_dump_json().encode())


def _require_unread(path: Path) -> None:
    """The kernel grants a write lease only where nobody else has the file open: CRIU, in a restore that takes long."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError as error:
        raise SlotBusy("a restore reads it", subject=str(path)) from error
    finally:
        os.close(fd)


def _load(path: Path) -> Identities | None:
    try:
        found: Identities = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and found.shape[1:] == (2,) and found.dtype == np.uint64 else None


def _save(path: Path, pages: Identities) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        np.save(file, pages, allow_pickle=False)
        file.flush()
        os.fdatasync(file.fileno())


def _replace(path: Path, body: bytes) -> None:
    part = path.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
