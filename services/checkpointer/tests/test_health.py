"""I2: a checkpoint counts only if its container was healthy before and after, by its own probes, as its node's agent runs them.
I6: what its kubelet tolerates is no harm.
"""

from types import SimpleNamespace
from typing import Any

import looptime
import pytest
from reprise.checkpointer.dumping import Dumping
from reprise.checkpointer.handlers import Handlers
from reprise.checkpointer.testing import STUB, WELL, Machine, agent_says
from reprise.checkpointer.turns import Turns
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointDue, CheckpointTaken, Trigger
from reprise.contracts.model import Target, Workload, now
from reprise.contracts.records import Checkup
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.testing import MemoryBus, MemoryServer

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = ProtectedPod(
    WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False,
    (ProtectedContainer("counter", "counter:1", "c1", running=True),),
)  # fmt: skip
ILL = Checkup(healthy=False, detail="HTTP 503", tolerated_s=15.0)
GONE = Checkup(healthy=False, runs=False, detail="it does not run on this node")
UNPROBED = Checkup(healthy=False, detail="ReadTimeout")


class Recorder:
    async def record(self, *_: str) -> None:
        """Nobody reads it."""


async def outcome(*told: Checkup, hold: bool = False, trigger: Trigger = "interval") -> Any:
    """What is told of a checkpoint; told: what the agent says, one answer after the other."""
    server, node = MemoryServer(), Machine()
    if told:
        agent_says(server, *told)
    parts: Any = (
        MemoryBus(server),
        SimpleNamespace(pods={"u1": POD}),
        Dumping(node, node, node, 120.0),
        None,
        Recorder(),
        Turns(lambda: 0.0, 2),
    )
    due = CheckpointDue(
        node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="move" if hold else trigger, due_at=now(),
        interval_s=10, keep=3, hold=hold,
    )  # fmt: skip
    await Handlers(*parts).on_due(due)
    [event] = server.events.values()
    return event


async def test_its_nodes_agent_is_asked_of_this_very_instance() -> None:
    server, node = MemoryServer(), Machine()
    asked = agent_says(server, WELL)
    parts: Any = (
        MemoryBus(server),
        SimpleNamespace(pods={"u1": POD}),
        Dumping(node, node, node, 120.0),
        None,
        Recorder(),
        Turns(lambda: 0.0, 2),
    )
    due = CheckpointDue(
        node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="interval", due_at=now(), interval_s=10, keep=3
    )
    await Handlers(*parts).on_due(due)
    assert [(each.pod_uid, each.container, each.container_id) for each in asked] == [("u1", "counter", "c1")] * 2


async def test_what_is_ill_before_is_not_checkpointed() -> None:
    assert (await outcome(ILL)).reason == "UnhealthyBefore"


async def test_what_is_still_starting_up_by_its_own_spec_is_skipped_and_told_as_such() -> None:
    event = await outcome(ILL.model_copy(update={"grace_s": 20.0}))
    assert (event.TYPE, event.reason) == ("checkpoint.skipped", "StartingUp")


async def test_what_nobody_can_tell_to_be_healthy_is_not_checkpointed() -> None:
    event = await outcome()
    assert event.reason == "AgentAway"
    assert "health-watcher" in event.remedy


@pytest.mark.parametrize("times", [1, 4, 28])
async def test_one_that_says_for_a_while_that_it_is_ill_counts_once_it_is_well_again(times: int) -> None:
    """case 13: half a second each, and its kubelet tolerates 15 s."""
    assert isinstance(await outcome(WELL, *[ILL] * times, WELL), CheckpointTaken)


async def test_one_that_is_ill_for_longer_than_its_kubelet_tolerates_was_harmed(looptime: looptime.LoopTimeProxy) -> None:
    event = await outcome(WELL, ILL)
    assert (event.reason, event.slot, event.archive_path) == ("UnhealthyAfter", "default/u1/counter/ck1", STUB)
    assert "15 s" in event.message
    assert 15 <= looptime < 16


async def test_one_that_was_ended_while_its_probe_failed_was_harmed() -> None:
    assert (await outcome(WELL, ILL, GONE)).reason == "UnhealthyAfter"


async def test_one_that_ended_while_its_probe_passed_was_not() -> None:
    assert (await outcome(WELL, GONE)).reason == "OtherContainer"


async def test_one_that_its_kubelet_would_never_end_is_not_said_to_be_harmed(looptime: looptime.LoopTimeProxy) -> None:
    """It has no livenessProbe; its checkpoint does not count all the same."""
    assert (await outcome(WELL, UNPROBED)).reason == "UnhealthyStill"
    assert looptime < 6


async def test_one_whose_patience_is_endless_is_not_waited_for_without_end(looptime: looptime.LoopTimeProxy) -> None:
    assert (await outcome(WELL, ILL.model_copy(update={"tolerated_s": 3600.0}))).reason == "UnhealthyStill"
    assert looptime < 61


async def test_within_its_grace_nothing_is_harm(looptime: looptime.LoopTimeProxy) -> None:
    """It was restored just before: what counts begins when its livenessProbe does."""
    starting = [ILL.model_copy(update={"grace_s": 1.0})] * 40
    assert (await outcome(WELL, *starting, ILL)).reason == "UnhealthyAfter"
    assert looptime >= 20 + 15 - 1


async def test_an_agent_that_is_updated_meanwhile_is_waited_for() -> None:
    silent = Checkup(healthy=False, detail="no answer", told=False)
    assert isinstance(await outcome(WELL, silent, silent, WELL), CheckpointTaken)


async def test_the_last_checkpoint_before_a_move_waits_for_the_pause_of_the_one_before_to_be_over() -> None:
    assert isinstance(await outcome(ILL, ILL, WELL, hold=True), CheckpointTaken)


async def test_the_first_checkpoint_waits_for_what_has_just_started_to_serve() -> None:
    """The next one may be due in an hour."""
    assert isinstance(await outcome(ILL, ILL.model_copy(update={"grace_s": 20.0}), ILL, WELL, trigger="first"), CheckpointTaken)


async def test_the_first_checkpoint_does_not_wait_for_ever(looptime: looptime.LoopTimeProxy) -> None:
    assert (await outcome(*[ILL] * 100, trigger="first")).reason == "UnhealthyBefore"
    assert 19 <= looptime <= 21
