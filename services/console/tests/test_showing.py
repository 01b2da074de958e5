"""Figures, charts, cursors and CSV: pure."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.console.export import lines
from reprise.console.paging import BadCursor, Cursor, parse
from reprise.console.rows import FailoverState, Health
from reprise.console.web.charts import Window, chart, nice, ticks
from reprise.contracts import humane, words

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
WINDOW = Window(NOON - timedelta(hours=1), NOON)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (34_300_000, "34.3 MB"), (999_600, "1 MB"), (8.1e9, "8.1 GB")],
)
def test_sizes_are_humane(count: float | None, told: str) -> None:
    assert humane.size(count) == told


@pytest.mark.parametrize(
    ("count", "told"),
    [(None, "–"), (0, "0 s"), (0.038, "38 ms"), (0.68, "0.68 s"), (0.9999, "1.0 s"), (4.21, "4.2 s"), (38.4, "38 s"),
     (119.7, "2 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h"), (-4, "−4.0 s")],
)  # fmt: skip
def test_durations_are_humane(count: float | None, told: str) -> None:
    assert humane.seconds(count) == told


def test_moments_are_told_relative_and_a_clock_that_is_ahead_is_forgiven() -> None:
    told = [humane.ago(NOON - timedelta(seconds=age), NOON) for age in (-3, 0.4, 4, 119, 121, 7201, 200_000)]
    assert told == ["just now", "just now", "4 s ago", "119 s ago", "2 min ago", "2 h ago", "2 d ago"]


@given(st.floats(1e-6, 1e18))
def test_a_scale_holds_its_values_and_wastes_at_most_half(most: float) -> None:
    assert most <= nice(most) * (1 + 1e-9)
    assert nice(most) <= most * 2.000001


def rows(bins: list[int], column: str = "size_bytes") -> list[dict[str, Any]]:
    return [{"bin": number, column: 10.0 + number, "good": 1, "failed": 0, "message": None} for number in bins]


def test_a_silence_breaks_the_line() -> None:
    drawn = chart("Size", rows([0, 1, 2, 50, 51]), "size_bytes", WINDOW, humane.size, gap_s=90)
    assert drawn is not None
    assert drawn.line.count("M") == 2
    assert (drawn.newest, drawn.least, drawn.most) == ("61 B", "10 B", "61 B")
    assert chart("Size", [], "size_bytes", WINDOW, humane.size, gap_s=90) is None


@given(st.lists(st.integers(0, 119), unique=True, min_size=1))
def test_all_that_is_drawn_is_within_its_box(bins: list[int]) -> None:
    drawn = chart("Size", rows(sorted(bins)), "size_bytes", WINDOW, humane.size, gap_s=90)
    assert drawn is not None
    assert all(0 <= point.x <= 1000 and 0 <= point.y <= 100 for point in drawn.points)
    assert all(tick.x >= 0 and tick.x + tick.width <= 1000 for tick in ticks(rows(bins), WINDOW))


@given(moments, st.text(min_size=1).filter(lambda text: "\0" not in text and text.isprintable()))
def test_a_cursor_survives_the_address(moment: datetime, key: str) -> None:
    assert parse(str(Cursor(moment, key))) == Cursor(moment, key)


@given(st.text(max_size=60))
def test_no_other_text_is_a_cursor_or_breaks_it(text: str) -> None:
    try:
        parse(text)
    except BadCursor:
        return


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))))
def test_csv_is_read_back_and_runs_nothing(cells: list[str]) -> None:
    told = "".join(lines(["name"], [{"name": cell} for cell in cells]))
    back = [row["name"] for row in csv.DictReader(io.StringIO(told, newline=""))]
    assert all(cell in (there, there[1:]) for cell, there in zip([c for c in cells if c], [b for b in back if b], strict=True))
    assert not any(there.startswith(("=", "+", "-", "@")) for there in back)


def test_every_state_has_its_words() -> None:
    from typing import get_args

    assert set(words.HEALTH) == set(words.ORDER) == set(get_args(Health))
    assert set(words.FAILOVER) == set(get_args(FailoverState))
