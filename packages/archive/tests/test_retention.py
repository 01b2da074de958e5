"""Retention keeps what it says, and always the newest."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.retention import parse_ladder, prune_plan

BEGAN = datetime(2026, 11, 24, tzinfo=UTC)
ids = st.lists(st.integers(0, 10_000), max_size=25, unique=True)
ladders = st.lists(st.tuples(st.sampled_from(["1h", "6h", "1d", "30m"]), st.integers(0, 9)), max_size=3)


def taken(minutes: list[int]) -> dict[str, datetime]:
    return {f"{m:06d}": BEGAN + timedelta(minutes=m) for m in minutes}


@given(ids, st.integers(-2, 9), ladders)
def test_the_newest_stay_and_one_always_does(minutes: list[int], keep: int, steps: list[tuple[str, int]]) -> None:
    ladder = parse_ladder(",".join(f"{period}:{count}" for period, count in steps))
    doomed = prune_plan(taken(minutes), keep, ladder)
    newest = sorted(taken(minutes), reverse=True)[: max(keep, 1)]
    assert not set(newest) & set(doomed)
    assert doomed == sorted(doomed)
    assert len(doomed) >= len(minutes) - max(keep, 1) - sum(count for _, count in steps)


@given(ids, st.integers(1, 5), ladders)
def test_pruning_twice_changes_nothing(minutes: list[int], keep: int, steps: list[tuple[str, int]]) -> None:
    ladder = parse_ladder(",".join(f"{period}:{count}" for period, count in steps))
    everything = taken(minutes)
    left = {k: v for k, v in everything.items() if k not in prune_plan(everything, keep, ladder)}
    assert prune_plan(left, keep, ladder) == []


def test_a_ladder_keeps_the_newest_of_each_period() -> None:
    left = set(taken(list(range(0, 600, 10)))) - set(prune_plan(taken(list(range(0, 600, 10))), 1, parse_ladder("1h:3")))
    assert left == {"000590", "000530", "000470"}


@pytest.mark.parametrize("text", ["1x:2", "h:1", "1h", "0h:3", "1h:", "1h:24;1d:7", "-1h:3"])
def test_a_ladder_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ladder"):
        parse_ladder(text)
