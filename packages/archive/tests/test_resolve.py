"""Each page is found, stored once, or zeros; and what is put together again is what was there."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.archive.pages import HASH, Lookup, first_of_equals, hash_units, rows
from reprise.archive.resolve import CHUNK, WORTH, ZEROS, Known, Units, resolve, runs

KEY = bytes(range(32))
PAGE = 4096


def contents_of(labels: list[int]) -> bytes:
    """Label 0 is a page of zeros, any other a page of its own."""
    return b"".join(label.to_bytes(8, "little") * (PAGE // 8) for label in labels)


def units_of(labels: list[int], breaks: list[int] | None = None) -> Units:
    hashes = rows(hash_units(memoryview(contents_of(labels)), PAGE, KEY))
    return Units(hashes, np.full(len(labels), PAGE, np.int64), np.array(breaks or [], np.int64))


def known_of(chunks: list[list[int]]) -> Known:
    """Chunks of pages."""
    flat = [label for chunk in chunks for label in chunk]
    numbers = np.array([n for n, chunk in enumerate(chunks) for _ in chunk], np.int64)
    starts = np.array([at * PAGE for chunk in chunks for at in range(len(chunk))], np.int64)
    hashes = units_of(flat).hashes if flat else np.zeros((0, 2), np.uint64)
    return Known(hashes, numbers, starts, np.array([len(chunk) * PAGE for chunk in chunks], np.int64))


labels = st.lists(st.integers(0, 12), max_size=60)
chunks = st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=6), max_size=6)


@given(labels, chunks, st.lists(st.integers(0, 60), max_size=4))
def test_the_recipe_makes_the_same_bytes(pages: list[int], stored: list[list[int]], breaks: list[int]) -> None:
    units, known = units_of(pages, sorted(set(breaks))), known_of(stored)
    resolved = resolve(units, known)
    plain = contents_of(pages)
    bodies = [contents_of(chunk) for chunk in stored]
    for begin, end in resolved.new:
        bodies.append(b"".join(plain[n * PAGE : (n + 1) * PAGE] for n in resolved.stored[begin:end]))
    made = b""
    for chunk, start, length in zip(*(column.tolist() for column in runs(resolved, units.sizes)), strict=True):
        made += bytes(length) if chunk == ZEROS else bodies[chunk][start : start + length]
    assert made == plain


@given(labels, chunks)
def test_nothing_is_stored_twice_and_zeros_never(pages: list[int], stored: list[list[int]]) -> None:
    resolved = resolve(units_of(pages), known_of(stored))
    new = [pages[n] for n in resolved.stored]
    assert 0 not in new
    assert len(new) == len(set(new))


@given(labels, chunks)
def test_a_chunk_that_is_used_again_is_used_for_a_quarter_at_least(pages: list[int], stored: list[list[int]]) -> None:
    resolved = resolve(units_of(pages), known_of(stored))
    for number, chunk in enumerate(stored):
        used = {start for at, start in zip(resolved.chunks, resolved.starts, strict=True) if at == number}
        assert not used or len(used) * WORTH >= len(chunk)


@settings(deadline=None)
@given(st.integers(1, 700), st.lists(st.integers(1, 700), max_size=5))
def test_new_chunks_are_bounded_and_follow_mappings(count: int, breaks: list[int]) -> None:
    units = units_of(list(range(1, count + 1)), sorted(set(breaks)))
    resolved = resolve(units, known_of([]))
    assert [n for begin, end in resolved.new for n in range(begin, end)] == list(range(count))
    assert all(0 < (end - begin) * PAGE <= CHUNK for begin, end in resolved.new)
    for at in breaks:
        inside = [(begin, end) for begin, end in resolved.new if begin < at < end]
        assert all((at - begin) * PAGE < CHUNK // 4 for begin, _ in inside)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_equal_pages_have_equal_hashes_and_others_have_not(pages: list[int]) -> None:
    hashes = units_of(pages).hashes
    for at, first in enumerate(first_of_equals(hashes).tolist()):
        assert first == pages.index(pages[at])
    found = Lookup(hashes).find(units_of([7, *pages]).hashes)
    assert found[0] == -1
    assert [pages[n] for n in found[1:]] == pages


def test_two_that_share_half_a_hash_are_not_the_same() -> None:
    known = np.array([[1, 1], [1, 2]], np.uint64)
    assert Lookup(known).find(np.array([[1, 3]], np.uint64)).tolist() == [-1]
    assert first_of_equals(known).tolist() == [0, 1]


def test_hashes_are_keyed() -> None:
    data = memoryview(contents_of([1, 0, 2]))
    other = hash_units(data, PAGE, bytes(32))
    mine = hash_units(data, PAGE, KEY)
    assert mine[HASH : 2 * HASH] == other[HASH : 2 * HASH] == bytes(HASH)
    assert mine[:HASH] != other[:HASH]


def test_five_dirty_pages_of_a_hundred_cost_five() -> None:
    old = [*range(1, 2001)]
    new = [label + 10_000 if label % 20 == 0 else label for label in old]
    resolved = resolve(units_of(new), known_of([old[at : at + 256] for at in range(0, 2000, 256)]))
    assert len(resolved.stored) == 100
    assert len(resolved.new) == 1
