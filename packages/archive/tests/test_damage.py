"""Every kind of damage is found, told with the checkpoints that it touches, and healed from a node's own copies."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprise.archive.cache import PackCache
from reprise.archive.crypto import KeyUnavailable
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.testing import FixedKeys, MemoryStore, build, members
from reprise.contracts.errors import DamagedObject, StoreUnavailable
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
Write = Callable[..., Manifest]
Two = tuple[Manifest, Manifest]
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def pages(seed: bytes, count: int) -> bytes:
    return hashlib.shake_128(seed).digest(count * 4096)


def memory(seed: int) -> bytes:
    return build(members(pages=pages(bytes([seed]), 64)))


@pytest.fixture
def two(write: Write) -> tuple[Manifest, Manifest]:
    """ck2 uses ck1's pack, and has one of its own."""
    changed = pages(b"\1", 64)[: 60 * 4096] + pages(b"new", 4)
    return write("ck1", memory(1)), write("ck2", build(members(pages=changed)))


def pack_keys(store: MemoryStore) -> list[str]:
    return sorted(key for key in store.objects if key.startswith("packs/"))


def flip(store: MemoryStore, key: str, at: int) -> None:
    body = bytearray(store.objects[key])
    body[at] ^= 1
    store.objects[key] = bytes(body)


def test_an_undamaged_store_has_no_findings(repository: Repository, two: object) -> None:
    assert list(repository.check()) == []
    assert list(repository.check(read_data=True)) == []


def test_a_lost_pack_is_found_with_all_that_it_touches(repository: Repository, two: Two, store: MemoryStore) -> None:
    shared = next(ref.id for ref in two[0].packs)
    assert shared in {ref.id for ref in two[1].packs}
    del store.objects[two[0].lineage.pack(shared)]
    (finding,) = repository.check()
    assert (finding.kind, finding.checkpoints) == ("lost-pack", ("ck1", "ck2"))
    assert list(repository.check(namespace=two[0].lineage.namespace)) == [finding]
    assert list(repository.check(namespace=two[0].lineage.namespace[:-1])) == [], "of another namespace"
    with pytest.raises(DamagedObject, match=f"ck1.*{shared}.*not in the store"):
        list(repository.read_archive(two[0]))


@quick
@given(st.data())
def test_any_flipped_bit_of_a_pack_is_found(
    repository: Repository, write: Write, store: MemoryStore, data: st.DataObject
) -> None:
    store.objects.clear()
    repository._keyring._known.clear()  # type: ignore[union-attr]
    manifest = write(f"ck{data.draw(st.integers(1, 10**9))}", memory(3))
    (key,) = pack_keys(store)
    at = data.draw(st.integers(0, len(store.objects[key]) - 1))
    flip(store, key, at)
    if not 8 <= at < 16:  # eight bytes of the head are not used
        findings = list(repository.check(read_data=True))
        assert findings
        assert {finding.kind for finding in findings} <= {"damaged-chunk", "damaged-pack"}
        assert all(finding.key == key for finding in findings)
    try:
        assert b"".join(repository.read_archive(manifest)) == memory(3)
    except DamagedObject as error:
        assert manifest.checkpoint_id in str(error)
        assert manifest.packs[0].id in str(error)
        assert "chunk" in str(error)


def test_a_flipped_bit_names_chunk_and_checkpoints(repository: Repository, two: Two, store: MemoryStore) -> None:
    key = two[1].lineage.pack(two[1].packs[-1].id)
    flip(store, key, 16)
    (finding,) = repository.check(read_data=True)
    assert (finding.kind, finding.key, finding.chunk, finding.checkpoints) == ("damaged-chunk", key, 0, ("ck2",))


@pytest.mark.parametrize("keep", [0, 3, 16, 40, -1, -20])
def test_a_truncated_pack_is_found(repository: Repository, two: Two, store: MemoryStore, keep: int) -> None:
    key = two[0].lineage.pack(two[0].packs[0].id)
    store.objects[key] = store.objects[key][:keep]
    assert [finding.kind for finding in repository.check()] == ["truncated-pack"]
    if keep < 0:  # its chunks are all there
        assert b"".join(repository.read_archive(two[0])) == memory(1)
    else:
        with pytest.raises(DamagedObject):
            list(repository.read_archive(two[0]))


def test_a_recipe_that_is_lost_or_damaged_is_found(repository: Repository, two: Two, store: MemoryStore) -> None:
    flip(store, two[0].recipe_key, 30)
    del store.objects[two[1].recipe_key]
    assert [(f.kind, f.checkpoints) for f in repository.check()] == [("damaged-recipe", ("ck1",)), ("damaged-recipe", ("ck2",))]
    for manifest in two:
        with pytest.raises(DamagedObject, match=manifest.checkpoint_id):
            list(repository.read_archive(manifest))


