"""Two checkpoints compared: which pages, processes, files and sockets differ."""

import io
import lzma
from pathlib import Path

import pytest
from reprise.archive.comparison import Comparison, as_data, compare, read_memory
from reprise.archive.facts import BadArchive
from reprise.archive.inspector import inspect_file
from reprise.archive.testing import build, members, pagemap, tasks

REAL = lzma.decompress((Path(__file__).parent / "criu-4.2.tar.xz").read_bytes())
PAGE = 4096


def archive(*pages: tuple[int, bytes], pids: tuple[int, ...] = (1,)) -> bytes:
    """Of processes with one page of these letters at each of these addresses, the first process's."""
    content = members()
    content["checkpoint/pagemap-1.img"] = pagemap([(address, 1) for address, _ in pages])
    content["checkpoint/pages-1.img"] = b"".join(letter * PAGE for _, letter in pages)
    content |= tasks(*pids, name="server")
    return build(content)


def compared(before: bytes, after: bytes) -> Comparison:
    told = []
    for name, data in (("before", before), ("after", after)):
        found = inspect_file(io.BytesIO(data), name)
        told.append((found, read_memory(io.BytesIO(data), name, [process.pid for process in found.processes])))
    (old, first), (new, second) = told
    return compare(old, new, first, second)


def test_pages_are_compared_by_address_wherever_they_lie_in_the_file() -> None:
    before = archive((PAGE, b"a"), (3 * PAGE, b"b"), (8 * PAGE, b"c"))
    after = archive((8 * PAGE, b"c"), (PAGE, b"x"), (9 * PAGE, b"b"))
    (change,) = compared(before, after).pages
    assert (change.same, change.changed, change.added, change.removed) == (1, 1, 1, 1)
    assert change.name == "server"


def test_processes_come_and_go() -> None:
    found = compared(archive((PAGE, b"a"), pids=(1, 2)), archive((PAGE, b"a"), pids=(1, 3)))
    assert ([process.pid for process in found.came], [process.pid for process in found.gone]) == ([3], [2])
    assert as_data(found)["totals"] == {"same": 1, "changed": 0, "added": 0, "removed": 0}


def test_a_real_archive_is_the_same_as_itself() -> None:
    found = compared(REAL, REAL)
    assert (found.totals.same, found.totals.changed + found.totals.added + found.totals.removed) == (2152, 0)
    assert not (found.files_came or found.files_gone or found.sockets_came or found.sockets_gone)


def test_a_pagemap_that_does_not_fit_its_pages_is_an_error() -> None:
    content = members() | {"checkpoint/pagemap-1.img": pagemap([(0, 1 << 40)])}
    with pytest.raises(BadArchive, match=r"odd: checkpoint/pages-1.img has 4 pages"):
        read_memory(io.BytesIO(build(content)), "odd", [1])
