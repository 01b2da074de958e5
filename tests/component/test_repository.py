"""The repository and transfer's handlers, on a real MinIO and a real NATS."""

import asyncio
import os
import resource
from pathlib import Path
from typing import Any, cast

import pytest
from reprise.archive.cache import PackCache
from reprise.archive.facts import BadArchive
from reprise.archive.repository import Repository
from reprise.archive.s3 import S3Store
from reprise.archive.source import open_source
from reprise.archive.testing import FixedKeys, build, members, slot_members, write_slot
from reprise.contracts.errors import DamagedObject, NotStored, StoreUnavailable
from reprise.contracts.events import CheckpointFailed, CheckpointPruned, CheckpointStored, CheckpointTaken, Event
from reprise.contracts.model import Target, Workload, checkpoint_id, now
from reprise.contracts.records import RollbackRecord
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.handlers import Handlers
from reprise.transfer.keeping import Keeping

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")
HOME = "default/u1/counter"
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


class RecordingBus:
    """Stands behind the bus's publish(): what was told, in order."""

    def __init__(self) -> None:
        self.told: list[Event] = []

    async def publish(self, event: Event, *, dedup_id: str = "") -> None:
        self.told.append(event)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]


class Silent:
    async def record(self, *_: object) -> None:
        """Kubernetes Events are the cluster's to show."""


class Bench:
    """One node's slots, and transfer's handlers over a real store."""

    def __init__(self, store: S3Store, folder: Path) -> None:
        self.folder, self.bus, self.repository = folder, RecordingBus(), Repository(store, FixedKeys())
        self.slots, bus = Slots(folder / "slots"), cast(Any, self.bus)
        keeping = Keeping(bus, self.slots, Bucket(MemoryBus(MemoryServer()), "wanted", RollbackRecord), folder)
        self.handlers = Handlers(bus, self.repository, cast(Any, Silent()), keeping, self.slots, folder)
        self._number = 0

    def taken(self, content: dict[str, bytes] | None = None, keep: int = 3) -> CheckpointTaken:
        self._number += 1
        name = checkpoint_id(f"u{self._number}", "counter", now())
        write_slot(self.slots.path(HOME, name), content)
        path = self.folder / f"checkpoint-counter-1_default-counter-{self._number}.tar"
        path.write_bytes(b"the runtime's stub")
        return CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="interval", archive_path=str(path),
            keep=keep, kubelet_started_at=now(), kubelet_s=0.2, due_to_kubelet_s=0.01, slot=f"{HOME}/{name}", pause_s=0.14,
        )  # fmt: skip

    def archive(self, event: CheckpointTaken) -> bytes:
        """The tar that its slot makes."""
        source = open_source(self.slots.path(HOME, event.checkpoint_id))
        out = bytearray(source.size)
        source.read_into(memoryview(out), 0)
        source.close()
        return bytes(out)


@pytest.fixture
def bench(store: S3Store, tmp_path: Path) -> Bench:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return Bench(store, folder)


GOOD = build(members())


async def test_a_good_slot_is_stored_bit_for_bit_and_live(bench: Bench) -> None:
    event = bench.taken()
    await bench.handlers.on_upload(event)
    stored = bench.bus.of(CheckpointStored)[0]
    manifest = bench.repository.find(WORKLOAD, "counter", event.checkpoint_id)
    assert manifest is not None
    assert b"".join(bench.repository.read_archive(manifest)) == bench.archive(event)
    assert (stored.stats.frozen_time_us, stored.pause_s) == (1500, 0.14)
    assert bench.slots.live(HOME) == event.checkpoint_id
    assert list(bench.folder.glob("*.tar")) == []


LACKING = {name: data for name, data in slot_members().items() if name != "spec.dump"}


@pytest.mark.parametrize("content", [LACKING, slot_members() | {"config.dump": b"{"}, slot_members("other")])
async def test_a_bad_slot_is_told_with_its_reason_and_harms_no_good_one(bench: Bench, content: dict[str, bytes]) -> None:
    good = bench.taken()
    await bench.handlers.on_upload(good)
    await bench.handlers.on_upload(bench.taken(content))
    failed = bench.bus.of(CheckpointFailed)
    assert len(failed) == 1
    assert failed[0].reason in ("BadArchive", "OtherContainer")
    assert failed[0].message
    assert [m.checkpoint_id for m in bench.repository.list_manifests(WORKLOAD, "counter")] == [good.checkpoint_id]
    assert bench.slots.live(HOME) == good.checkpoint_id


