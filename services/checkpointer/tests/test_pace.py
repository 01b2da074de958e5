"""I6: what checkpoints take of a busy node is bounded, and what somebody waits for is not held back."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from reprise.checkpointer.pace import (
    AT_ONCE,
    BUSY,
    CALM,
    COST,
    SHARE,
    Claim,
    allowance,
    at_once,
    gives_way,
    may_start,
    owed_after,
    rest,
)

CORES = st.integers(1, 256)
INF = float("inf")


def claim(name: str = "ck1", *, demanded: bool = False, first: bool = False, due_s: float = 0.0, container: str = "c") -> Claim:
    return Claim(("u1", container), name, demanded, first, due_s)


@given(CORES, st.lists(st.floats(0.05, 60), min_size=1, max_size=50), st.none() | st.floats(BUSY, 1))
def test_on_a_busy_node_checkpoints_take_no_more_than_their_share(cores: int, took: list[float], pressure: float | None) -> None:
    """Each costs COST cores while it lasts. The last one's rest is still to come."""
    lanes, per_s = at_once(pressure, cores), rest(pressure, cores)
    passed_s = sum(each * (1 + per_s) for each in took) / lanes
    assert sum(took) * COST <= SHARE * cores * passed_s * 1.000001 or lanes * COST <= SHARE * cores


@given(CORES, st.floats(0, CALM))
def test_on_a_node_with_cpus_to_spare_nothing_rests(cores: int, pressure: float) -> None:
    assert rest(pressure, cores) == 0
    assert at_once(pressure, cores) == AT_ONCE


@given(CORES, st.floats(0, 1), st.floats(0, 1))
def test_more_pressure_never_means_less_rest(cores: int, one: float, other: float) -> None:
    assert rest(min(one, other), cores) <= rest(max(one, other), cores) <= rest(None, cores)
    assert at_once(max(one, other), cores) <= at_once(min(one, other), cores)


def test_a_large_node_has_no_need_to_rest() -> None:
    assert rest(1.0, 2) == 3.0
    assert [rest(1.0, cores) for cores in (8, 16, 64)] == [0, 0, 0]
    assert [at_once(1.0, cores) for cores in (2, 8, 16, 64)] == [1, 1, 2, 2]


@given(st.floats(0, 1e4), st.lists(st.floats(0.01, 100), max_size=20), st.floats(0.01, 10))
def test_however_often_it_is_looked_the_rest_is_as_long(owed_s: float, steps: list[float], per_s: float) -> None:
    left_s = owed_s
    for step in steps:
        left_s = owed_after(left_s, step, per_s)
    assert abs(left_s - owed_after(owed_s, sum(steps), per_s)) < 1e-3


@given(st.floats(0, 1e4), st.none() | st.floats(0, 1), CORES)
def test_what_is_demanded_never_rests(owed_s: float, pressure: float | None, cores: int) -> None:
    asked = claim(demanded=True)
    assert may_start(asked, under_way=1, owed_s=owed_s, pressure=pressure, cores=cores)
    assert not may_start(asked, under_way=AT_ONCE, owed_s=owed_s, pressure=pressure, cores=cores)


def test_what_rests_starts_once_nothing_is_owed() -> None:
    busy = {"pressure": 1.0, "cores": 2}
    assert not may_start(claim(), under_way=0, owed_s=0.1, **busy)  # type: ignore[arg-type]
    assert not may_start(claim(), under_way=1, owed_s=0.0, **busy)  # type: ignore[arg-type]
    assert may_start(claim(), under_way=0, owed_s=0.0, **busy)  # type: ignore[arg-type]


def test_the_order_is_demanded_then_first_then_overdue_for_longest() -> None:
    wanted = [claim(demanded=True), claim(first=True), claim(due_s=-INF), claim(due_s=10), claim(due_s=3600)]
    for one, other in itertools.combinations(wanted, 2):
        assert one.order < other.order


def test_an_older_one_gives_way_to_a_newer_one_of_its_container_and_to_a_demand() -> None:
    assert gives_way(claim("ck1"), claim("ck2"))
    assert gives_way(claim("ck2"), claim("ck1", demanded=True))
    assert not gives_way(claim("ck2"), claim("ck1"))
    assert not gives_way(claim("ck1"), claim("ck1")), "delivered again"
    assert not gives_way(claim("ck1", demanded=True), claim("ck2"))
    assert not gives_way(claim("ck1"), claim("ck2", container="other"))


def test_the_smallest_node_still_takes_checkpoints() -> None:
    assert allowance(1) > 0
    assert at_once(1.0, 1) == 1
