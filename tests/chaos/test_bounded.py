"""What `make chaos SEED=n` tries of the matrix, whatever the seed."""

import pytest
from cells import COLUMNS, ROWS
from test_chaos import chosen


@pytest.mark.parametrize("seed", ["1", "2", "77"])
def test_the_bounded_form_tries_each_row_once_and_each_column(seed: str) -> None:
    cells = chosen(seed)
    assert [row for row, _ in cells] == list(ROWS)
    assert {way for _, ways in cells for way in ways} == set(COLUMNS)
    assert cells == chosen(seed), "a seed chooses the same again"


@pytest.mark.parametrize("seed", ["1", "2", "77"])
def test_a_few_rows_have_a_lost_node_among_them_and_differ_by_the_seed(seed: str) -> None:
    cells = chosen(seed, 10)
    assert len(cells) == 10
    assert set(cells) <= set(chosen(seed))
    assert {way for _, ways in cells for way in ways} == set(COLUMNS)
    assert cells != chosen(f"{seed}0", 10)


def test_the_long_form_tries_every_cell() -> None:
    assert {(row, way) for row, ways in chosen("all") for way in ways} == {(row, way) for row in ROWS for way in COLUMNS}
