"""What lies ready on a node: thin images over slots of pages, plain ones for what is small, and why it is not staged."""

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from reprise.archive.cache import PackCache
from reprise.archive.identity import PAGE
from reprise.archive.oci import digest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build, members
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
    Event,
    ImageBuilt,
    StandbyRefused,
)
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload, now
from reprise.runtime.cri.client import CriError, RunningContainer
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.transfer.adapters.slots import SlotBusy, Slots
from reprise.transfer.decide import gives_up, staging_limitation
from reprise.transfer.handlers import Handlers
from reprise.transfer.model import Noted
from reprise.transfer.registry import app
from reprise.transfer.staging import Limits, Staging

WORKLOAD = Workload(namespace="ns", name="counter")
TARGET = Target(node="n1", pod="p", pod_uid="u1", container="counter", container_id="c1")
REFERENCE = live_reference("ns", "u1", "counter")
FIRST = os.urandom(300 * PAGE)
SECOND = FIRST[: 7 * PAGE] + os.urandom(PAGE) + FIRST[8 * PAGE :]
THIRD = SECOND[: 99 * PAGE] + os.urandom(2 * PAGE) + SECOND[101 * PAGE :]


@dataclass
class Runtime:
    """A container runtime that pulls from the registry as CRI-O does: manifest, then blobs; an image's id is its config's."""

    registry: httpx.AsyncClient
    images: dict[str, str] = field(default_factory=lambda: {"abc": "abc"})
    created: list[RunningContainer] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    layer: bytes = b""
    pullable: tuple[str, ...] = ()

    async def version(self) -> str:
        return "cri-o 1.34.0"

    async def image_id(self, reference: str) -> str | None:
        return self.images.get(reference)

    async def pull_image(self, reference: str, _timeout_s: float = 600) -> str:
        if not reference.startswith("localhost:5797/"):
            if reference not in self.pullable:
                raise CriError("no such image", subject=reference)
            self.images["abc"] = "abc"
            return reference
        name, _, tag = reference.removeprefix("localhost:5797/").rpartition(":")
        answer = await self.registry.get(f"/v2/{name}/manifests/{tag}")
        if answer.status_code != 200:
            raise CriError(answer.text, subject=reference)
        image = answer.json()
        try:
            self.layer = (await self.registry.get(f"/v2/{name}/blobs/{image['layers'][0]['digest']}")).content
        except Exception as error:
            raise CriError(str(error), subject=reference) from error
        assert digest(self.layer) == image["layers"][0]["digest"]
        self.images[reference] = image["config"]["digest"].removeprefix("sha256:")
        return reference

    async def remove_image(self, image: str) -> None:
        self.removed.append(image)

    async def list_containers(self, state: str = "") -> list[RunningContainer]:
        return self.created


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def publish(self, event: Event, **_: object) -> None:
        self.events.append(event)

    @property
    def jetstream(self) -> object:
        raise TimeoutError  # no bucket is there

    async def record(self, *told: object) -> None:
        """Kubernetes Events are the cluster's to show."""

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Node:
    """One node's transfer, without its service."""

    def __init__(self, folder: Path, thin_bytes: int = 1, spare_bytes: int = 0, store: MemoryStore | None = None) -> None:
        self.folder, self.store, self.told = folder, store or MemoryStore(), Told()
        folder.mkdir(exist_ok=True)
        self.repository = Repository(self.store, FixedKeys(), PackCache(folder / "packs", 1 << 30, 0))
        self.slots = Slots(folder / "slots")
        transport = httpx.ASGITransport(app(self.repository, self.slots))
        self.runtime = Runtime(httpx.AsyncClient(transport=transport, base_url="http://registry"))
        limits = Limits(thin_bytes, spare_bytes)
        self.staging = Staging(self.told, self.repository, self.runtime, self.told, self.slots, folder, limits)  # type: ignore[arg-type]

    def checkpoint(self, name: str, pages: bytes) -> ImageBuilt:
        path = self.folder / f"checkpoint-{name}.tar"
        path.write_bytes(build(members() | {"checkpoint/pages-1.img": pages}))
        manifest = self.repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="interval")
        self.repository.publish_image(manifest, "u1")
        return ImageBuilt(node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, reference=REFERENCE, digest="")

    def restored_pages(self) -> bytes:
        """What a restore of the image at hand would read: through the link, as the kernel follows it."""
        with tarfile.open(fileobj=io.BytesIO(self.runtime.layer)) as tar:
            info = tar.getmember("checkpoint/pages-1.img")
            if info.isreg():
                found = tar.extractfile(info)
                assert found
                return found.read()
        return Path("/" + info.linkname.rpartition("../")[2]).read_bytes()


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., Node]:
    return lambda **limits: Node(tmp_path, **limits)


