"""The cut plan covers an archive exactly, whatever its members and pagemaps say."""

from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.criu import PageRun
from reprise.archive.plan import MAX_UNITS, PAGE, cut_plan, mapping_breaks, page_unit
from reprise.archive.tarindex import Member

sizes = st.one_of(st.integers(0, 20_000), st.integers(0, 600).map(lambda n: n * PAGE), st.integers(1 << 20, 3 << 20))
names = st.sampled_from(["checkpoint/pages-1.img", "checkpoint/pages-2.img", "rootfs-diff.tar", "config.dump", "a"])
runs = st.lists(st.builds(PageRun, st.integers(0, 2**48).map(lambda a: a * PAGE), st.integers(0, 700)), max_size=8)


@given(
    st.lists(st.tuples(names, sizes, st.integers(0, 2000)), max_size=8),
    st.dictionaries(st.integers(0, 3), runs),
    st.integers(0, 5000),
)
def test_the_spans_cover_every_byte_once_and_in_order(
    layout: list[tuple[str, int, int]], pagemaps: dict[int, list[PageRun]], tail: int
) -> None:
    members, at = [], 0
    for name, size, gap in layout:
        at += gap
        members.append(Member(name, at, size, True))
        at += size
    end = 0
    for span in cut_plan(members, at + tail, pagemaps):
        assert span.offset == end
        assert span.size > 0
        assert span.unit == 0 or span.size % span.unit == 0
        assert all(0 < at < span.size // span.unit for at in span.breaks)
        assert list(span.breaks) == sorted(set(span.breaks))
        end += span.size
    assert end == at + tail


def test_pages_are_spans_of_their_own_and_end_at_whole_pages() -> None:
    members = [Member("config.dump", 512, 100, True), Member("checkpoint/pages-1.img", 1536, 2 * PAGE + 10, True)]
    assert [(s.offset, s.size, s.unit) for s in cut_plan(members, 20_000, {})] == [
        (0, 1536, 0), (1536, 2 * PAGE, PAGE), (1536 + 2 * PAGE, 20_000 - 1536 - 2 * PAGE, 0),
    ]  # fmt: skip


def test_a_gap_in_the_address_space_is_a_break_and_a_small_one_is_not() -> None:
    pagemap = [PageRun(0x400000, 4), PageRun(0x410000, 4), PageRun(0x7F0000000000, 8)]
    assert mapping_breaks(pagemap, 16 * PAGE, PAGE) == (8,)


def test_a_pagemap_that_lies_about_its_pages_is_not_followed() -> None:
    pagemap = [PageRun(0x400000, 4), PageRun(0x7F0000000000, 8)]
    assert mapping_breaks(pagemap, 13 * PAGE, PAGE) == ()


@given(st.integers(0, 1 << 44))
def test_tables_stay_bounded_for_any_size(size: int) -> None:
    assert size // page_unit(size) <= MAX_UNITS
    assert page_unit(size) == PAGE or size // (page_unit(size) // 2) > MAX_UNITS