def test_a_recipe_of_another_checkpoint_does_not_pass(repository: Repository, two: Two, store: MemoryStore) -> None:
    store.objects[two[0].recipe_key] = store.objects[two[1].recipe_key]
    with pytest.raises(DamagedObject, match="does not decrypt"):
        list(repository.read_archive(two[0]))


def test_packs_swapped_between_two_of_a_workload_do_not_pass(repository: Repository, two: Two, store: MemoryStore) -> None:
    first, second = pack_keys(store)
    store.objects[first], store.objects[second] = store.objects[second], store.objects[first]
    assert len([f for f in repository.check() if f.kind in ("truncated-pack", "damaged-pack")]) == 2
    with pytest.raises(DamagedObject):
        list(repository.read_archive(two[1]))


def test_a_pack_of_another_workload_does_not_pass(
    repository: Repository, write: Write, store: MemoryStore, tmp_path: Path
) -> None:
    manifest = write("ck1", memory(1))
    other = Workload(namespace="default", name="other")
    path = tmp_path / "other.tar"
    path.write_bytes(memory(1))
    stranger = repository.write_archive(path, checkpoint_id="ck1", workload=other, target=TARGET, trigger="demand")
    mine, theirs = manifest.lineage.pack(manifest.packs[0].id), stranger.lineage.pack(stranger.packs[0].id)
    store.objects[mine] = store.objects[theirs]
    assert {finding.kind for finding in repository.check(read_data=True)} == {"damaged-pack"}
    with pytest.raises(DamagedObject, match="from elsewhere"):
        list(repository.read_archive(manifest))


def test_a_manifest_with_wrong_lengths_is_found(repository: Repository, write: Write, store: MemoryStore) -> None:
    manifest = write("ck1", memory(1))
    for change in ({"size": 5}, {"sha256": "0" * 64}, {"packs": ()}):
        lie = manifest.model_copy(update=change)
        store.put(manifest.key, lie.model_dump_json().encode())
        with pytest.raises(DamagedObject):
            list(repository.read_archive(lie))
        assert list(repository.check())


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"null", b"[" * 10_000, b'{"version": 2, "given_up": true, "x": 1}'])
def test_a_damaged_manifest_is_found(repository: Repository, write: Write, store: MemoryStore, body: bytes) -> None:
    store.put(write("ck1").key, body)
    assert [(f.kind, f.checkpoints) for f in repository.check()] == [("damaged-manifest", ("ck1",))]


def test_a_wrong_key_is_told_as_one(two: Two, store: MemoryStore) -> None:
    stranger = Repository(store, FixedKeys("another"))
    assert {finding.kind for finding in stranger.check()} == {"wrong-key"}
    with pytest.raises(KeyUnavailable):
        list(stranger.read_archive(two[0]))


def test_a_key_of_another_tenant_opens_nothing(
    two: Two, store: MemoryStore, write: Write, repository: Repository, tmp_path: Path
) -> None:
    other = Workload(namespace="other", name="counter")
    path = tmp_path / "other.tar"
    path.write_bytes(memory(1))
    repository.write_archive(path, checkpoint_id="ck1", workload=other, target=TARGET, trigger="demand")
    name = "keys/default/deployment.counter.json"
    store.objects[name] = store.objects["keys/other/deployment.counter.json"]
    with pytest.raises(KeyUnavailable):
        list(Repository(store, FixedKeys()).read_archive(two[0]))


def test_what_a_node_still_has_is_healed(write: Write, store: MemoryStore, tmp_path: Path) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    manifest = write("ck1", memory(1), into=own)
    lost = write("ck2", memory(2), into=own)
    del store.objects[lost.lineage.pack(lost.packs[0].id)]
    flip(store, manifest.lineage.pack(manifest.packs[0].id), 40)
    findings = list(own.check(read_data=True))
    assert len(findings) == 2
    assert len(own.repair(findings)) == 2
    assert list(own.check(read_data=True)) == []


def test_a_damaged_copy_heals_nothing_and_is_not_read(write: Write, store: MemoryStore, tmp_path: Path) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    manifest = write("ck1", memory(1), into=own)
    key = manifest.lineage.pack(manifest.packs[0].id)
    copy = tmp_path / "cache" / key
    copy.write_bytes(copy.read_bytes()[:40] + b"x" + copy.read_bytes()[41:])
    assert b"".join(own.read_archive(manifest)) == memory(1)
    assert not copy.exists()
    own.prefetch(manifest)
    copy.write_bytes(b"x" * 100)
    del store.objects[key]
    assert own.repair(list(own.check())) == []