async def test_a_redelivered_event_tells_again_and_uploads_nothing(bench: Bench) -> None:
    event = bench.taken()
    await bench.handlers.on_upload(event)
    await bench.handlers.on_upload(event)
    assert len(bench.bus.of(CheckpointStored)) == 2
    assert bench.bus.of(CheckpointFailed) == []


async def test_retention_keeps_n(bench: Bench) -> None:
    events = [bench.taken(keep=2) for _ in range(4)]
    for event in events:
        await bench.handlers.on_upload(event)
    left = [m.checkpoint_id for m in bench.repository.list_manifests(WORKLOAD, "counter")]
    assert left == sorted((e.checkpoint_id for e in events), reverse=True)[:2]
    assert len(bench.bus.of(CheckpointPruned)) == 2


async def test_a_store_that_is_away_is_waited_for_and_the_slot_is_live_meanwhile(bench: Bench, minio_server: Any) -> None:
    event = bench.taken()
    minio_server.stop()
    work = asyncio.create_task(bench.handlers.on_upload(event))
    await asyncio.sleep(3)
    assert not work.done()
    assert bench.slots.live(HOME) == event.checkpoint_id
    minio_server.start()
    await asyncio.wait_for(work, 30)
    assert len(bench.bus.of(CheckpointStored)) == 1


async def test_memory_stays_bounded_for_a_large_slot(bench: Bench) -> None:
    content = slot_members(pages=os.urandom(1 << 20)) | {"checkpoint/pages-1.img": os.urandom(100 << 20) * 4}
    event = bench.taken(content)
    del content
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await bench.handlers.on_upload(event)
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    assert bench.bus.of(CheckpointStored)[0].size > 400 << 20
    assert grown_mib < 200


def test_a_flipped_bit_in_the_store_is_found_on_reading(store: S3Store, tmp_path: Path) -> None:
    repository, path = Repository(store, FixedKeys()), tmp_path / "checkpoint-a.tar"
    path.write_bytes(GOOD)
    manifest = repository.write_archive(path, checkpoint_id="1", workload=WORKLOAD, target=TARGET, trigger="demand")
    key = manifest.lineage.pack(manifest.packs[0].id)
    damaged = bytearray(store.get(key))
    damaged[100] ^= 1
    store.put(key, bytes(damaged))
    with pytest.raises(DamagedObject, match="checkpoint 1"):
        list(repository.read_archive(manifest))


def test_a_damaged_manifest_is_left_out_and_the_one_before_is_used(store: S3Store, tmp_path: Path) -> None:
    repository, path = Repository(store, FixedKeys()), tmp_path / "checkpoint-a.tar"
    path.write_bytes(GOOD)
    for name in ("1", "2"):
        repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="demand")
    store.put("archives/default/deployment.counter/counter/2/manifest.json", b'{"version": 1}')
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["1"]


def test_nothing_is_committed_of_a_refused_archive(store: S3Store, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-a.tar"
    path.write_bytes(build(members("other")))
    with pytest.raises(BadArchive, match="other"):
        Repository(store, FixedKeys()).write_archive(path, checkpoint_id="1", workload=WORKLOAD, target=TARGET, trigger="demand")
    assert [e for e in store.list("archives/") if e.key.endswith("manifest.json")] == []


def test_the_stores_errors_are_told_apart(store: S3Store, minio_server: Any) -> None:
    with pytest.raises(NotStored):
        store.get("nothing")
    minio_server.stop()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        store.get("nothing")


def test_the_store_decides_who_is_first(store: S3Store) -> None:
    assert store.create("k", b"1")
    assert not store.create("k", b"2")
    body, version = store.get_versioned("k")
    assert body == b"1"
    assert store.replace("k", b"3", version)
    assert not store.replace("k", b"4", version)
    assert store.get("k") == b"3"


def test_two_checkpoints_share_what_did_not_change_and_gc_frees_the_rest(store: S3Store, tmp_path: Path) -> None:
    repository, path = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 1 << 30, 0)), tmp_path / "checkpoint-a.tar"
    memory = bytearray(os.urandom(24 << 20))
    manifests = []
    for name in ("1", "2", "3"):
        memory[4096:8192] = os.urandom(4096)
        path.write_bytes(build(members(pages=bytes(memory))))
        manifests.append(repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="demand"))
        assert b"".join(repository.read_archive(manifests[-1])) == path.read_bytes()
    assert all(manifest.cost.uploaded < 64 << 10 for manifest in manifests[1:])
    assert list(repository.check(read_data=True)) == []
    assert repository.prune(WORKLOAD, "counter", 1) == ["1", "2"]
    assert len(repository.gc().packs) == 1  # only the second's own page is used by nobody any more
    assert b"".join(Repository(store, FixedKeys()).read_archive(manifests[-1])) == path.read_bytes()
