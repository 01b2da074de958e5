"""The cut plan: which spans of an archive are memory pages, and where the address space has gaps.

Pages are cut at 4 KiB (a power of two more for archives of very many pages, so that tables stay bounded); everything else
is cut by content. The plan covers the archive without gap or overlap whatever its members say: a pagemap only says where a
chunk of pages should rather end, so one that lies costs nothing but good places to cut.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

from reprise.archive.criu import BadImage, PageRun, read_pagemap
from reprise.archive.facts import read_member
from reprise.archive.tarindex import Member

PAGE = 4096
MAX_UNITS = 1 << 20
"""Units of pages in one archive: 4 GiB of memory are cut at 4 KiB, 8 GiB at 8 KiB, and so on. Bounds memory."""
MAX_PAGEMAPS = 16 << 20
"""Bytes of pagemap images that are read, of all processes together; about 12 bytes tell one run of pages."""
GAP = 1 << 20
"""Bytes of address space between two runs that make them different mappings for us."""
SMALL = 1 << 20
"""Other members of at least this many bytes are spans of their own."""
PAGES = re.compile(r"checkpoint/pages-(\d+)\.img")
PAGEMAP = re.compile(r"checkpoint/pagemap-.+\.img")


@dataclass(frozen=True)
class Span:
    """size bytes of the archive from offset. unit: bytes at which pages are cut; 0: cut by content.

    breaks: offsets in units within the span at which another mapping begins.
    """

    offset: int
    size: int
    unit: int = 0
    breaks: tuple[int, ...] = ()


def cut_plan(members: Iterable[Member], size: int, pagemaps: dict[int, list[PageRun]]) -> list[Span]:
    """Spans that cover [0, size) in order. pagemaps: the runs of pages-N.img by N; those that fit are followed."""
    members = [member for member in members if member.size]
    pages = {m.offset: m for m in members if PAGES.fullmatch(m.path) and m.size >= PAGE}
    unit = page_unit(sum(m.size for m in pages.values()))
    spans, at = list[Span](), 0
    for member in members:
        if member.offset < at:
            continue  # overlaps what is planned already: stays part of that
        whole = member.size // unit * unit if member.offset in pages else member.size
        if whole < (unit if member.offset in pages else SMALL):
            continue
        if member.offset > at:
            spans.append(Span(at, member.offset - at))
        if member.offset in pages:
            runs = pagemaps.get(int(PAGES.fullmatch(member.path)[1]), [])  # type: ignore[index]
            spans.append(Span(member.offset, whole, unit, mapping_breaks(runs, member.size, unit)))
        else:
            spans.append(Span(member.offset, whole))
        at = member.offset + whole
    if at < size:
        spans.append(Span(at, size - at))
    return spans


def page_unit(pages_size: int) -> int:
    """Bytes at which so many bytes of pages are cut."""
    unit = PAGE
    while pages_size // unit > MAX_UNITS:
        unit *= 2
    return unit


def mapping_breaks(runs: list[PageRun], size: int, unit: int) -> tuple[int, ...]:
    """Where another mapping begins, in units; none if the runs are not what size bytes of pages would have."""
    if sum(run.nr for run in runs) * PAGE != size:
        return ()
    breaks, at, end = list[int](), 0, None
    for run in runs:
        if end is not None and not 0 <= run.vaddr - end < GAP and at * PAGE % unit == 0:
            breaks.append(at * PAGE // unit)
        at, end = at + run.nr, run.vaddr + run.nr * PAGE
    return tuple(breaks)


def read_pagemaps(file: IO[bytes], members: Iterable[Member]) -> dict[int, list[PageRun]]:
    """The runs of each pages-N.img, by N. What cannot be read or is claimed twice is left out."""
    found: dict[int, list[PageRun]] = {}
    budget = MAX_PAGEMAPS
    for member in members:
        if PAGEMAP.fullmatch(member.path) and member.regular and member.size <= budget:
            budget -= member.size
            try:
                number, runs = read_pagemap(read_member(file, member, member.size))
            except BadImage:
                continue
            found[number] = [] if number in found else runs
    return found
