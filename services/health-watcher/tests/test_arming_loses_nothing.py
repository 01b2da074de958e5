"""Arming explored beside faults: never two, at the end exactly one; and what the process did is in what it goes on from, unless
it could not be held (simulated.py).
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from simulated import Fault, FaultKind, Scenario, World, promised, run, timeline

ASKED_S = 8.0


def ends(scenario: Scenario) -> World:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1 or world.moving(), timeline(world)
    return world


def test_an_arming_that_nothing_disturbs_goes_on_from_where_it_stood_still() -> None:
    world = ends(Scenario((), arm_at_s=ASKED_S))
    assert world.armed_from
    assert not world.lossy


LOSSY = {
    "the end of the dump is missed": Scenario((), arm_at_s=ASKED_S, misses=True),
    "its last checkpoint is not stored in time": Scenario((), arm_at_s=ASKED_S, stored_after_s=40.0),
}


@pytest.mark.parametrize("name", LOSSY)
def test_what_cannot_be_held_is_armed_all_the_same(name: str) -> None:
    world = ends(LOSSY[name])
    assert world.armed_from
    assert world.lossy


@pytest.mark.parametrize("at_s", [8.1, 8.2, 8.3, 8.6])
def test_a_kubelet_that_ends_what_stands_still_costs_nothing(at_s: float) -> None:
    assert ends(Scenario((Fault("unhealthy", at_s, 0.3),), arm_at_s=ASKED_S, stored_after_s=1.0)).armed_from


def killed(at_s: float) -> Scenario:
    """The restorer, for longer than the process may stand still."""
    return Scenario((Fault("restorer-dead", at_s, 12.0),), arm_at_s=ASKED_S, hold_s=4.0)


MOMENTS_S = [8.33, 8.37, 8.38, 8.39, 8.4, 8.42]


@pytest.mark.long
@pytest.mark.parametrize("at_s", MOMENTS_S)
def test_a_restorer_that_is_away_for_too_long_does_not_take_what_ran_on(at_s: float) -> None:
    assert ends(killed(at_s)).armed_from


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["claim", "record-first"])
def test_each_rule_is_needed(mutant: str) -> None:
    assert any(run(killed(at_s), mutant).violation for at_s in MOMENTS_S), f"without {mutant} nothing went wrong"


durations = st.sampled_from([0.5, 2.5, 4.5, 5.5, 7.0, 12.0, 20.0])
times = st.integers(60, 140).map(lambda tenths: tenths / 10)
kinds = st.sampled_from([kind for kind in FaultKind.__args__ if kind != "unhealthy"])  # type: ignore[attr-defined]
"""Blank instances, and who holds them, are not simulated."""
scenarios = st.builds(
    Scenario,
    faults=st.lists(st.builds(Fault, kinds, times, durations), min_size=0, max_size=3).map(tuple),
    node_rate=st.floats(0.95, 1.05),
    message_delays_s=st.lists(st.sampled_from([0.0, 0.0, 0.5, 2.0, 15.0]), min_size=1, max_size=3).map(tuple),
    freeze_s=st.sampled_from([0.02, 0.5]),
    loses_replies=st.booleans(),
    arm_at_s=times,
    misses=st.sampled_from([False, False, False, True]),
    stored_after_s=st.sampled_from([0.1, 0.1, 3.0, 40.0]),
    hold_s=st.sampled_from([20.0, 20.0, 4.0]),
).filter(promised)


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
@given(scenarios)
def test_no_history_of_faults_makes_an_arming_lose_or_double_anything(scenario: Scenario) -> None:
    ends(scenario)
