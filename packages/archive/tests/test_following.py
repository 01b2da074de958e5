"""Files of pages that are brought from one checkpoint to the next."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import reprise.archive.moves as moves_module
from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.archive.identity import PAGE, Identities
from reprise.archive.manifest import Manifest
from reprise.archive.opened import OpenArchive
from reprise.archive.repository import Repository
from reprise.archive.tarindex import Member, index_file
from reprise.archive.testing import FixedKeys, MemoryStore, build, members
from reprise.contracts.model import Target, Workload

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
Write = Callable[..., Manifest]


def archive_of(pages: bytes) -> bytes:
    return build(members() | {"checkpoint/pages-1.img": pages})


def pages_of(opened: OpenArchive) -> Member:
    with opened.file() as file:
        return next(member for member in index_file(file, "archive") if member.path == "checkpoint/pages-1.img")


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    number = os.open(tmp_path / "pages-1.img", os.O_RDWR | os.O_CREAT, 0o600)
    yield number
    os.close(number)


def content(number: int) -> bytes:
    return os.pread(number, os.fstat(number).st_size, 0)


def test_a_file_is_made_and_then_brought_to_the_next_checkpoint_by_what_differs(
    repository: Repository, write: Write, fd: int
) -> None:
    first = b"".join(bytes([n]) * PAGE for n in range(64))
    second = first[: 10 * PAGE] + b"x" * PAGE + first[11 * PAGE : 60 * PAGE] + bytes(8 * PAGE)
    opened = repository.open(write("ck1", archive_of(first)))
    held, written = opened.write_pages(pages_of(opened), fd, None)
    assert content(fd) == first
    assert written == 63 * PAGE  # the page of zeros is a hole
    opened = repository.open(write("ck2", archive_of(second)))
    held, written = opened.write_pages(pages_of(opened), fd, held)
    assert content(fd) == second
    assert written == PAGE + 4 * PAGE  # the changed page, and four that are zeros now; what the file grew by is a hole
    assert opened.write_pages(pages_of(opened), fd, held)[1] == 0


page = st.sampled_from([bytes(PAGE), *(bytes([n]) * PAGE for n in range(1, 5)), bytes(range(256)) * 16])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(page, min_size=1, max_size=40), min_size=2, max_size=5))
def test_any_sequence_of_checkpoints_is_followed_exactly(
    tmp_path_factory: pytest.TempPathFactory, images: list[list[bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    repository, held = Repository(MemoryStore(), FixedKeys()), None
    with (folder / "pages-1.img").open("w+b") as file:
        for number, pages in enumerate(images):
            path = folder / f"checkpoint-{number}.tar"
            path.write_bytes(archive_of(b"".join(pages)))
            manifest = repository.write_archive(
                path, checkpoint_id=f"ck{number}", workload=WORKLOAD, target=TARGET, trigger="interval"
            )
            opened = repository.open(manifest)
            held, _ = opened.write_pages(pages_of(opened), file.fileno(), held)
            assert content(file.fileno()) == b"".join(pages)


def numbered(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(4, "big") * (PAGE // 4) for number in numbers)


def test_pages_that_lie_elsewhere_are_moved_and_not_written_again(repository: Repository, write: Write, fd: int) -> None:
    """A heap grew by three pages before it, another part went away after it, and one page in between changed."""
    first = numbered(range(2000))
    second = numbered([*range(100), 7001, 7002, 7003, *range(100, 999), 7004, *range(1000, 1500), *range(1600, 2000)])
    opened = repository.open(write("ck1", archive_of(first)))
    held, _ = opened.write_pages(pages_of(opened), fd, None)
    opened = repository.open(write("ck2", archive_of(second)))
    _, written = opened.write_pages(pages_of(opened), fd, held)
    assert content(fd) == second
    assert written == 4 * PAGE


def test_where_the_filesystem_cannot_move_pages_they_are_written(repository: Repository, write: Write) -> None:
    first, second = numbered(range(1000)), numbered([7001, *range(1000)])
    fd = os.memfd_create("pages")  # on tmpfs
    try:
        opened = repository.open(write("ck1", archive_of(first)))
        held, _ = opened.write_pages(pages_of(opened), fd, None)
        opened = repository.open(write("ck2", archive_of(second)))
        _, written = opened.write_pages(pages_of(opened), fd, held)
        assert content(fd) == second
        assert written == len(second)
    finally:
        os.close(fd)


run = st.tuples(st.integers(0, 40), st.integers(1, 20)).map(lambda found: range(found[0], sum(found)))
runs = st.lists(run, min_size=1, max_size=8).map(lambda found: [page for pages in found for page in pages])


@settings(max_examples=200, deadline=None)
@given(before=runs, after=runs)
def test_moves_lead_from_any_order_of_pages_to_any_other(before: list[int], after: list[int]) -> None:
    """On a list of pages in the file's stead: every kept run comes to its place, and no move reaches outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moves_module, "LEAST_PAGES", 3)
        planned = moves_module.moves(identities_of(before), identities_of(after))
    file = list(before)
    for step in planned:
        assert 0 <= step.page < len(file), "the kernel refuses what begins at the end or after it"
        if step.pages > 0:
            file[step.page : step.page] = [0] * step.pages
        else:
            assert step.page - step.pages < len(file)
            del file[step.page : step.page - step.pages]
    kept = sum(a == b for a, b in zip(file, after, strict=False))
    assert planned == [] or kept >= 3


def identities_of(pages: list[int]) -> Identities:
    return np.array([(2, number + 1) for number in pages], np.uint64).reshape(-1, 2)
