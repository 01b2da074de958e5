"""Reading archives: what a good one says, and that no bad one is believed or does harm."""

import importlib.util
import io
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.facts import BadArchive, parse_stats, read_facts
from reprise.archive.repository import prune_plan

spec = importlib.util.spec_from_file_location("archives", Path(__file__).with_name("archives.py"))
assert spec and spec.loader
archives = importlib.util.module_from_spec(spec)
sys.modules["archives"] = archives
spec.loader.exec_module(archives)


def read(data: bytes) -> object:
    return read_facts(io.BytesIO(data), "test.tar")


def test_a_good_archive_tells_whose_it_is() -> None:
    facts = read_facts(io.BytesIO(archives.build(archives.members())), "test.tar")
    assert (facts.runtime, facts.container_id, facts.base_image) == ("cri-o", "c1", "localhost/counter:1")
    assert facts.stats.frozen_time_us == 1500
    assert facts.stats.pages_written == 321


@pytest.mark.parametrize("lost", ["config.dump", "spec.dump", "stats-dump", "checkpoint/inventory.img"])
def test_an_archive_that_lacks_a_part_is_refused_by_name(lost: str) -> None:
    content = archives.members()
    del content[lost]
    with pytest.raises(BadArchive, match=lost):
        read(archives.build(content))


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "checkpoint/../../outside"])
def test_a_member_that_points_outside_is_refused(name: str) -> None:
    with pytest.raises(BadArchive, match="outside"):
        read(archives.build({name: b"x"} | archives.members()))


def test_a_config_that_is_a_link_is_refused() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("config.dump")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        tar.addfile(link)
    with pytest.raises(BadArchive):
        read(buffer.getvalue())


def test_a_config_of_unbounded_size_is_not_read() -> None:
    with pytest.raises(BadArchive, match="at most"):
        read(archives.build(archives.members() | {"config.dump": b" " * (5 << 20)}))


def test_two_configs_are_refused() -> None:
    data = archives.build(archives.members())
    again = archives.build({"config.dump": b"{}"})
    with pytest.raises(BadArchive, match="two members"):
        read(
            data[:-10240] + again
            if data.endswith(b"\0" * 10240)
            else data.rstrip(b"\0") + b"\0" * (-len(data.rstrip(b"\0")) % 512) + again
        )


@given(st.binary(max_size=4096))
def test_what_is_no_tar_is_an_error_that_names_the_archive(data: bytes) -> None:
    with pytest.raises(BadArchive, match=r"test\.tar"):
        read(data)


@given(st.data())
def test_a_cut_archive_never_passes_for_another(data: st.DataObject) -> None:
    whole = archives.build(archives.members())
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    try:
        facts = read_facts(io.BytesIO(cut), "test.tar")
    except BadArchive:
        return
    assert facts.container_id == "c1"  # only its end marker can have been cut off; the repository asks for that


@given(st.binary(max_size=200))
def test_garbage_statistics_are_no_error(data: bytes) -> None:
    parse_stats(data)
    parse_stats(archives.stats()[:12] + data)


@given(st.lists(st.text("0123456789", min_size=3, max_size=5), max_size=20), st.integers(-2, 10))
def test_retention_keeps_the_newest_and_never_removes_the_last(ids: list[str], keep: int) -> None:
    doomed = set(prune_plan(ids, keep))
    kept = sorted(set(ids) - doomed)
    if ids:
        assert kept
        assert max(ids) in kept
    assert all(gone < left for gone in doomed for left in kept)
    assert len(kept) == min(len(set(ids)), max(keep, 1))
