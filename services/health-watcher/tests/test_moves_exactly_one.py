"""Planned moves explored beside faults: never two, never a lost increment, and at the end exactly one (simulated.py)."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from simulated import Fault, FaultKind, Scenario, promised, run, timeline

ASKED_S = 8.0


def ends(scenario: Scenario, *, on: str = "") -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1 or world.moving(), timeline(world)
    if on == "n1":
        assert world.old_runs and not world.stands, timeline(world)
    if on == "n2":
        assert not world.old_runs or world.stands, timeline(world)


def test_a_move_that_nothing_disturbs_ends_on_the_other_node() -> None:
    ends(Scenario((), move_at_s=ASKED_S), on="n2")


ABORTS = {
    "it is not restored there": Scenario((), move_at_s=ASKED_S, restores=False),
    "the end of the dump is missed": Scenario((), move_at_s=ASKED_S, misses=True),
    "there is no node to go to": Scenario((), move_at_s=ASKED_S, standby_from_s=70.0),
    "its last checkpoint is not stored in time": Scenario((), move_at_s=ASKED_S, stored_after_s=40.0),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.long] if n else []) for n, name in enumerate(ABORTS)])
def test_a_move_that_does_not_succeed_leaves_it_running_where_it_was(name: str) -> None:
    ends(ABORTS[name], on="n1")


@pytest.mark.parametrize("stored_after_s", [0.1, 3.0])
@pytest.mark.parametrize("at_s", [8.4, 9.0])
def test_what_its_kubelet_starts_in_place_of_what_stands_still_does_not_run(at_s: float, stored_after_s: float) -> None:
    ends(Scenario((Fault("unhealthy", at_s, 0.3),), move_at_s=ASKED_S, stored_after_s=stored_after_s), on="n2")


@pytest.mark.parametrize("at_s", [pytest.param(8.1, id="before"), pytest.param(8.25, id="in the middle of")])
def test_what_dies_before_its_last_checkpoint_has_ended_is_restarted_where_it_was(at_s: float) -> None:
    ends(Scenario((Fault("unhealthy", at_s, 0.3),), move_at_s=ASKED_S), on="n1")


@pytest.mark.long
def test_what_may_run_just_as_it_is_being_frozen_runs() -> None:
    """Its freezing ends first: thawed before that, it would stand still for ever, and on no list."""
    kubelets = Fault("unhealthy", 12.1, 2.5)
    world = run(Scenario((kubelets,), message_delays_s=(0.5,), move_at_s=6.6, restores=False))
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
def test_messages_that_are_late_or_doubled_hold_nothing_for_ever() -> None:
    ends(Scenario((), move_at_s=ASKED_S, message_delays_s=(25.0, 0.0, 2.0)))
    ends(Scenario((), move_at_s=ASKED_S, message_delays_s=(15.0,)))


@pytest.mark.long
def test_a_checkpoint_that_begins_after_its_hold_has_ended_leaves_nothing_frozen() -> None:
    world = run(Scenario((), move_at_s=ASKED_S, message_delays_s=(7.0,), hold_s=5.0))
    assert any("thawed" in line for line in world.timeline), timeline(world)
    assert not world.violation, timeline(world)


durations = st.sampled_from([0.5, 2.5, 4.5, 5.5, 7.0, 12.0, 20.0])
times = st.integers(60, 140).map(lambda tenths: tenths / 10)
faults = st.builds(Fault, st.sampled_from(FaultKind.__args__), times, durations)  # type: ignore[attr-defined]
scenarios = st.builds(
    Scenario,
    faults=st.lists(faults, min_size=0, max_size=3).map(tuple),
    node_rate=st.floats(0.95, 1.05),
    message_delays_s=st.lists(st.sampled_from([0.0, 0.0, 0.5, 2.0, 15.0]), min_size=1, max_size=3).map(tuple),
    freeze_s=st.sampled_from([0.02, 0.5]),
    loses_replies=st.booleans(),
    standby_from_s=st.sampled_from([0.0, 0.0, 0.0, 20.0]),
    move_at_s=times,
    misses=st.sampled_from([False, False, False, True]),
    stored_after_s=st.sampled_from([0.1, 0.1, 3.0, 40.0]),
    hold_s=st.sampled_from([20.0, 20.0, 4.0]),
    restores=st.sampled_from([True, True, False]),
).filter(promised)


@pytest.mark.long
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
@given(scenarios)
def test_no_history_of_faults_makes_a_move_lose_or_double_anything(scenario: Scenario) -> None:
    ends(scenario)


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["fence+record-first", "asks-first"])
def test_each_rule_is_needed(mutant: str) -> None:
    """A node that lets go of a hold says so in its record first, and writes the fence after that: either would do."""
    late = (Scenario((), move_at_s=ASKED_S, message_delays_s=(delay_s,)) for delay_s in (15.0, 2.0))
    restarted = (Scenario((Fault("agent-restart", at_s, 0.3),), move_at_s=ASKED_S, stored_after_s=3.0) for at_s in (8.25, 9.0))
    fenced = Scenario((Fault("agent-restart", 8.5, 0.3),), move_at_s=ASKED_S)
    histories = [fenced, *late, *restarted, *ABORTS.values()]
    assert any(run(scenario, mutant).violation for scenario in histories), f"without {mutant} nothing went wrong"