def test_what_is_damaged_is_not_used_again(repository: Repository, write: Write, store: MemoryStore) -> None:
    first = write("ck1", memory(1))
    key = first.lineage.pack(first.packs[0].id)
    store.objects[key] = store.objects[key][:-1]
    second = write("ck2", memory(1))
    assert second.cost.reused == 0
    assert b"".join(repository.read_archive(second)) == memory(1)


def broken(store: MemoryStore, manifest: Manifest) -> str:
    """A bit of the first chunk flips in the pack that holds most of it. Its id."""
    ref = max(manifest.packs, key=lambda ref: ref.size)
    flip(store, manifest.lineage.pack(ref.id), 40)
    return ref.id


def test_what_a_restore_found_damaged_is_stored_anew_by_the_next_checkpoint(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    first = write("ck1", memory(1))
    pack_id = broken(store, first)
    assert pack_id in {ref.id for ref in write("ck2", memory(1)).packs}, "nobody has read it: nobody knows"
    with pytest.raises(DamagedObject):
        list(repository.read_archive(first))
    third = write("ck3", memory(1))
    assert pack_id not in {ref.id for ref in third.packs}
    assert b"".join(repository.read_archive(third)) == memory(1)


def test_what_repair_cannot_heal_is_stored_anew_by_the_next_checkpoint(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    pack_id = broken(store, write("ck1", memory(1)))
    findings = list(repository.check(read_data=True))
    assert pack_id in {ref.id for ref in write("ck2", memory(1)).packs}, "check alone changes nothing"
    assert repository.repair(findings) == []
    third = write("ck3", memory(1))
    assert pack_id not in {ref.id for ref in third.packs}
    assert b"".join(repository.read_archive(third)) == memory(1)


def test_a_damaged_pack_stays_for_those_who_need_its_good_chunks(
    repository: Repository, write: Write, store: MemoryStore
) -> None:
    first = write("ck1", memory(1))
    pack_id = broken(store, first)
    with pytest.raises(DamagedObject):
        list(repository.read_archive(first))
    assert repository.gc().packs == []
    assert repository.gc().packs == []
    write("ck2", memory(2))
    assert repository.prune(WORKLOAD, "counter", 1) == ["ck1"]
    assert repository.gc().packs == [pack_id]
    assert [key for key in store.objects if key.startswith("doomed/")] == []


def test_a_damaged_copy_in_a_cache_condemns_nothing(write: Write, store: MemoryStore, tmp_path: Path) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    manifest = write("ck1", memory(1), into=own)
    copy = tmp_path / "cache" / manifest.lineage.pack(manifest.packs[0].id)
    copy.write_bytes(copy.read_bytes()[:40] + b"xxxx" + copy.read_bytes()[44:])
    assert b"".join(own.read_archive(manifest)) == memory(1)
    assert write("ck2", memory(1), into=own).packs == manifest.packs


def test_a_store_that_goes_away_leaves_the_damage_told(repository: Repository, write: Write, store: MemoryStore) -> None:
    manifest = write("ck1", memory(1))
    broken(store, manifest)

    def away(verb: str, _: str) -> None:
        if verb == "put":
            raise StoreUnavailable("it does not answer")

    store.step = away
    with pytest.raises(DamagedObject, match="ck1"):
        list(repository.read_archive(manifest))


def test_a_node_heals_a_checkpoint_that_another_found_damaged(write: Write, store: MemoryStore, tmp_path: Path) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    manifest = write("ck1", memory(1), into=own)
    assert own.heal(manifest) == [], "nothing is damaged"
    pack_id = broken(store, manifest)
    there = Repository(store, FixedKeys())
    with pytest.raises(DamagedObject):
        list(there.read_archive(manifest))
    assert there.heal(manifest) == [], "it has no copy"
    assert own.heal(manifest) == [manifest.lineage.pack(pack_id)]
    assert b"".join(there.read_archive(manifest)) == memory(1)


def test_what_was_pruned_is_not_put_back(repository: Repository, write: Write, store: MemoryStore, tmp_path: Path) -> None:
    own = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    manifest = write("ck1", memory(1), into=own)
    write("ck2", memory(2))
    repository.prune(WORKLOAD, "counter", 1)
    repository.gc()
    assert own.heal(manifest) == []


def test_a_pack_that_is_lost_is_told_as_damage_when_a_standby_fetches_it(
    write: Write, store: MemoryStore, tmp_path: Path
) -> None:
    manifest = write("ck1", memory(1))
    standby = Repository(store, FixedKeys(), PackCache(tmp_path / "cache", 100 << 20, 0))
    key = manifest.lineage.pack(manifest.packs[0].id)
    store.objects[key] = store.objects[key][:-1]
    with pytest.raises(DamagedObject, match=r"ck1.*bytes of"):
        standby.prefetch(manifest)
    del store.objects[key]
    with pytest.raises(DamagedObject, match=r"ck1.*not in the store"):
        standby.prefetch(manifest)
