"""The binary documents come back as they were written, and nothing else passes for one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.recipe import (
    CHUNK_ROW,
    FOOTER_ROW,
    MAX_CHUNK,
    RUN_ROW,
    UNIT_ROW,
    ZEROS,
    BadDocument,
    Footer,
    Recipe,
    decode_footer,
    decode_recipe,
    encode_footer,
    encode_recipe,
)

u32 = st.integers(0, 2**32 - 1)
chunk_rows = st.lists(
    st.tuples(st.integers(0, 4), u32, u32, st.integers(0, MAX_CHUNK), st.integers(1, MAX_CHUNK), st.integers(0, 1)), max_size=9
)


def recipe_of(chunks: list[tuple[int, ...]], runs: list[tuple[int, int, int]]) -> Recipe:
    return Recipe(np.array(chunks, CHUNK_ROW), np.array(runs, RUN_ROW))


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    chunks = draw(chunk_rows)
    runs = []
    for _ in range(draw(st.integers(0, 12))):
        number = draw(st.sampled_from([ZEROS, *range(len(chunks))]))
        if number == ZEROS:
            runs.append((ZEROS, 0, draw(st.integers(1, 1 << 40))))
        else:
            start = draw(st.integers(0, chunks[number][4] - 1))
            runs.append((number, start, draw(st.integers(1, chunks[number][4] - start))))
    return recipe_of(chunks, runs)


@given(recipes())
def test_a_recipe_is_read_as_it_was_written(recipe: Recipe) -> None:
    read = decode_recipe(encode_recipe(recipe), 5)
    assert (read.chunks == recipe.chunks).all()
    assert (read.runs == recipe.runs).all()


@pytest.mark.parametrize(
    ("chunks", "runs"),
    [
        ([(5, 0, 16, 10, 10, 0)], []),
        ([(0, 0, 16, 10, MAX_CHUNK + 1, 0)], []),
        ([(0, 0, 16, 10, 10, 0)], [(1, 0, 1)]),
        ([(0, 0, 16, 10, 10, 0)], [(0, 5, 6)]),
        ([(0, 0, 16, 10, 10, 0)], [(0, 2**32 - 1, 2**63)]),
        ([], [(ZEROS, 0, 1 << 60)]),
    ],
)
def test_a_recipe_that_points_outside_is_refused(chunks: list[tuple[int, ...]], runs: list[tuple[int, int, int]]) -> None:
    with pytest.raises(BadDocument):
        decode_recipe(encode_recipe(recipe_of(chunks, runs)), 5)


@given(recipes(), st.data())
def test_a_damaged_recipe_is_refused_or_within_bounds(recipe: Recipe, data: st.DataObject) -> None:
    body = bytearray(encode_recipe(recipe))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with_tail = bytes(body[: data.draw(st.integers(0, len(body)))])
    for damaged in (bytes(body), with_tail):
        try:
            read = decode_recipe(damaged, 5)
        except BadDocument:
            continue
        assert (read.chunks["pack"] < 5).all()


def test_a_recipe_that_would_swell_is_refused_before_it_does() -> None:
    import zstandard

    with pytest.raises(BadDocument, match="larger"):
        decode_recipe(zstandard.ZstdCompressor().compress(bytes(200 << 20)), 5)


@given(st.lists(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(1, 1 << 20)), max_size=5), max_size=5))
def test_a_footer_is_read_as_it_was_written(chunks: list[list[tuple[bytes, int]]]) -> None:
    table = np.array([(at * 100, 99, 50, 1, len(units)) for at, units in enumerate(chunks)], FOOTER_ROW)
    units = np.array([(np.frombuffer(h, "<u8"), size) for chunk in chunks for h, size in chunk], UNIT_ROW)
    read = decode_footer(encode_footer(Footer(table, units)))
    assert (read.chunks == table).all()
    assert (read.units == units).all()


@given(st.binary(max_size=200))
def test_garbage_is_no_footer(data: bytes) -> None:
    for body in (data, b"RPFOOT01" + data + b"x"):
        with pytest.raises(BadDocument):
            decode_footer(body)
