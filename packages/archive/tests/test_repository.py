"""The one writer and reader of archives: nothing is a checkpoint before its manifest, and the last good one stays."""

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprise.archive.cache import PackCache
from reprise.archive.crypto import KeyUnavailable
from reprise.archive.facts import BadArchive
from reprise.archive.images import lineage_of
from reprise.archive.manifest import Manifest
from reprise.archive.oci import build_image, digest
from reprise.archive.repository import Repository
from reprise.archive.retention import newest_of_each_pod
from reprise.archive.testing import FixedKeys, MemoryStore, build, members, pagemap
from reprise.contracts.errors import CheckpointError, NotStored, StoreUnavailable
from reprise.contracts.model import Target, Workload
from reprise.runtime.telemetry import span
from reprise.runtime.testing import recorded_spans

Write = Callable[..., Manifest]
WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
FOLDER = "archives/default/deployment.counter/counter/"
PAGE = 4096


def pages(*labels: int) -> bytes:
    """0 is a page of zeros; any other a page of random bytes of its own."""
    return b"".join(hashlib.shake_128(bytes([n % 256, n // 256])).digest(PAGE) if n else bytes(PAGE) for n in labels)


def read(repository: Repository, manifest: Manifest, *window: int) -> bytes:
    return b"".join(repository.read_archive(manifest, *window))


def test_what_was_written_is_read_back_bit_for_bit(repository: Repository, write: Write) -> None:
    manifest = write()
    assert read(repository, manifest) == build()
    assert (manifest.size, manifest.sha256) == (len(build()), hashlib.sha256(build()).hexdigest())
    assert repository.find(WORKLOAD, "counter", "ck1") == manifest


def test_a_pack_is_read_in_one_request_in_whatever_order_its_chunks_were_written(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    """Two threads fill a pack; a request for each chunk costs the server more than the bytes."""
    data = build(members(pages=hashlib.shake_128(b"pages").digest(12 << 20)))
    manifest = write("ck1", data)
    requests: list[str] = []
    store.step = lambda verb, key: requests.append(key) if verb == "get" and key.startswith("packs/") else None
    assert b"".join(repository.read_archive(manifest)) == data
    assert len(requests) == len(manifest.packs) == 1


def test_the_manifest_is_readable_alone(write: Write, store: MemoryStore) -> None:
    manifest = write()
    told = json.loads(store.objects[f"{FOLDER}ck1/manifest.json"])
    assert (told["version"], told["sha256"], told["facts"]["runtime"]) == (2, manifest.sha256, "cri-o")
    assert told["target"]["pod_uid"] == "u1"
    assert told["kernel"]
    assert told["packs"]
    assert told["cost"]["new"] > 0


def test_reading_and_publishing_manifests_needs_no_keys(write: Write, store: MemoryStore) -> None:
    manifest = write()
    without = Repository(store)
    assert without.list_manifests(WORKLOAD, "counter") == [manifest]
    assert without.publish(WORKLOAD, "counter", "ck1")[1]
    assert without.prune(WORKLOAD, "counter", 1) == []
    with pytest.raises(KeyUnavailable, match="no keys"):
        without.read_archive(manifest)


def test_no_memory_lies_in_the_store_in_the_clear(write: Write, store: MemoryStore) -> None:
    write(data=build(members(pages=b"PASSWORD" * 512 + pages(1))))
    everything = b"".join(store.objects.values())
    assert b"PASSWORD" not in everything
    assert pages(1)[:64] not in everything


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=60), min_size=1, max_size=4), st.data())
def test_any_sequence_of_memories_is_read_back_whole_and_in_part(
    tmp_path: Path, memories: list[list[int]], data: st.DataObject
) -> None:
    repository = Repository(MemoryStore(), FixedKeys())
    path = tmp_path / "a.tar"
    for number, memory in enumerate(memories):
        path.write_bytes(build(members(pages=pages(*memory))))
        manifest = repository.write_archive(
            path, checkpoint_id=f"{number:03d}", workload=WORKLOAD, target=TARGET, trigger="demand"
        )
        whole = path.read_bytes()
        assert read(repository, manifest) == whole
        offset = data.draw(st.integers(0, len(whole)))
        length = data.draw(st.integers(1, len(whole)))
        assert read(repository, manifest, offset, length) == whole[offset : offset + length]


def test_a_second_checkpoint_costs_what_changed(write: Write) -> None:
    memory = list(range(1, 400))
    write("ck1", build(members(pages=pages(*memory))))
    memory[7], memory[200] = 1000, 1001
    second = write("ck2", build(members(pages=pages(*memory))))
    assert second.cost.new == 2 * PAGE + (second.cost.new % PAGE if second.cost.new % PAGE else 0)
    assert second.cost.uploaded < 4 * PAGE


def test_pages_that_moved_cost_nothing_whatever_was_mapped_before(write: Write) -> None:
    memory = list(range(1, 300))
    write("ck1", build(members(pages=pages(*memory))))
    moved = [*range(500, 520), *memory[100:], *memory[:100]]
    second = write("ck2", build(members(pages=pages(*moved))))
    assert 20 * PAGE <= second.cost.new < 24 * PAGE


def test_zero_pages_cost_nothing(write: Write) -> None:
    manifest = write(data=build(members(pages=bytes(3000 * PAGE))))
    assert manifest.cost.zeros >= 3000 * PAGE
    assert manifest.cost.uploaded < PAGE


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"garbage",
        pagemap([(0, 1 << 30)]),
        pagemap([(0, 1 << 44)]),
        pagemap([(0, 1 << 60)]),
        pagemap([(0, 1)]),
        pagemap([(2**63, 0)] * 50),
        pagemap([(0, 16)], pages_id=9),
    ],
)
def test_a_pagemap_that_lies_does_not_change_what_is_read_back(repository: Repository, write: Write, lie: bytes) -> None:
    data = build(members(pages=pages(*range(1, 17))) | {"checkpoint/pagemap-1.img": lie})
    assert read(repository, write(data=data)) == data


