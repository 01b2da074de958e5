"""A node for transfer's tests: slots as the engine writes them, a container runtime, and what was told."""

import os
from pathlib import Path
from typing import Any

from reprise.archive.cache import PackCache
from reprise.archive.identity import PAGE
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, slot_members, write_slot
from reprise.contracts.events import CheckpointFailed, CheckpointTaken, Event, ImageBuilt
from reprise.contracts.model import Target, Workload, now
from reprise.contracts.records import RollbackRecord
from reprise.runtime.cri.client import RunningContainer
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import NodeFiles
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.handlers import Handlers
from reprise.transfer.keeping import Keeping
from reprise.transfer.staging import Limits, Staging

WORKLOAD = Workload(namespace="ns", name="counter")
TARGET = Target(node="n1", pod="p", pod_uid="u1", container="counter", container_id="c1")
HOME = "ns/u1/counter"


def memory(*labels: int) -> bytes:
    """A page for each label."""
    return b"".join(bytes([label % 251 + 1, label // 251]) * (PAGE // 2) for label in labels)


class Told:
    """Stands behind the bus's publish() and the recorder's record()."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.recorded: list[tuple[str, str]] = []
        self.away = False

    async def publish(self, event: Event, **_: object) -> None:
        if self.away:
            raise TimeoutError
        self.events.append(event)

    async def record(self, _workload: Workload, _type: str, reason: str, message: str) -> None:
        self.recorded.append((reason, message))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def types(self) -> list[str]:
        return [event.TYPE.removeprefix("checkpoint.") for event in self.events]


class Runtime:
    """A container runtime, as far as transfer asks it."""

    def __init__(self) -> None:
        self.name = "cri-o"
        self.containers: list[RunningContainer] = []

    async def version(self) -> str:
        return f"{self.name} 1.34.0"

    async def list_containers(self) -> list[RunningContainer]:
        return self.containers

    def runs(self, pod_uid: str) -> None:
        self.containers = [RunningContainer("c9", "s9", "ns", "p", pod_uid, "counter", "counter:1", "", 0, "running", 0)]


class Node:
    """One node's transfer, without its service; several may share a store."""

    def __init__(self, folder: Path, store: MemoryStore | None = None, spare_bytes: int = 0) -> None:
        self.folder, self.store, self.told, self.runtime = folder, store or MemoryStore(), Told(), Runtime()
        self.checkpoints = folder / "checkpoints"
        self.checkpoints.mkdir(parents=True)
        objects: Any = self.store
        self.repository = Repository(objects, FixedKeys(), PackCache(folder / "packs", 1 << 30, 0))
        self.slots, self.files = Slots(folder / "slots"), NodeFiles(folder / "run")
        self.slots.root.mkdir()
        parts: Any = (self.told, self.repository, self.runtime, self.told, self.slots, self.files, Limits(spare_bytes))
        self.staging = Staging(*parts)
        told: Any = self.told
        self.rollbacks = Bucket(MemoryBus(MemoryServer()), "wanted", RollbackRecord)
        self.keeping = Keeping(told, self.slots, self.rollbacks, self.checkpoints)
        self.handlers = Handlers(told, self.repository, told, self.keeping, self.slots, self.checkpoints)

    def takes(self, name: str, pages: bytes = b"", **changed: Any) -> CheckpointTaken:
        """The engine wrote a slot, the runtime a stub, the checkpointer tells of both."""
        write_slot(self.slots.path(HOME, name), slot_members(pages=pages or os.urandom(PAGE), checkpoint_id=name))
        stub = self.checkpoints / f"checkpoint-{name}.tar"
        stub.write_bytes(b"stub")
        told = CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="interval", archive_path=str(stub), keep=9,
            kubelet_started_at=now(), kubelet_s=0.2, due_to_kubelet_s=0.0, slot=f"{HOME}/{name}", pause_s=0.14,
        )  # fmt: skip
        return told.model_copy(update=changed)

    def fails(self, taken: CheckpointTaken, slot: str | None = None) -> CheckpointFailed:
        """What the checkpointer tells instead."""
        return CheckpointFailed(
            node="n1", workload=WORKLOAD, checkpoint_id=taken.checkpoint_id, target=TARGET, reason="UnhealthyAfter", message="",
            remedy="", archive_path=taken.archive_path, slot=taken.slot if slot is None else slot,
        )  # fmt: skip

    def content(self, name: str) -> dict[str, bytes]:
        """Of a slot."""
        folder = self.slots.path(HOME, name)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def lie_there(self) -> set[str]:
        """What is in the container's folder of slots, links left out."""
        folder = self.slots.path(HOME)
        return {path.name for path in folder.iterdir() if not path.is_symlink()} if folder.is_dir() else set()

    def shown(self) -> tuple[str, str]:
        """What is restored first, and what if that fails."""
        return self.slots.live(HOME), self.slots.previous(HOME)


def built(name: str, role: str = "standby", node: str = "n2", **changed: Any) -> ImageBuilt:
    """What the restorer tells the node that is to stage it."""
    return ImageBuilt(
        node=node, workload=WORKLOAD, checkpoint_id=name, target=TARGET, reference="", digest="", role=role,  # type: ignore[arg-type]
    ).model_copy(update=changed)  # fmt: skip
