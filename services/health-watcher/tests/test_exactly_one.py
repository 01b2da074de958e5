"""I1, I6 and I9 explored: no history of faults makes two, or none (simulated.py)."""

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from reprise.contracts.events import FailoverDeclared, NodeLost
from reprise.health_watcher.fences import Fences
from reprise.restorer import fences as restorers
from simulated import Fault, FaultKind, Scenario, promised, run, timeline

# Durations about the limits: shorter than a lease, between freezing and giving up, and long.
durations = st.sampled_from([0.5, 2.5, 4.5, 5.5, 7.0, 12.0, 20.0])
times = st.integers(20, 200).map(lambda tenths: tenths / 10)
faults = st.builds(Fault, st.sampled_from(FaultKind.__args__), times, durations)  # type: ignore[attr-defined]
scenarios = st.builds(
    Scenario,
    faults=st.lists(faults, min_size=1, max_size=4).map(tuple),
    node_rate=st.floats(0.95, 1.05),
    arbiter_rate=st.floats(0.95, 1.05),
    message_delays_s=st.lists(st.sampled_from([0.0, 0.5, 2.0, 4.0, 15.0]), min_size=1, max_size=3).map(tuple),
    watch_delay_s=st.sampled_from([0.0, 0.05, 0.5]),
    freeze_s=st.sampled_from([0.02, 0.5]),
    loses_replies=st.booleans(),
    standby_from_s=st.sampled_from([0.0, 0.0, 8.0, 20.0]),
    create_s=st.sampled_from([0.15, 0.15, 4.0]),
).filter(promised)


DIRECTED = [
    Scenario((Fault("cut", 5.0, 7.0),)),
    Scenario((Fault("cut", 5.0, 7.0),), message_delays_s=(4.0, 0.0)),
    Scenario((Fault("cut", 5.0, 5.5),), message_delays_s=(3.0,)),
    Scenario((Fault("cut", 5.0, 12.0), Fault("agent-restart", 6.0, 0.3))),
    Scenario((Fault("cut", 5.0, 7.0), Fault("agent-restart", 7.7, 0.3))),
    Scenario((Fault("cut", 5.0, 12.0),), standby_from_s=20.0),
    Scenario((Fault("node-off", 5.0, 20.0),)),
    Scenario((Fault("node-off", 2.0, 4.5),), message_delays_s=(4.0,)),
    Scenario((Fault("node-off", 5.0, 30.0),), standby_from_s=20.0),
    Scenario((Fault("agent-dead", 5.0, 20.0),)),
    Scenario((Fault("cut", 5.0, 12.0), Fault("restorer-dead", 9.0, 9.0))),
    Scenario((Fault("cut", 5.0, 6.0), Fault("cut", 13.0, 20.0))),
    Scenario((Fault("nats-down", 5.0, 15.0), Fault("api-down", 8.0, 15.0))),
    # What is frozen is killed, and its kubelet starts it again: while its node is cut off, and as it returns.
    Scenario((Fault("cut", 5.0, 20.0), Fault("unhealthy", 12.0, 0.3))),
    Scenario((Fault("cut", 5.0, 7.0), Fault("unhealthy", 10.0, 0.3))),
    Scenario((Fault("cut", 5.0, 5.5), Fault("unhealthy", 9.0, 0.3)), message_delays_s=(3.0,)),
]


def test_a_declaration_that_is_late_does_not_join_a_node_that_returned() -> None:
    """One history in the fast loop; the others are long."""
    world = run(Scenario((Fault("cut", 5.0, 5.5),), message_delays_s=(3.0,)))
    assert any("NodeReturned" in line or "came back first" in line for line in world.timeline), timeline(world)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize("scenario", DIRECTED, ids=lambda s: "+".join(f.kind for f in s.faults))
