"""Reading tars: what a good one says, and that no bad one is believed or does harm."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprise.archive.tarindex import BadArchive, Member, index_file
from reprise.archive.testing import build, members

slow = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@pytest.fixture
def index():
    def index(data: bytes) -> list[Member]:
        return index_file(io.BytesIO(data), "test.tar")

    return index


def tar_of(*infos: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)) if info.isreg() else None)
    return out.getvalue()


def info(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "", pax: dict[str, str] | None = None
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname, made.pax_headers = size, kind, link, pax or {}
    return made


def test_members_are_found_where_they_lie(index) -> None:
    data = build()
    for member in index(data):
        assert data[member.offset : member.offset + member.size] == members()[member.path]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_that_runtimes_write_is_read(index, form: int) -> None:
    long = "checkpoint/" + "/".join(["a" * 60] * 3) + ".img"
    assert [m.path for m in index(tar_of(info("checkpoint", kind=tarfile.DIRTYPE), info(long, 700), form=form))] == [
        "checkpoint",
        long,
    ]


@pytest.mark.parametrize("name", ["/etc/passwd", "../outside", "checkpoint/../../outside", ".."])
def test_a_member_that_points_outside_is_refused(index, name: str) -> None:
    with pytest.raises(BadArchive, match=r"test\.tar.*outside"):
        index(tar_of(info(name)))


@pytest.mark.parametrize(
    ("kind", "name", "link"),
    [
        (tarfile.SYMTYPE, "a", "/etc/shadow"),
        (tarfile.SYMTYPE, "a/b", "../../c"),
        (tarfile.LNKTYPE, "a/b", "../c"),
        (tarfile.LNKTYPE, "a", "/c"),
    ],
)
def test_a_link_out_of_the_tree_is_refused(index, kind: bytes, name: str, link: str) -> None:
    with pytest.raises(BadArchive, match="outside"):
        index(tar_of(info(name, kind=kind, link=link)))


def test_a_link_within_the_tree_passes(index) -> None:
    assert len(index(tar_of(info("a/b", kind=tarfile.SYMTYPE, link="../c"), info("d", kind=tarfile.LNKTYPE, link="a/b")))) == 2


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_device_is_refused(index, kind: bytes) -> None:
    with pytest.raises(BadArchive, match="device"):
        index(tar_of(info("checkpoint/x", kind=kind)))


@pytest.mark.parametrize("again", ["config.dump", "./config.dump", "checkpoint/../config.dump"])
def test_a_duplicated_member_is_refused(index, again: str) -> None:
    with pytest.raises(BadArchive, match=r"two members|outside"):
        index(build(extra=[(again, b"{}")]))


def test_sparse_members_are_refused(index) -> None:
    pax = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,512", "GNU.sparse.size": "1099511627776"}
    with pytest.raises(BadArchive):
        index(tar_of(info("checkpoint/pages-1.img", 512, pax=pax)))


def test_a_size_that_the_file_does_not_have_is_refused(index) -> None:
    header = info("checkpoint/pages-1.img", 1 << 50).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(BadArchive, match=r"cut off|whole tar"):
        index(header + bytes(1024))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_pax_bomb_is_refused_without_reading_it(index, kind: bytes, tmp_path: Path) -> None:
    """A header that claims 8 GiB, in a file that is as long: nothing of it may be read into memory."""
    path = tmp_path / "bomb.tar"
    with path.open("wb") as file:
        file.write(info("x", 8 << 30, kind).tobuf(tarfile.GNU_FORMAT))
        file.truncate((8 << 30) + 4096)
    with path.open("rb") as file, pytest.raises(BadArchive, match="headers"):
        index_file(file, path.name)


def test_a_negative_size_does_not_loop(index) -> None:
    buffer = bytearray(info("a", 0).tobuf(tarfile.GNU_FORMAT))
    buffer[124:136] = b"\xff" * 12  # base-256: -1
    buffer[148:156] = b" " * 8
    buffer[148:156] = b"%06o\0 " % sum(buffer)
    with pytest.raises(BadArchive):
        index(bytes(buffer) + bytes(2048))


def test_a_pax_size_that_is_negative_does_not_loop(index) -> None:
    with pytest.raises(BadArchive):
        index(tar_of(info("a", 0), info("b", 0, pax={"size": "-5000"})))


def test_trailing_garbage_is_refused(index) -> None:
    for garbage in (b"x" * 512, bytes(512) + b"x" * 512 + bytes(1024)):
        with pytest.raises(BadArchive):
            index(build() + garbage)
    with pytest.raises(BadArchive, match="follow"):
        index(build() + bytes(2 << 20))


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(index) -> None:
    data = bytearray(build())
    at = data.index(b"spec.dump")
    data[at + 150] ^= 0xFF
    with pytest.raises(BadArchive):
        index(bytes(data))


@slow
@given(st.binary(max_size=4096))
def test_what_is_no_tar_is_an_error_that_names_the_archive(index, data: bytes) -> None:
    with pytest.raises(BadArchive, match=r"test\.tar"):
        index(data)


@slow
@given(st.data())
def test_a_cut_archive_never_passes(index, data: st.DataObject) -> None:
    whole = build()
    needed = len(whole.rstrip(b"\0"))
    with pytest.raises(BadArchive):
        index(whole[: data.draw(st.integers(0, needed // 512 * 512))])


@slow
@given(st.data())
def test_a_flipped_header_is_refused_or_harmless(index, data: st.DataObject) -> None:
    whole = bytearray(build())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = index(bytes(whole))
    except BadArchive:
        return
    for member in found:
        assert not member.path.startswith(("/", ".."))
        assert 0 <= member.offset <= member.offset + member.size <= len(whole)


def test_nested_headers_do_not_exhaust_the_stack(index) -> None:
    record = b"11 path=ab\n"
    header = info("x", len(record), tarfile.XHDTYPE).tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(BadArchive):
        index((header + record.ljust(512, b"\0")) * 5000 + bytes(1024))