def test_pages_that_end_within_a_page_are_read_back(repository: Repository, write: Write) -> None:
    data = build(members() | {"checkpoint/pages-1.img": pages(1, 2) + b"rest", "rootfs-diff.tar": os.urandom(2 << 20)})
    assert read(repository, write(data=data)) == data


def test_an_archive_of_another_container_is_refused_and_leaves_nothing(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    with pytest.raises(BadArchive) as refused:
        write(target=TARGET.model_copy(update={"container_id": "c2"}))
    assert refused.value.reason == "OtherContainer"
    assert repository.list_manifests(WORKLOAD, "counter") == []
    assert store.objects == {}


@pytest.mark.parametrize("keep", [0, 700, 5000])
def test_a_truncated_archive_leaves_nothing_in_the_store(write: Write, store: MemoryStore, keep: int) -> None:
    with pytest.raises(BadArchive):
        write(data=build()[:keep])
    assert store.objects == {}


def test_an_archive_that_changes_while_it_is_read_is_refused(write: Write, store: MemoryStore, tmp_path: Path) -> None:
    def step(verb: str, key: str) -> None:
        if key.startswith("packs/"):
            with (tmp_path / "checkpoint-ck1.tar").open("r+b") as file:
                file.write(b"x")

    store.step = step
    with pytest.raises(BadArchive, match="changed"):
        write()


def test_a_store_that_is_away_is_said_to_be_away_and_nothing_counts(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    store.away = True
    with pytest.raises(StoreUnavailable):
        write()
    store.away = False
    assert repository.list_manifests(WORKLOAD, "counter") == []


def test_a_store_that_goes_away_in_the_middle_is_an_error_and_the_next_try_goes_on(
    write: Write, store: MemoryStore, repository: Repository
) -> None:
    """Stopped at each call in turn, as by kill -9: what was sent is not sent again, and the rest is."""
    data = build(members(pages=os.urandom(40 << 20)))
    calls, stop_at, sent = 0, 0, list[str]()

    def step(verb: str, key: str) -> None:
        nonlocal calls
        calls += 1
        if verb == "put" and key.startswith("packs/"):
            sent.append(key)
        if calls >= stop_at > 0:
            raise StoreUnavailable("gone", subject=key)

    store.step = step
    stop_at = 12
    with pytest.raises(StoreUnavailable):
        write(data=data)
    there = [key for key in store.objects if key.startswith("packs/")]
    stop_at, sent[:] = 0, []
    manifest = write(data=data)
    assert read(repository, manifest) == data
    assert len(there) + len(sent) <= 4
    assert manifest.cost.reused >= sum(len(store.objects[key]) for key in there) * 0.9
    assert len([key for key in store.objects if key.startswith("intents/")]) == 1  # the dead one's, until it is given up


def test_a_checkpoint_is_committed_once(repository: Repository, write: Write) -> None:
    first = write()
    with pytest.raises(CheckpointError, match="meanwhile"):
        write()
    assert repository.list_manifests(WORKLOAD, "counter") == [first]


def test_manifests_come_newest_first_and_a_damaged_one_is_left_out(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    for name in ("ck1", "ck3", "ck2"):
        write(name)
    store.objects[f"{FOLDER}ck2/manifest.json"] = b'{"version": 1}'
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["ck3", "ck1"]


def test_another_workload_whose_name_begins_the_same_is_not_listed_or_pruned(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    write()
    store.objects["archives/default/deployment.counter-2/counter/ck0/manifest.json"] = b"{}"
    assert len(repository.list_manifests(WORKLOAD, "counter")) == 1
    repository.prune(WORKLOAD, "counter", 1)
    assert "archives/default/deployment.counter-2/counter/ck0/manifest.json" in store.objects


def test_pruning_and_collecting_free_what_only_the_removed_had(repository: Repository, write: Write, store: MemoryStore) -> None:
    for number, name in enumerate(("ck1", "ck2", "ck3")):
        write(name, build(members(pages=pages(*range(number * 50 + 1, number * 50 + 60)))))
    assert repository.prune(WORKLOAD, "counter", 2) == ["ck1"]
    assert not [key for key in store.objects if key.startswith(f"{FOLDER}ck1/")]
    assert repository.prune(WORKLOAD, "counter", 1) == ["ck2"]
    before = repository.stats().stored
    done = repository.gc()
    assert done.packs
    assert repository.stats().stored == before - done.freed
    (left,) = repository.list_manifests(WORKLOAD, "counter")
    assert len(read(repository, left)) == left.size
    assert repository.gc().packs == []


def test_gc_only_tells_when_asked_to(repository: Repository, write: Write, store: MemoryStore) -> None:
    write("ck1", build(members(pages=pages(*range(1, 50)))))
    write("ck2", build(members(pages=pages(*range(100, 150)))))
    repository.prune(WORKLOAD, "counter", 1)
    before = dict(store.objects)
    assert repository.gc(dry_run=True).packs
    assert store.objects == before


def test_a_damaged_newest_manifest_does_not_cost_the_last_good_checkpoint(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    write("ck1")
    write("ck2")
    store.objects[f"{FOLDER}ck2/manifest.json"] = b"torn"
    repository.prune(WORKLOAD, "counter", 1)
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["ck1"]


def test_while_a_manifest_cannot_be_read_nothing_is_collected(repository: Repository, write: Write, store: MemoryStore) -> None:
    write("ck1")
    store.objects[f"{FOLDER}ck1/manifest.json"] = b"torn"
    done = repository.gc()
    assert done.packs == []
    assert "ck1" in next(iter(done.skipped.values()))


def test_each_pods_newest_checkpoint_is_kept_until_the_pod_is_surely_gone(repository: Repository, write: Write) -> None:
    """Two that are checkpointed often must not cost the third its only one."""
    for name, uid in (("ck1", "u1"), ("ck2", "u1"), ("ck3", "u2"), ("ck4", "u3"), ("ck5", "u3")):
        write(name, target=TARGET.model_copy(update={"pod_uid": uid}))
    assert repository.prune(WORKLOAD, "counter", 1) == ["ck1", "ck4"]
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["ck5", "ck3", "ck2"]


def test_a_pod_that_was_not_checkpointed_for_longer_than_any_interval_is_gone() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    taken = {"ck1": ("u1", at - timedelta(days=8)), "ck2": ("u2", at - timedelta(days=6)), "ck3": ("u3", at)}
    assert newest_of_each_pod(taken) == {"ck2", "ck3"}
    assert newest_of_each_pod({}) == set()


def test_a_checkpoints_image_is_named_by_its_id_and_needs_no_record(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    old = write("ck1", build(members(pages=pages(1))))
    write("ck2", build(members(pages=pages(2))))
    before = dict(store.objects)
    reference, told = repository.publish(WORKLOAD, "counter", "ck1")
    assert reference == "localhost:5797/default/deployment-counter/counter:ck1"
    image, config = build_image(old)
    assert told == digest(image)
    lineage = lineage_of("default", "deployment-counter", "counter")
    assert repository.image(lineage, "ck1") == repository.image(lineage, told) == image
    assert repository.blob(lineage, digest(config)) == config
    assert repository.blob(lineage, f"sha256:{old.sha256}") == old
    assert repository.blob(lineage_of("other", "deployment-counter", "counter"), digest(image)) is None
    assert repository.image(lineage, "ck3") is repository.image(lineage, f"sha256:{old.sha256}") is None
    assert repository.blob(lineage, "sha256:../../x") is None
    assert store.objects == before
    repository.prune(WORKLOAD, "counter", 1)
    assert repository.blob(lineage, digest(image)) is None
    with pytest.raises(NotStored):
        repository.publish(WORKLOAD, "counter", "ck1")


def test_what_older_versions_recorded_of_images_is_collected(repository: Repository, write: Write, store: MemoryStore) -> None:
    write()
    records = {"live/default/u1/counter.json", "images/default/00.json", "held/default/a/b/c.u1", "retired/default/a/b/c.1"}
    store.objects |= dict.fromkeys(records, b"{}")
    repository.gc(dry_run=True)
    assert records <= store.objects.keys()
    repository.gc()
    assert not records & store.objects.keys()
    assert repository.list_manifests(WORKLOAD, "counter")


def test_the_node_that_took_it_reads_it_without_the_store(tmp_path: Path, write: Write, store: MemoryStore) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    data = build(members(pages=pages(*range(1, 90))))
    manifest = write(data=data, into=own)
    asked: list[str] = []
    store.step = lambda verb, key: asked.append(key)
    assert read(own, manifest) == data
    assert not [key for key in asked if key.startswith("packs/")]


def test_a_standby_fetches_only_what_it_lacks(tmp_path: Path, write: Write, store: MemoryStore) -> None:
    standby = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    memory = list(range(1, 300))
    first = write("ck1", build(members(pages=pages(*memory))))
    assert standby.prefetch(first) == sum(ref.size for ref in first.packs)
    memory[5] = 999
    second = write("ck2", build(members(pages=pages(*memory))))
    assert 0 < standby.prefetch(second) < 4 * PAGE
    assert standby.prefetch(second) == 0
    assert read(standby, second) == build(members(pages=pages(*memory)))


def test_the_image_is_the_archive_as_its_only_layer(write: Write) -> None:
    manifest = write()
    image_bytes, config_bytes = build_image(manifest)
    image, config = json.loads(image_bytes), json.loads(config_bytes)
    assert image["config"] == {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": digest(config_bytes),
        "size": len(config_bytes),
    }
    assert [layer["digest"] for layer in image["layers"]] == [f"sha256:{manifest.sha256}"]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{manifest.sha256}"]
    assert image["annotations"]["io.kubernetes.cri-o.annotations.checkpoint.name"] == "counter"
    assert image["annotations"]["org.criu.checkpoint.container.name"] == "counter"
    assert build_image(manifest) == (image_bytes, config_bytes)


def test_an_upload_is_traced_by_its_steps_and_its_manifest_leads_back_to_the_trace(write: Write) -> None:
    with recorded_spans() as spans:
        with span("store", root=True):
            manifest = write()
        found = spans.tree()
        store = spans.named("store").context
    assert found == ["store", "store > parse", "store > chunk", "store > upload", "store > commit"]
    assert store
    assert manifest.traceparent.split("-")[1] == f"{store.trace_id:032x}"
