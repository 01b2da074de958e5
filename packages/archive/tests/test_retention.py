"""Retention keeps what it says, and always the newest."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.archive.retention import parse_ladder, prune_plan

BEGAN = datetime(2026, 11, 24, tzinfo=UTC)
ids = st.lists(st.integers(0, 10_000), max_size=25, unique=True)
ladders = st.lists(st.tuples(st.sampled_from(["1h", "6h", "1d", "30m"]), st.integers(0, 9)), max_size=3)


Taken = dict[str, tuple[str, datetime]]


def taken(minutes: list[int], pod: str = "u1") -> Taken:
    return {f"{m:06d}": (pod, BEGAN + timedelta(minutes=m)) for m in minutes}


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


pods = st.sampled_from(["u1", "u2", "u3"])
replicas = st.lists(st.tuples(st.integers(0, 500), pods), max_size=30, unique_by=lambda each: each[0])


@given(replicas, st.integers(1, 4), ladders)
def test_what_a_replica_keeps_is_not_less_because_there_are_others(
    stored: list[tuple[int, str]], keep: int, steps: list[tuple[str, int]]
) -> None:
    """Each that is checkpointed still: of one that is gone, the newest stays."""
    ladder = parse_ladder(",".join(f"{period}:{count}" for period, count in steps))
    everything = {name: row for minute, pod in stored for name, row in taken([minute], pod).items()}
    left = everything.keys() - set(prune_plan(everything, keep, ladder))
    for pod in {pod for _, pod in stored}:
        own = sorted((name for name, (uid, _) in everything.items() if uid == pod), reverse=True)
        newer = [sum(uid == other and name > own[0] for name, (uid, _) in everything.items()) for other in ("u1", "u2", "u3")]
        assert set(own[: keep if max(newer) < keep else 1]) <= left
    assert prune_plan({name: everything[name] for name in left}, keep, ladder) == []


def test_the_pods_of_before_do_not_pile_up() -> None:
    one_after_the_other = {name: row for n in range(20) for name, row in taken(list(range(10 * n, 10 * n + 9)), f"u{n}").items()}
    left = one_after_the_other.keys() - set(prune_plan(one_after_the_other, 3))
    assert len(left) == 19 + 3


def test_replicas_share_the_ladders_periods_and_each_has_its_own_in_them() -> None:
    both = taken(list(range(0, 600, 10))) | taken(list(range(5, 600, 10)), "u2")
    left = both.keys() - set(prune_plan(both, 1, parse_ladder("1h:2")))
    assert left == {"000595", "000535", "000590", "000530"}


@pytest.mark.parametrize("text", ["1x:2", "h:1", "1h", "0h:3", "1h:", "1h:24;1d:7", "-1h:3"])
def test_a_ladder_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ladder"):
        parse_ladder(text)
