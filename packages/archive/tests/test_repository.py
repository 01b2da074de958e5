"""The one writer and reader of archives: nothing is a checkpoint before its manifest, and the last good one stays."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.facts import BadArchive
from reprise.archive.manifest import Manifest
from reprise.archive.oci import build_image, digest
from reprise.archive.repository import Repository, prune_plan
from reprise.contracts.errors import DamagedObject, StoreUnavailable
from reprise.contracts.model import Target, Workload

Build = Callable[..., bytes]
WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
FOLDER = "archives/default/deployment.counter/counter/"


@pytest.fixture
def repository(store: Any) -> Repository:
    return Repository(store)


@pytest.fixture
def write(repository: Repository, archive: Build, tmp_path: Path) -> Callable[..., Manifest]:
    def write(checkpoint_id: str = "ck1", data: bytes | None = None, target: Target = TARGET) -> Manifest:
        path = tmp_path / f"checkpoint-{checkpoint_id}.tar"
        path.write_bytes(archive() if data is None else data)
        return repository.write_archive(path, checkpoint_id=checkpoint_id, workload=WORKLOAD, target=target, trigger="interval")

    return write


def test_what_was_written_is_read_back_bit_for_bit(
    repository: Repository, write: Callable[..., Manifest], archive: Build
) -> None:
    manifest = write()
    assert b"".join(repository.read_archive(manifest)) == archive()
    assert (manifest.size, manifest.sha256) == (len(archive()), hashlib.sha256(archive()).hexdigest())
    assert repository.find(WORKLOAD, "counter", "ck1") == manifest


def test_the_manifest_is_readable_alone(write: Callable[..., Manifest], store: Any) -> None:
    manifest = write()
    told = json.loads(store.objects[f"{FOLDER}ck1/manifest.json"])
    assert (told["version"], told["sha256"], told["facts"]["runtime"]) == (1, manifest.sha256, "cri-o")
    assert told["target"]["pod_uid"] == "u1"
    assert told["kernel"]


def test_an_archive_of_another_container_is_refused_and_not_committed(
    repository: Repository, write: Callable[..., Manifest]
) -> None:
    with pytest.raises(BadArchive) as refused:
        write(target=TARGET.model_copy(update={"container_id": "c2"}))
    assert refused.value.reason == "OtherContainer"
    assert repository.list_manifests(WORKLOAD, "counter") == []


def test_a_refused_container_leaves_nothing_in_the_store(write: Callable[..., Manifest], store: Any) -> None:
    with pytest.raises(BadArchive):
        write(target=TARGET.model_copy(update={"container_id": "c2"}))
    assert store.objects == {}


@pytest.mark.parametrize("keep", [0, 700, 5000])
def test_a_truncated_archive_leaves_nothing_in_the_store(
    write: Callable[..., Manifest], store: Any, archive: Build, keep: int
) -> None:
    with pytest.raises(BadArchive):
        write(data=archive()[:keep])
    assert store.objects == {}


def test_one_cut_off_between_two_members_is_refused(write: Callable[..., Manifest], archive: Build) -> None:
    with pytest.raises(BadArchive, match="cut off"):
        write(data=archive().rstrip(b"\0")[:-512] + b"x" * 512)


def test_a_store_that_is_away_is_said_to_be_away_and_nothing_counts(
    repository: Repository, write: Callable[..., Manifest], store: Any
) -> None:
    store.away = True
    with pytest.raises(StoreUnavailable):
        write()
    store.away = False
    assert repository.list_manifests(WORKLOAD, "counter") == []


@given(flip=st.integers(0, 10_000), longer=st.booleans())
def test_damage_in_the_store_is_found_at_the_latest_at_the_end(flip: int, longer: bool) -> None:
    sha256 = hashlib.sha256(b"a" * 10_001).hexdigest()
    body = bytearray(b"a" * 10_001)
    body[flip] ^= 1

    class Damaged:
        def stream(self, key: str, offset: int = 0, length: int = 0) -> Any:
            yield bytes(body) + (b"x" if longer else b"")

    manifest = Manifest.model_construct(checkpoint_id="ck1", size=10_001, sha256=sha256, object_key="k")
    with pytest.raises(DamagedObject):
        list(Repository(Damaged()).read_archive(manifest))  # type: ignore[arg-type]


def test_manifests_come_newest_first_and_a_damaged_one_is_left_out(
    repository: Repository, write: Callable[..., Manifest], store: Any
) -> None:
    for name in ("ck1", "ck3", "ck2"):
        write(name)
    store.objects[f"{FOLDER}ck2/manifest.json"] = b'{"version": 1}'
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["ck3", "ck1"]


def test_another_workload_whose_name_begins_the_same_is_not_listed_or_pruned(
    repository: Repository, write: Callable[..., Manifest], store: Any
) -> None:
    write()
    store.objects["archives/default/deployment.counter-2/counter/ck0/manifest.json"] = b"{}"
    assert len(repository.list_manifests(WORKLOAD, "counter")) == 1
    repository.prune(WORKLOAD, "counter", 1)
    assert "archives/default/deployment.counter-2/counter/ck0/manifest.json" in store.objects


@given(ids=st.lists(st.text("0123456789", min_size=1, max_size=4)), keep=st.integers(-2, 6))
def test_the_plan_keeps_the_newest_and_never_removes_the_last(ids: list[str], keep: int) -> None:
    doomed = prune_plan(ids, keep)
    kept = sorted(set(ids) - set(doomed))
    assert len(kept) == min(max(keep, 1), len(set(ids)))
    assert not doomed or max(doomed) < min(kept)
    assert doomed == sorted(doomed)


def test_pruning_frees_the_whole_folder_and_leaves_the_kept_ones_readable(
    repository: Repository, write: Callable[..., Manifest], store: Any
) -> None:
    for name in ("ck1", "ck2", "ck3"):
        repository.publish_image(write(name), "u1")
    assert repository.prune(WORKLOAD, "counter", 2) == ["ck1"]
    assert not [key for key in store.objects if key.startswith(f"{FOLDER}ck1/")]
    for manifest in repository.list_manifests(WORKLOAD, "counter"):
        assert len(b"".join(repository.read_archive(manifest))) == manifest.size


def test_a_damaged_newest_manifest_does_not_cost_the_last_good_checkpoint(
    repository: Repository, write: Callable[..., Manifest], store: Any
) -> None:
    write("ck1")
    write("ck2")
    store.objects[f"{FOLDER}ck2/manifest.json"] = b"torn"
    repository.prune(WORKLOAD, "counter", 1)
    assert [m.checkpoint_id for m in repository.list_manifests(WORKLOAD, "counter")] == ["ck1"]


def test_what_a_live_reference_shows_is_not_pruned(repository: Repository, write: Callable[..., Manifest], store: Any) -> None:
    repository.publish_image(write("ck1"), "u1")
    write("ck2")
    repository.prune(WORKLOAD, "counter", 1)
    pointer = repository.live("default", "u1", "counter")
    assert pointer
    assert pointer.image_key in store.objects


def test_a_live_reference_moves_forward_and_never_back(repository: Repository, write: Callable[..., Manifest]) -> None:
    old, new = write("ck1"), write("ck2")
    first = repository.publish_image(new, "u1")
    again = repository.publish_image(old, "u1")
    pointer = repository.live("default", "u1", "counter")
    assert pointer
    assert (pointer.checkpoint_id, again.digest) == ("ck2", first.digest)
    assert first.reference == "localhost:5797/default/u1/counter:live"
    assert repository.live("default", "u2", "counter") is None


def test_the_image_is_the_archive_as_its_only_layer(write: Callable[..., Manifest]) -> None:
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
