"""What an archive says of itself, and CRIU's images: what a good one tells, and that garbage tells nothing."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.criu import IMG_COMMON_MAGIC, PAGEMAP_MAGIC, BadImage, PageRun, read_pagemap, read_stats
from reprise.archive.facts import ArchiveFacts, BadArchive, facts_of
from reprise.archive.tarindex import index_file
from reprise.archive.testing import build, image, members, pagemap, stats


@pytest.fixture
def read():
    def read(content: dict[str, bytes]) -> ArchiveFacts:
        file = io.BytesIO(build(content))
        return facts_of(file, "test.tar", index_file(file, "test.tar"))

    return read


def test_a_good_archive_tells_whose_it_is(read) -> None:
    facts = read(members())
    assert (facts.runtime, facts.container_id, facts.base_image) == ("cri-o", "c1", "localhost/counter:1")
    assert (facts.stats.frozen_time_us, facts.stats.pages_written) == (1500, 321)
    assert facts.criu_version == "4.1.1"


def test_containerds_archives_are_told_from_crios(read) -> None:
    assert read(members(crio=False)).runtime == "containerd"


@pytest.mark.parametrize("lost", ["config.dump", "spec.dump", "stats-dump", "checkpoint/inventory.img"])
def test_an_archive_that_lacks_a_part_is_refused_by_name(read, lost: str) -> None:
    content = members()
    del content[lost]
    with pytest.raises(BadArchive, match=lost):
        read(content)


def test_a_config_of_unbounded_size_is_not_read(read) -> None:
    with pytest.raises(BadArchive, match="at most"):
        read(members() | {"config.dump": b" " * (5 << 20)})


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"id": 1, "id"'])
def test_a_config_that_is_no_object_is_refused(read, config: bytes) -> None:
    with pytest.raises(BadArchive, match=r"config\.dump is not"):
        read(members() | {"config.dump": config})


@given(st.binary(max_size=200))
def test_garbage_statistics_are_no_error(data: bytes) -> None:
    read_stats(data)
    read_stats(stats()[:12] + data)


@given(st.lists(st.tuples(st.integers(0, 2**63), st.integers(1, 2**31)), max_size=30), st.integers(0, 2**31), st.booleans())
def test_a_pagemap_is_read_as_criu_before_and_since_4_2_writes_it(runs: list[tuple[int, int]], pages_id: int, wide: bool) -> None:
    assert read_pagemap(pagemap(runs, pages_id, wide=wide)) == (pages_id, [PageRun(*run) for run in runs])


@given(st.binary(max_size=300))
def test_a_garbage_pagemap_is_an_error_and_nothing_else(data: bytes) -> None:
    for body in (data, image((IMG_COMMON_MAGIC, PAGEMAP_MAGIC), data), pagemap([(4096, 1)])[:-1] + data):
        try:
            read_pagemap(body)
        except BadImage:
            continue


def test_what_a_container_needs_to_be_restored_is_told_without_what_every_container_has(read) -> None:
    spec = json.loads(members()["spec.dump"])
    spec["mounts"] = [{"destination": d} for d in ("/proc", "/data", "/etc/hosts", "/run/secrets")] + [{"type": "bind"}, 7]
    spec["linux"] = {"devices": [{"path": "/dev/fuse"}, "nonsense"]}
    facts = read(members() | {"spec.dump": json.dumps(spec).encode()})
    assert (facts.mounts, facts.devices) == (("/data", "/etc/hosts"), ("/dev/fuse",))
    assert read(members()).mounts == ()
