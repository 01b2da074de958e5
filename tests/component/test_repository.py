"""The repository and transfer's handlers, on a real MinIO and a real NATS."""

import asyncio
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from reprise.archive.cache import PackCache
from reprise.archive.facts import BadArchive
from reprise.archive.repository import Repository
from reprise.archive.s3 import S3Store
from reprise.archive.testing import FixedKeys, build, members
from reprise.contracts.errors import DamagedObject, NotStored, StoreUnavailable
from reprise.contracts.events import CheckpointFailed, CheckpointPruned, CheckpointStored, CheckpointTaken, Event
from reprise.contracts.model import Target, Workload, checkpoint_id, now
from reprise.transfer.handlers import Handlers

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")
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


class NoRuntime:
    """A node that holds nothing ready."""

    async def hold(self, *_: object) -> None:
        """No container runtime is here."""


class Bench:
    """One node's folder of archives, and transfer's handlers over a real store."""

    def __init__(self, store: S3Store, folder: Path) -> None:
        self.folder, self.bus, self.repository = folder, RecordingBus(), Repository(store, FixedKeys())
        self.handlers = Handlers(self.bus, self.repository, Silent(), NoRuntime(), folder, lambda: True)  # type: ignore[arg-type]
        self._number = 0

    def taken(self, data: bytes, keep: int = 3) -> CheckpointTaken:
        self._number += 1
        path = self.folder / f"checkpoint-counter-1_default-counter-{self._number}.tar"
        path.write_bytes(data)
        return CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=checkpoint_id(f"u{self._number}", "counter", now()), target=TARGET,
            trigger="interval", archive_path=str(path), keep=keep, kubelet_started_at=now(), kubelet_s=0.2, due_to_kubelet_s=0.01,
        )  # fmt: skip


@pytest.fixture
def bench(store: S3Store, tmp_path: Path) -> Bench:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return Bench(store, folder)


GOOD = build(members())


async def test_a_good_archive_is_stored_bit_for_bit_and_its_local_tar_is_freed(bench: Bench) -> None:
    event = bench.taken(GOOD)
    await bench.handlers.on_taken(event)
    stored = bench.bus.of(CheckpointStored)[0]
    manifest = bench.repository.find(WORKLOAD, "counter", event.checkpoint_id)
    assert manifest is not None
    assert b"".join(bench.repository.read_archive(manifest)) == GOOD
    assert stored.stats.frozen_time_us == 1500
    assert list(bench.folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"no tar", GOOD[: len(GOOD) // 2], GOOD[:-1024].rstrip(b"\0"), build(members("other"))])
async def test_a_bad_archive_is_told_with_its_reason_and_harms_no_good_one(bench: Bench, data: bytes) -> None:
    good = bench.taken(GOOD)
    await bench.handlers.on_taken(good)
    await bench.handlers.on_taken(bench.taken(data))
    failed = bench.bus.of(CheckpointFailed)
    assert len(failed) == 1
    assert failed[0].reason in ("BadArchive", "OtherContainer")
    assert failed[0].message
    assert [m.checkpoint_id for m in bench.repository.list_manifests(WORKLOAD, "counter")] == [good.checkpoint_id]
    assert list(bench.folder.iterdir()) == []


async def test_an_event_cannot_make_it_read_or_remove_another_file(bench: Bench, tmp_path: Path) -> None:
    victim = tmp_path / "checkpoint-victim.tar"
    victim.write_bytes(GOOD)
    event = bench.taken(GOOD)
    for path in (str(victim), f"{bench.folder}/../checkpoint-victim.tar", "/etc/passwd"):
        await bench.handlers.on_taken(event.model_copy(update={"archive_path": path}))
    assert {f.reason for f in bench.bus.of(CheckpointFailed)} == {"ForeignPath"}
    assert victim.exists()


async def test_a_redelivered_event_tells_again_and_uploads_nothing(bench: Bench) -> None:
    event = bench.taken(GOOD)
    await bench.handlers.on_taken(event)
    await bench.handlers.on_taken(event)
    assert len(bench.bus.of(CheckpointStored)) == 2
    assert bench.bus.of(CheckpointFailed) == []


async def test_an_archive_that_vanished_is_told(bench: Bench) -> None:
    event = bench.taken(GOOD)
    Path(event.archive_path).unlink()
    await bench.handlers.on_taken(event)
    assert bench.bus.of(CheckpointFailed)[0].reason == "ArchiveGone"


async def test_retention_keeps_n(bench: Bench) -> None:
    events = [bench.taken(GOOD, keep=2) for _ in range(4)]
    for event in events:
        await bench.handlers.on_taken(event)
    left = [m.checkpoint_id for m in bench.repository.list_manifests(WORKLOAD, "counter")]
    assert left == sorted((e.checkpoint_id for e in events), reverse=True)[:2]
    assert len(bench.bus.of(CheckpointPruned)) == 2


async def test_a_store_that_is_away_is_waited_for_with_the_archive_kept(bench: Bench, minio_server: Any) -> None:
    event = bench.taken(GOOD)
    minio_server.stop()
    work = asyncio.create_task(bench.handlers.on_taken(event))
    await asyncio.sleep(3)
    assert not work.done()
    assert Path(event.archive_path).exists()
    minio_server.start()
    await asyncio.wait_for(work, 30)
    assert len(bench.bus.of(CheckpointStored)) == 1


async def test_memory_stays_bounded_for_a_large_archive(bench: Bench) -> None:
    content = members(pages=os.urandom(1 << 20)) | {"checkpoint/pages-1.img": os.urandom(100 << 20) * 4}
    event = bench.taken(build(content))
    del content
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await bench.handlers.on_taken(event)
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


def test_a_live_reference_never_moves_back(store: S3Store, tmp_path: Path) -> None:
    repository, path = Repository(store, FixedKeys()), tmp_path / "checkpoint-a.tar"
    path.write_bytes(GOOD)
    old, new = (
        repository.write_archive(path, checkpoint_id=name, workload=WORKLOAD, target=TARGET, trigger="demand")
        for name in ("1", "2")
    )
    repository.publish_image(new, "u1")
    repository.publish_image(old, "u1")
    live = repository.live("default", "u1", "counter")
    assert live is not None
    assert live.checkpoint_id == "2"


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
