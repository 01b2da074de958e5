"""A slot's folder is stored as the tar that it would make, and comes back byte for byte."""

import contextlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprise.archive.facts import BadArchive
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.source import ArchiveSource, open_source
from reprise.archive.tarindex import index_file
from reprise.archive.testing import FixedKeys, MemoryStore, pagemap, slot_members, write_slot
from reprise.archive.writer import verify_archive
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


def store(repository: Repository, slot: Path) -> Manifest:
    return repository.write_archive(slot, checkpoint_id=slot.name, workload=WORKLOAD, target=TARGET, trigger="interval")


def whole(source: ArchiveSource) -> bytes:
    out = bytearray(source.size)
    source.read_into(memoryview(out), 0)
    source.close()
    return bytes(out)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def members_of(tar: Path) -> list[tuple[str, int, int]]:
    with tar.open("rb") as file:
        return [(member.path, member.offset, member.size) for member in index_file(file, tar.name)]


def test_a_slot_whose_memory_was_cut_off_is_not_whole(tmp_path: Path) -> None:
    slot = write_slot(tmp_path / "ck1")
    (slot / "checkpoint/pagemap-1.img").write_bytes(pagemap([(0x400000, 768)]))
    (slot / "checkpoint/pages-1.img").write_bytes(os.urandom(768 * 4096))
    with contextlib.closing(open_source(slot)) as source:
        assert verify_archive(source, "c1")
    os.truncate(slot / "checkpoint/pages-1.img", 768 * 2048)
    with contextlib.closing(open_source(slot)) as source, pytest.raises(BadArchive, match="cut off"):
        verify_archive(source, "c1")


def test_the_archive_of_a_slot_is_what_tar_makes_of_its_folder(repository: Repository, tmp_path: Path) -> None:
    slot = write_slot(tmp_path / "ck1")
    (slot / "checkpoint/pages-1.img").write_bytes(os.urandom(3 << 20))
    (slot / "checkpoint/pagemap-1.img").write_bytes(pagemap([(0x400000, 768)]))
    (slot / "rootfs-diff.tar").write_bytes(os.urandom(1_500_001))
    read = b"".join(repository.read_archive(store(repository, slot)))
    (tmp_path / "read.tar").write_bytes(read)
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "read.tar", "-C", tmp_path / "unpacked"], check=True)
    assert content(tmp_path / "unpacked") == content(slot)
    listed = subprocess.run(["tar", "-tf", tmp_path / "read.tar"], check=True, capture_output=True, text=True).stdout
    made = tmp_path / "made.tar"
    subprocess.run(["tar", "--sort=name", "-C", slot, "-cf", made, *sorted(os.listdir(slot))], check=True)  # noqa: PTH208
    assert listed == subprocess.run(["tar", "-tf", made], check=True, capture_output=True, text=True).stdout
    assert members_of(tmp_path / "read.tar") == members_of(made)
    with tarfile.open(fileobj=io.BytesIO(read)) as tar:
        assert {(info.uid, info.gid, info.uname, info.mtime, info.mode) for info in tar if info.isreg()} == {(0, 0, "", 0, 0o600)}


sizes = st.one_of(st.integers(0, 3), st.sampled_from([511, 512, 513, 4095, 4096, 10_240]), st.integers(0, 300_000))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    st.dictionaries(st.from_regex(r"checkpoint/[a-z0-9][a-z0-9.-]{0,120}\.img", fullmatch=True), sizes, max_size=8),
    st.data(),
)
def test_any_slot_is_read_back_whole_and_in_part(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, int], data: st.DataObject
) -> None:
    slot, repository = write_slot(tmp_path_factory.mktemp("slots") / "ck1"), Repository(MemoryStore(), FixedKeys())
    for name, size in files.items():
        if name not in slot_members():
            (slot / name).write_bytes(os.urandom(size))
    archive = whole(open_source(slot))
    manifest = store(repository, slot)
    assert b"".join(repository.read_archive(manifest)) == archive
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
    assert found == content(slot)
    offset = data.draw(st.integers(0, len(archive) - 1))
    part = bytearray(data.draw(st.integers(0, len(archive) - offset)))
    source = open_source(slot)
    source.read_into(memoryview(part), offset)
    source.close()
    assert part == archive[offset : offset + len(part)]


def test_the_same_content_is_the_same_archive_whenever_and_in_whatever_order_it_was_written(tmp_path: Path) -> None:
    one, two = write_slot(tmp_path / "a/ck1"), write_slot(tmp_path / "b/ck1", reverse=True)
    os.utime(two / "spec.dump", (1, 1))
    (two / "config.dump").chmod(0o644)
    assert whole(open_source(one)) == whole(open_source(two))


def test_what_is_said_of_a_slot_is_what_is_said_of_an_archive(repository: Repository, tmp_path: Path) -> None:
    for runtime in ("cri-o", "containerd"):
        manifest = store(repository, write_slot(tmp_path / runtime, runtime=runtime))
        assert (manifest.facts.runtime, manifest.facts.container_id) == (runtime, "c1")
        assert manifest.facts.stats.pages_written == 321


def test_a_link_in_a_slot_is_refused(tmp_path: Path) -> None:
    slot = write_slot(tmp_path / "ck1")
    (slot / "checkpoint/core-1.img").symlink_to("/etc/shadow")
    with pytest.raises(BadArchive, match="neither a file nor a folder"):
        open_source(slot)


def test_a_file_that_is_swapped_for_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    slot = write_slot(tmp_path / "ck1")
    source = open_source(slot)
    (slot / "spec.dump").unlink()
    (slot / "spec.dump").symlink_to("/etc/hostname")
    with pytest.raises(BadArchive, match=r"spec\.dump cannot be read"):
        whole(source)


@pytest.mark.parametrize("change", [lambda f: f.write_bytes(b"x"), lambda f: f.unlink(), lambda f: os.utime(f, (1, 1))])
def test_what_changes_while_it_is_stored_is_not_committed(
    store: MemoryStore, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    slot = write_slot(tmp_path / "ck1")
    changed: list[str] = []

    def step(verb: str, key: str) -> None:
        if verb == "put" and key.startswith("packs/") and not changed:
            changed.append(key)
            change(slot / "slot.json")

    store.step = step
    with pytest.raises(BadArchive, match=r"changed|shorter|cannot be read"):
        Repository(store, FixedKeys()).write_archive(slot, checkpoint_id="1", workload=WORKLOAD, target=TARGET, trigger="demand")
    assert changed
    assert not [key for key in store.objects if key.endswith("manifest.json")]
