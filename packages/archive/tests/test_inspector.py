"""What a checkpoint holds: read out of CRIU 4.2's own images of two Python processes, and out of damaged ones.

criu-4.2.tar.xz: a server and its child with each kind of file and socket; its pages are zeros but for the arguments.
"""

import io
import lzma
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.archive.facts import BadArchive
from reprise.archive.inspection import Inspection, Process, as_data, by_kind, by_resource, tree
from reprise.archive.inspector import inspect_file, open_archive
from reprise.archive.testing import build, members

REAL = lzma.decompress((Path(__file__).parent / "criu-4.2.tar.xz").read_bytes())


@pytest.fixture(scope="module")
def real() -> Inspection:
    return inspect_file(io.BytesIO(REAL), "real")


def parts() -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(REAL)) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def test_the_processes_with_their_commands(real: Inspection) -> None:
    (depth, parent), (child_depth, child) = tree(real.processes)
    assert (depth, child_depth, child.parent) == (0, 1, parent.pid)
    assert (parent.name, parent.state, parent.threads, parent.executable) == ("python3", "running", 1, "/usr/bin/python3.11")
    assert parent.command == ("/usr/bin/python3", "-I", "-S", "app.py", "--name", "two words")


def test_the_memory_by_kind_and_by_file(real: Inspection) -> None:
    process = real.processes[0]
    kinds = {share.name: share for share in by_kind(process.areas)}
    assert set(kinds) == {"anonymous", "file", "heap", "stack", "kernel", "memfd", "shared-file"}
    assert (kinds["memfd"].mapped, kinds["memfd"].stored) == (1 << 20, 0)
    assert kinds["heap"].stored == 1146880
    assert process.stored == sum(share.stored for share in kinds.values()) == 4407296
    assert by_resource(process.areas)[1].name == "/usr/bin/python3.11"
    assert real.stored // 4096 == real.facts.stats.pages_written


def test_the_open_files(real: Inspection) -> None:
    files = {file.fd: file for file in real.files if file.pid == real.processes[0].pid}
    assert (files[0].kind, files[0].name) == ("device", "/dev/null")
    assert (files[6].name, files[6].access, files[6].position) == ("/srv/demo/data.txt", "rw", 100)
    assert [files[fd].access for fd in (7, 8)] == ["r", "w"]
    assert (files[14].name, files[14].deleted) == ("/srv/demo/gone.txt", True)
    assert (files[13].kind, files[15].name) == ("eventpoll", "memfd:mine")
    assert [(lock.fd, lock.kind) for lock in real.locks] == [(6, "flock")]


def test_the_sockets_with_state_peer_and_queue(real: Inspection) -> None:
    sockets = {socket.fd: socket for socket in real.sockets if socket.pid == real.processes[0].pid}
    assert (sockets[3].protocol, sockets[3].state, sockets[3].local) == ("tcp", "LISTEN", "127.0.0.1:18999")
    assert (sockets[5].state, sockets[5].remote, sockets[5].unread) == ("ESTABLISHED", sockets[4].local, 5)
    assert [fd for fd, socket in sockets.items() if socket.connected] == [4, 5]
    assert (sockets[16].state, sockets[16].local) == ("listening", "@abstract")
    assert (sockets[17].protocol, sockets[17].local) == ("udp", "127.0.0.1:18998")


def test_the_log_with_its_complaints(real: Inspection) -> None:
    assert real.log.tail[-1].endswith("Dumping finished successfully")
    assert len(real.log.errors) == 1
    assert "RLIMIT_NOFILE" in real.log.errors[0]


def test_all_of_it_is_data(real: Inspection) -> None:
    data = as_data(real)
    assert data["processes"][0]["memory"][0]["name"] == "anonymous"
    assert data["facts"]["stats"]["pages_written"] == 2152
    assert data["members"][0]["size"] == 4407296


def test_what_comes_of_the_runtime_is_told() -> None:
    spec = (
        b'{"annotations": {"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "cart-0"},'
        b' "mounts": [{"type": "bind", "destination": "/data"}, {"type": "proc", "destination": "/proc"}, 1]}'
    )
    found = inspect_file(io.BytesIO(build(parts() | {"spec.dump": spec})), "checkpoint.tar")
    assert (found.archive, found.pod, found.mounts) == ("checkpoint.tar", "shop/cart-0", ("/data",))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no tar"),
        (b"not a tar at all", "no tar"),
        (REAL[: len(REAL) // 2 // 512 * 512], "cut off"),
        (lzma.compress(REAL), "compressed: unpack it with `xz -d`"),
        (b"\x28\xb5\x2f\xfd" + bytes(2000), "`zstd -d`"),
        (build(members()), r"lacks checkpoint/pstree.img"),
        (build({"a": b""}), "lacks config.dump"),
        (build(parts() | {"checkpoint/files.img": b"garbage"}), r"checkpoint/files\.img: another magic"),
        (build(parts() | {"checkpoint/pstree.img": parts()["checkpoint/pstree.img"][:-1]}), r"pstree\.img: a message of"),
    ],
)
def test_no_archive_is_an_error_that_names_it_and_why(data: bytes, why: str) -> None:
    with pytest.raises(BadArchive, match=why) as caught:
        inspect_file(io.BytesIO(data), "odd.tar")
    assert caught.value.subject == "odd.tar"


def test_a_file_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BadArchive, match="cannot be read: No such file"):
        open_archive(tmp_path / "missing.tar")


IMAGES = sorted(name for name in parts() if name.startswith("checkpoint/") and "pages-" not in name)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(IMAGES), st.integers(8, 4000), st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_or_harmless(name: str, at: int, noise: bytes) -> None:
    content = {name: data for name, data in parts().items() if "pages-" not in name}
    content[name] = content[name][:at] + noise + content[name][at + len(noise) :]
    try:
        as_data(inspect_file(io.BytesIO(build(content)), "damaged"))
    except BadArchive as error:
        assert error.subject == "damaged"


def test_a_ring_of_parents_ends() -> None:
    def process(pid: int, parent: int) -> Process:
        return Process(pid, parent, 1, 1, 1, "running", "a", "", (), ())

    ring = [process(1, 2), process(2, 1), process(3, 3), process(4, 99)]
    assert sorted(found.pid for _, found in tree(ring)) == [1, 2, 3, 4]