async def test_each_checkpoint_lies_ready_and_costs_what_changed(node: Callable[..., Node]) -> None:
    here = node()
    for name, pages in (("1", FIRST), ("2", SECOND), ("3", THIRD)):
        await here.staging.on_image(here.checkpoint(name, pages))
        assert here.restored_pages() == pages
        assert len(here.runtime.layer) < 40_000
    staged = here.told.of(CheckpointStaged)
    # Each of two slots is written whole once; from then on what changed since it was written last: two checkpoints' worth.
    assert [event.bytes_written // PAGE for event in staged] == [300, 300, 3]
    assert len(here.runtime.removed) == 2


async def test_a_small_process_is_pulled_whole(node: Callable[..., Node]) -> None:
    here = node(thin_bytes=1 << 30)
    await here.staging.on_image(here.checkpoint("1", FIRST))
    assert here.restored_pages() == FIRST
    assert here.told.of(CheckpointStaged)[0].bytes_written > len(FIRST)


async def test_pages_at_rest_are_readable_by_root_alone(node: Callable[..., Node]) -> None:
    here = node()
    await here.staging.on_image(here.checkpoint("1", FIRST))
    files = [path for path in (here.folder / "slots").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"pages-1.img", "layer.tar", "state.json"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


async def test_a_restore_under_way_keeps_its_slot(node: Callable[..., Node]) -> None:
    """CRIU has the pages of the image before open: the slot is left alone, and its event comes again."""
    here = node()
    await here.staging.on_image(here.checkpoint("1", FIRST))
    old = next((here.folder / "slots").rglob("pages-1.img"))
    await here.staging.on_image(here.checkpoint("2", SECOND))
    third = here.checkpoint("3", THIRD)
    with old.open("rb") as restoring:
        with pytest.raises(SlotBusy):
            await here.staging.on_image(third)
        assert restoring.read() == FIRST
    await here.staging.on_image(third)
    assert here.restored_pages() == THIRD


async def test_a_slot_whose_writer_was_killed_is_written_anew(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    here = node()
    await here.staging.on_image(here.checkpoint("1", FIRST))
    await here.staging.on_image(here.checkpoint("2", SECOND))
    third, write = here.checkpoint("3", THIRD), os.pwrite

    def torn(fd: int, data: bytes, at: int) -> int:
        write(fd, b"torn", at)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", torn)
    with pytest.raises(KeyboardInterrupt):
        await here.staging.on_image(third)
    monkeypatch.undo()
    assert here.restored_pages() == SECOND, "the other slot is what the runtime's image leads to"
    await here.staging.on_image(third)
    assert here.restored_pages() == THIRD


async def test_only_the_newest_of_those_that_wait_is_staged(node: Callable[..., Node]) -> None:
    here = node()
    first, second = here.checkpoint("1", FIRST), here.checkpoint("2", SECOND)
    await here.staging.on_image(second)
    await here.staging.on_image(first)
    assert [event.checkpoint_id for event in here.told.of(CheckpointStaged)] == ["2"]


async def test_a_damaged_checkpoint_is_told_and_the_image_before_stays(node: Callable[..., Node]) -> None:
    here = node()
    await here.staging.on_image(here.checkpoint("1", FIRST))
    second = here.checkpoint("2", SECOND)
    for folder in (here.folder / "packs").rglob("*"):
        if folder.is_file():
            folder.unlink()
    for key in [key for key in here.store.objects if key.startswith("packs/")]:
        here.store.objects[key] = bytes(len(here.store.objects[key]))
    await here.staging.on_image(second)
    told = here.told.of(CheckpointFailed)
    assert len(told) == 1
    assert told[0].reason == "DamagedObject"
    assert told[0].checkpoint_id == "2"
    assert here.restored_pages() == FIRST


def flip(store: MemoryStore) -> str:
    """A bit flips in the largest pack. Its key."""
    key = max((key for key in store.objects if key.startswith("packs/")), key=lambda key: len(store.objects[key]))
    body = bytearray(store.objects[key])
    body[40] ^= 1
    store.objects[key] = bytes(body)
    return key


async def test_what_a_standby_finds_damaged_is_healed_by_the_node_that_took_it(tmp_path: Path) -> None:
    own = Node(tmp_path / "n1")
    there = Node(tmp_path / "n2", store=own.store)
    event = own.checkpoint("1", FIRST).model_copy(update={"role": "standby", "node": "n2"})
    key = flip(own.store)
    await there.staging.on_image(event)
    (told,) = there.told.of(CheckpointFailed)
    await there.staging.on_damage(told)  # it hears it too, and has nothing to heal it with
    await own.staging.on_damage(told)
    assert not list(own.repository.check(read_data=True))
    await there.staging.on_image(event)
    assert there.restored_pages() == FIRST
    assert key in own.repository.cache  # type: ignore[operator]


async def test_the_checkpoint_after_one_that_was_found_damaged_is_whole_though_nobody_heals_it(tmp_path: Path) -> None:
    own = Node(tmp_path / "n1")
    there = Node(tmp_path / "n2", store=own.store)
    first = own.checkpoint("1", FIRST).model_copy(update={"role": "standby", "node": "n2"})
    flip(own.store)
    await there.staging.on_image(first)
    second = own.checkpoint("2", SECOND).model_copy(update={"role": "standby", "node": "n2"})
    await there.staging.on_image(second)
    assert there.restored_pages() == SECOND
    assert [event.checkpoint_id for event in there.told.of(CheckpointFailed)] == ["1"]


async def test_other_failures_make_nobody_look_for_damage(node: Callable[..., Node]) -> None:
    here = node()
    here.checkpoint("1", FIRST)
    key = flip(here.store)
    before = here.store.objects[key]
    failed = CheckpointFailed(
        node="n1", workload=WORKLOAD, checkpoint_id="1", target=TARGET, reason="UnhealthyAfter", message="", remedy=""
    )
    await here.staging.on_damage(failed)
    assert here.store.objects[key] == before
    gone = failed.model_copy(update={"reason": "DamagedObject", "checkpoint_id": "0"})
    await here.staging.on_damage(gone)


async def test_a_standby_fetches_what_it_lacks_and_needs_the_base_image(node: Callable[..., Node]) -> None:
    here = node()
    first = here.checkpoint("1", FIRST).model_copy(update={"role": "standby", "node": "n2"})
    del here.runtime.images["abc"]
    await here.staging.on_image(first)
    assert here.told.of(StandbyRefused)[0].reason == "NoBaseImage"
    here.runtime.pullable = ("localhost/counter:1",)
    await here.staging.on_image(first)
    assert here.told.of(CheckpointStaged)[0].role == "standby"


class TestHeldBeforeItIsTold:
    """docs/adr/0011: whoever hears of checkpoint.stored may count on its own node holding it."""

    def taken(self, node: Node, name: str, pages: bytes, live_id: str = "u1") -> CheckpointTaken:
        path = node.folder / f"checkpoint-{name}.tar"
        path.write_bytes(build(members() | {"checkpoint/pages-1.img": pages}))
        return CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="interval", archive_path=str(path), keep=3,
            kubelet_started_at=now(), kubelet_s=0.2, due_to_kubelet_s=0.0, live_id=live_id,
        )  # fmt: skip

    def handlers(self, node: Node) -> Handlers:
        return Handlers(node.told, node.repository, node.told, node.staging, node.folder, lambda: True)  # type: ignore[arg-type]

    async def test_when_it_is_told_as_stored_a_crash_would_bring_it_back(self, node: Callable[..., Node]) -> None:
        here, seen = node(), []
        publish = here.told.publish

        async def look(event: Event, **_: object) -> None:
            seen.append((event.TYPE, here.restored_pages() == FIRST))
            await publish(event)

        here.told.publish = look  # type: ignore[method-assign,assignment]
        await self.handlers(here).on_taken(self.taken(here, "1", FIRST))
        assert seen == [("checkpoint.stored", True), ("checkpoint.staged", True)]
        assert here.told.of(CheckpointStored)[0].live_id == "u1"
        assert here.told.of(CheckpointStaged)[0].role == "own"

    async def test_nats_may_be_away_meanwhile_and_then_it_is_told_again(self, node: Callable[..., Node]) -> None:
        here, publish = node(), Told.publish

        async def away(*_: object, **__: object) -> None:
            raise TimeoutError

        here.told.publish = away  # type: ignore[method-assign]
        taken = self.taken(here, "1", FIRST)
        with pytest.raises(TimeoutError):
            await self.handlers(here).on_taken(taken)
        assert here.restored_pages() == FIRST
        here.told.publish = publish.__get__(here.told)  # type: ignore[method-assign]
        await self.handlers(here).on_taken(taken)
        assert here.told.of(CheckpointStored)[0].live_id == "u1"

    async def test_where_the_runtime_refuses_it_is_stored_all_the_same_and_says_that_it_is_not_held(
        self, node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = node()

        async def refuse(*_: object) -> str:
            raise CriError("no", subject=REFERENCE)

        async def at_once(_seconds: float) -> None: ...

        monkeypatch.setattr(here.runtime, "pull_image", refuse)
        monkeypatch.setattr("reprise.transfer.staging.asyncio.sleep", at_once)
        await self.handlers(here).on_taken(self.taken(here, "1", FIRST))
        assert here.told.of(CheckpointStored)[0].live_id == ""
        assert here.told.of(CheckpointStaged) == []

    async def test_an_older_checkpointer_does_not_tell_the_name_so_it_is_left_to_the_restorer(
        self, node: Callable[..., Node]
    ) -> None:
        here = node()
        await self.handlers(here).on_taken(self.taken(here, "1", FIRST, live_id=""))
        assert here.told.of(CheckpointStored)[0].live_id == ""
        assert here.runtime.images == {"abc": "abc"}

    async def test_what_was_given_up_is_not_held(self, node: Callable[..., Node]) -> None:
        here, bus = node(), MemoryBus(MemoryServer())
        here.staging._noted = Bucket(bus, "recoveries", Noted)
        await here.staging._noted.put("u1.counter", Noted(void=("1",)))
        await self.handlers(here).on_taken(self.taken(here, "1", FIRST))
        await self.handlers(here).on_taken(self.taken(here, "2", SECOND))
        assert [event.live_id for event in here.told.of(CheckpointStored)] == ["", "u1"]
        assert gives_up(Noted(dead=("c1",)), self.taken(here, "3", THIRD)), "of an instance that ended soon"


def test_a_node_says_why_it_cannot_hold_a_checkpoint_ready() -> None:
    def limit(runtime: str = "cri-o", base: bool = True, free: int = 100) -> str:
        found = staging_limitation(
            "cri-o", runtime, "counter:1", base_present=base, missing_bytes=50, free_bytes=free, spare_bytes=40
        )
        assert found is None or found.remedy
        return found.reason if found else ""

    assert limit() == ""
    assert limit(runtime="containerd") == "OtherRuntime"
    assert limit(base=False) == "NoBaseImage"
    assert limit(free=80) == "DiskPressure"


async def test_under_disk_pressure_a_standby_refuses_and_nothing_is_written(node: Callable[..., Node]) -> None:
    here = node(spare_bytes=1 << 60)
    await here.staging.on_image(here.checkpoint("1", FIRST).model_copy(update={"role": "standby", "node": "n2"}))
    assert here.told.of(StandbyRefused)[0].reason == "DiskPressure"
    assert not (here.folder / "slots").exists()
