"""What an archive says of itself, and CRIU's images: what a good one tells, and that garbage tells nothing."""

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.criu import IMG_COMMON_MAGIC, PAGEMAP_MAGIC, BadImage, PageRun, read_pagemap, read_stats
from reprise.archive.criu.tasks_pb2 import file_entry, reg_file_entry, remap_file_path_entry
from reprise.archive.criu.volumes import FILES_MAGIC, REMAPS_MAGIC
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


VOLUMES = "/var/lib/kubelet/pods/u1/volumes"
MOUNTS = [
    {"destination": "/cache", "type": "bind", "source": f"{VOLUMES}/kubernetes.io~empty-dir/cache"},
    {"destination": "/data", "type": "bind", "source": f"{VOLUMES}/kubernetes.io~csi/pvc-1/mount"},
    {"destination": "/data/host", "type": "bind", "source": "/srv/data"},
    {"destination": "/etc/hosts", "type": "bind", "source": "/var/lib/kubelet/pods/u1/etc-hosts"},
    {"destination": "/dev/termination-log", "type": "bind", "source": "/var/lib/kubelet/pods/u1/containers/app/1"},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
]
REGULAR, FOLDER, APPEND = 0o100644, 0o40755, os.O_WRONLY | os.O_APPEND


def opened(path: str, flags: int, mode: int = REGULAR, number: int = 1) -> bytes:
    """As CRIU writes it: of a file that is open for appending only, no size (criu/files-reg.c, should_check_size)."""
    entry = reg_file_entry(id=number, flags=flags, pos=0, name=path.encode(), mode=mode)
    if flags & os.O_ACCMODE != os.O_WRONLY or not flags & os.O_APPEND:
        entry.size = 7
    return file_entry(type=1, id=number, reg=entry).SerializeToString()


@pytest.mark.parametrize(
    ("path", "flags", "sized", "emptied"),
    [
        ("/data/db", os.O_RDWR, ("/data",), ()),
        ("/data/host/db", os.O_WRONLY, ("/data/host",), ()),
        ("/cache/log", os.O_RDWR, ("/cache",), ("/cache",)),
        ("/cache/log", APPEND, (), ("/cache",)),
        ("/data/log", APPEND, (), ()),
        ("/data/lib.jar", os.O_RDONLY, (), ()),
        ("/database", os.O_RDWR, (), ()),
        ("/var/own", os.O_RDWR, (), ()),
        ("/tmp/own", os.O_RDWR, (), ()),
        ("/dev/termination-log", os.O_RDWR, (), ()),
        ("/etc/hosts", os.O_RDWR, (), ()),
    ],
)
def test_a_volume_on_which_a_file_is_open_for_writing_is_told(
    read, path: str, flags: int, sized: tuple[str, ...], emptied: tuple[str, ...]
) -> None:
    spec = json.loads(members()["spec.dump"]) | {"mounts": MOUNTS}
    content = members() | {"spec.dump": json.dumps(spec).encode()}
    files = {"checkpoint/files.img": image((IMG_COMMON_MAGIC, FILES_MAGIC), opened(path, flags))}
    facts = read(content | files)
    assert (facts.sized, facts.emptied) == (sized, emptied)
    gone = remap_file_path_entry(orig_id=1, remap_id=2).SerializeToString()
    facts = read(content | files | {"checkpoint/remap-fpath.img": image((IMG_COMMON_MAGIC, REMAPS_MAGIC), gone)})
    assert (facts.sized, facts.emptied) == ((), ()), "a deleted file is in the checkpoint itself"
    folder = {"checkpoint/files.img": image((IMG_COMMON_MAGIC, FILES_MAGIC), opened(path, flags, FOLDER))}
    assert read(content | folder).sized == ()


@pytest.mark.parametrize("garbage", [b"garbage", image((IMG_COMMON_MAGIC, FILES_MAGIC), b"\xff")])
def test_a_list_of_open_files_that_cannot_be_read_is_no_reason_to_refuse_a_checkpoint(read, garbage: bytes) -> None:
    spec = json.loads(members()["spec.dump"]) | {"mounts": MOUNTS}
    facts = read(members() | {"spec.dump": json.dumps(spec).encode(), "checkpoint/files.img": garbage})
    assert (facts.sized, facts.emptied) == ((), ())