def test_one_instance_at_every_moment_and_one_at_the_end(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


SET_BACK = {
    "before it is given up": Scenario((Fault("cut", 5.0, 7.5),), set_back_at_s=6.0),
    "between release and adoption, as the node returns": Scenario((Fault("cut", 5.0, 6.0),), set_back_at_s=9.44),
    "after its failover": Scenario((Fault("cut", 5.0, 7.5),), set_back_at_s=11.2),
    "after it returned, and a restorer is late": Scenario(
        (Fault("cut", 5.0, 5.5), Fault("restorer-dead", 9.0, 4.8)), set_back_at_s=12.0
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("scenario", SET_BACK.values(), ids=SET_BACK)
def test_a_nats_that_is_set_back_makes_no_two(scenario: Scenario) -> None:
    """What had been let run elsewhere may be discarded for the old one, if the record of that is lost: docs/adr/0021."""
    world = run(scenario)
    assert "NATS is back" in timeline(world)
    assert "two run at once" not in world.violation, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize(
    ("owner", "remedy", "instead"), [(Fences, "_fenced_by", ""), (restorers.Fences, "_returned", None)],
    ids=["what is written on the pod", "a look at the node's lease"],
)  # fmt: skip
def test_each_remedy_for_a_nats_that_is_set_back_is_needed(
    owner: type, remedy: str, instead: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without(*_: object) -> str | None:
        return instead

    monkeypatch.setattr(owner, remedy, without)
    assert any("two run at once" in run(scenario).violation for scenario in SET_BACK.values())


@pytest.mark.long
@pytest.mark.parametrize("kind", ["nats-down", "api-down", "cut-nats", "cut-api", "restorer-dead"])
def test_one_thing_away_freezes_nobody_and_fails_nobody_over(kind: FaultKind) -> None:
    world = run(Scenario((Fault(kind, 5.0, 30.0),)))
    assert not world.ever_frozen, timeline(world)
    assert not [e for e in world.server.events.values() if isinstance(e, NodeLost)], timeline(world)
    assert world.running() == 1


def test_an_agent_that_starts_freezes_nothing_if_it_can_renew_soon() -> None:
    """As after an update of it, on a busy node: its first tries fail."""
    world = run(Scenario((Fault("agent-dead", 5.0, 6.0), Fault("nats-down", 10.5, 2.5), Fault("api-down", 10.5, 2.5))))
    assert not world.ever_frozen, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
def test_everyone_blind_at_once_fails_nobody_over() -> None:
    world = run(Scenario((Fault("nats-down", 5.0, 20.0), Fault("api-down", 5.0, 20.0))))
    assert not [e for e in world.server.events.values() if isinstance(e, FailoverDeclared)], timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
@given(scenarios)
def test_no_history_of_faults_makes_two(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


def test_what_is_killed_while_its_node_is_cut_off_is_not_started_again_there() -> None:
    """On cgroup v2 SIGKILL ends what is frozen: its engine refuses, without anybody to ask."""
    killed = Scenario((Fault("cut", 5.0, 20.0), Fault("unhealthy", 12.0, 0.3)))
    world = run(killed)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)
    assert "two run at once" in run(killed, "engine").violation, "a runtime that does not ask"


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["margin", "fence+believes", "ask-kubelet", "engine", "asks-first", "wait-first", "pod"])
def test_each_rule_is_needed(mutant: str) -> None:
    """Broken on purpose, each makes two run at once in a history that is explored anyway; else this model proves nothing."""
    broken = next((world for scenario in reversed(DIRECTED) if (world := run(scenario, mutant)).violation), None)
    assert broken, f"without {mutant} nothing went wrong"
    assert "VIOLATION" in timeline(broken)


KILLED = Fault("unhealthy", 8.5, 0.3)
NOBODY_DELETES_IT = Fault("restorer-dead", 9.40, 20.0)
"""From right before the restored one runs on, so the old pod stays."""
ENGINE = {
    # Its lease ran out while CRIU restored it.
    "second-look": Scenario((Fault("cut", 5.0, 20.0), Fault("unhealthy", 5.2, 0.3)), create_s=4.0),
    # NATS is back, and takes the lease; the API server, which is asked before the fence, is not.
    "wait": Scenario((Fault("cut", 5.0, 7.0), Fault("cut-api", 5.0, 20.0), KILLED)),
    "refuse": Scenario((Fault("cut", 5.0, 7.0), KILLED, NOBODY_DELETES_IT)),
    # The agent comes later than its kubelet.
    "boot": Scenario((Fault("node-off", 5.0, 7.0), Fault("agent-dead", 11.0, 9.0), NOBODY_DELETES_IT)),
    # Either would do while the agent is alive; only the lease is there before the agent has noticed.
    "lease+wait": Scenario((Fault("cut", 5.0, 20.0), KILLED)),
}


@pytest.mark.long
@pytest.mark.parametrize("rule", ENGINE)
def test_each_refusal_of_the_engine_is_needed(rule: str) -> None:
    world = run(ENGINE[rule])
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)
    assert "two run at once" in run(ENGINE[rule], rule).violation, f"without {rule} nothing went wrong"


@pytest.mark.long
def test_exploring_finds_a_broken_rule_by_itself() -> None:
    """The others are found as well, but only after minutes."""
    limits = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    try:
        found = find(scenarios, lambda scenario: bool(run(scenario, "margin").violation), settings=limits)
    except NoSuchExample:
        pytest.fail("without margin nothing went wrong")
    print(timeline(run(found, "margin")))
