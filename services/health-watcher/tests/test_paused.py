"""A whole node that is paused, and a state disk that takes nothing, explored with agent, arbiter and saga (simulated.py)."""

import pytest
from reprise.contracts.events import NodeLost
from simulated import Fault, Scenario, run, timeline

SEEN = Scenario((Fault("paused", 5.0, 12.0),))
UNSEEN = Scenario((Fault("paused-unseen", 5.0, 12.0),))
PAUSED = {
    "its clock sees it": SEEN,
    "its clock does not": UNSEEN,
    "for two minutes": Scenario((Fault("paused-unseen", 5.0, 40.0),)),
    "for less than it takes to give it up": Scenario((Fault("paused", 5.0, 4.0),)),
    "and is cut off as it goes on": Scenario((Fault("paused-unseen", 5.0, 12.0), Fault("cut", 16.0, 12.0))),
    "and NATS is out of its reach then": Scenario((Fault("paused-unseen", 5.0, 12.0), Fault("cut-nats", 16.0, 20.0))),
    "and the API server is": Scenario((Fault("paused-unseen", 5.0, 12.0), Fault("cut-api", 16.0, 20.0))),
    "in the middle of a partition": Scenario((Fault("cut", 4.0, 14.0), Fault("paused-unseen", 6.0, 6.0))),
    "twice": Scenario((Fault("paused-unseen", 5.0, 7.0), Fault("paused", 16.0, 7.0))),
    "late messages": Scenario((Fault("paused-unseen", 5.0, 12.0),), message_delays_s=(4.0, 0.0)),
    "its agent is restarted as it goes on": Scenario((Fault("paused-unseen", 5.0, 12.0), Fault("agent-restart", 17.05, 0.3))),
}
FULL = {
    "the state disk, and cut off": Scenario((Fault("disk-full", 3.0, 30.0), Fault("cut", 6.0, 12.0))),
    "tmpfs, and cut off": Scenario((Fault("run-full", 3.0, 30.0), Fault("cut", 6.0, 12.0))),
    "tmpfs, a restart, and cut off": Scenario(
        (Fault("run-full", 0.0, 40.0), Fault("agent-restart", 6.0, 0.3), Fault("cut", 6.1, 20.0))
    ),
}


def long_but(name: str, cases: dict[str, Scenario]) -> list[object]:
    return [pytest.param(case, id=each, marks=[] if each == name else [pytest.mark.long]) for each, case in cases.items()]


@pytest.mark.parametrize("scenario", long_but("its clock does not", PAUSED))
def test_a_paused_node_runs_beside_its_successor_for_no_longer_than_is_documented(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.parametrize("scenario", long_but("the state disk, and cut off", FULL))
def test_a_disk_that_takes_nothing_makes_no_second_instance(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
def test_a_node_whose_state_disk_is_full_is_given_up_as_any_other_and_one_whose_tmpfs_is_full_is_not() -> None:
    for name, lost in (("the state disk, and cut off", True), ("tmpfs, and cut off", False)):
        world = run(FULL[name])
        assert any(isinstance(e, NodeLost) for e in world.server.events.values()) is lost, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize(
    ("mutant", "broken"),
    [
        # Its kubelet, which would end it, does not know that its pod is deleted.
        ("blind-put", PAUSED["and the API server is"]),
        ("takes-nothing-away+believes", PAUSED["and the API server is"]),
        ("monotonic", Scenario((Fault("paused", 5.0, 12.0), Fault("cut", 16.0, 12.0)))),
        ("record-before-freezing", FULL["the state disk, and cut off"]),
        ("can-freeze-anyway", FULL["tmpfs, a restart, and cut off"]),
    ],
)
def test_each_rule_is_needed(mutant: str, broken: Scenario) -> None:
    """Broken on purpose, each makes two run at once for longer than is documented."""
    world = run(broken, mutant)
    assert "two run at once" in world.violation, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize("mixed", ["blind-put", "takes-nothing-away"])
def test_an_agent_from_before_and_an_arbiter_of_now_make_no_two_and_the_other_way_round(mixed: str) -> None:
    """While no node is paused: against that, both have to be of now."""
    for scenario in (
        Scenario((Fault("cut", 5.0, 7.0),), message_delays_s=(4.0, 0.0)),
        Scenario((Fault("cut", 5.0, 12.0), Fault("agent-restart", 6.0, 0.3))),
        Scenario((Fault("node-off", 5.0, 20.0),)),
    ):
        world = run(scenario, mixed)
        assert not world.violation, timeline(world)
        assert world.running() == 1, timeline(world)
