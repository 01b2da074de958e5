"""Each due event is one checkpoint, however often it is delivered, whenever it comes, and whatever the wall clock says."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.checkpointer import handlers as handlers_module
from reprise.checkpointer.decide import Failure
from reprise.checkpointer.dumping import Dumping
from reprise.checkpointer.handlers import Handlers
from reprise.checkpointer.pace import Claim
from reprise.checkpointer.testing import STUB, WELL, Machine, agent_says, fails
from reprise.checkpointer.turns import Turns
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import Checkup
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


OTHERS = Claim(("u0", "counter"), "ck0", demanded=False, first=False, due_s=0.0)
"""Another container's, which keeps the node busy."""


class Node(Machine):
    """With clocks."""

    def __init__(self) -> None:
        super().__init__()
        self.monotonic_s, self.wall_s = 100.0, 1_790_000_000.0

    @property
    def taken(self) -> int:
        return self.story.count("kubelet")

    def monotonic(self) -> float:
        return self.monotonic_s

    def time(self) -> float:
        return self.wall_s

    def passes(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_s += seconds


class Recorder:
    async def record(self, *_: str) -> None:
        """Nobody reads it."""


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    found = Node()
    monkeypatch.setattr(handlers_module, "time", found)
    return found


@pytest.fixture
def server() -> MemoryServer:
    made = MemoryServer()
    agent_says(made, WELL)
    return made


@pytest.fixture
def handlers(node: Node, server: MemoryServer) -> Handlers:
    container = ProtectedContainer("counter", "localhost/counter:1", "c1", running=True)
    pod = ProtectedPod(WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False,
                       (container,))  # fmt: skip
    parts: Any = (
        MemoryBus(server),
        SimpleNamespace(pods={"u1": pod}),
        Dumping(node, node, node, 120.0),
        None,
        Recorder(),
        Turns(lambda: 0.0, 2),
    )
    return Handlers(*parts)


def due(name: str, at: datetime | None = None) -> CheckpointDue:
    return CheckpointDue(
        node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="interval", due_at=at or datetime.now(UTC),
        interval_s=10, keep=3,
    )  # fmt: skip


async def test_an_event_that_is_delivered_again_is_one_checkpoint(handlers: Handlers, node: Node, server: MemoryServer) -> None:
    for _ in range(3):
        await handlers.on_due(due("ck1"))
        node.passes(60)
    assert node.taken == 1
    assert list(server.events) == ["taken-ck1"]


async def test_a_moves_last_checkpoint_that_was_overtaken_freezes_nothing(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    await handlers.on_due(due("ck2"))
    await handlers.on_due(due("ck1").model_copy(update={"hold": True, "trigger": "move"}))
    assert (node.taken, list(server.events)) == (1, ["taken-ck2", "failed-ck1"])
    assert server.events["failed-ck1"].reason == "Overtaken"  # type: ignore[attr-defined]


async def test_what_could_not_be_told_is_told_when_it_is_delivered_again(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    async def away(when: str, _what: str) -> None:
        if when == "before":
            raise TimeoutError

    handlers._bus = MemoryBus(server, away)
    with pytest.raises(TimeoutError):
        await handlers.on_due(due("ck1"))
    handlers._bus = MemoryBus(server)
    await handlers.on_due(due("ck1"))
    assert (node.taken, list(server.events)) == (1, ["taken-ck1"])


async def test_a_failure_is_told_again_and_not_tried_again(handlers: Handlers, node: Node, server: MemoryServer) -> None:
    node.answer = Failure("CriuFailed", "no", "nothing")
    for _ in range(2):
        await handlers.on_due(due("ck1"))
    assert (node.taken, list(server.events)) == (1, ["failed-ck1"])


async def test_what_would_not_be_restored_is_not_checkpointed_either(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    """A good checkpoint would say that the pod is protected."""
    [pod] = handlers._pods.pods.values()
    handlers._pods.pods["u1"] = replace(pod, containers=(replace(pod.containers[0], interactive=True),))
    await handlers.on_due(due("ck1"))
    assert (node.taken, list(server.events)) == (0, ["failed-ck1"])


async def test_of_those_that_waited_for_this_node_one_is_taken_and_the_others_are_told_as_skipped(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    for name in ("ck1", "ck2", "ck3"):
        await handlers.on_due(due(name))
        node.passes(0.2)
    node.passes(10)
    await handlers.on_due(due("ck2"))  # delivered again when it would be due: still skipped
    await handlers.on_due(due("ck4"))
    assert node.taken == 2
    assert list(server.events) == ["taken-ck1", "skipped-ck2", "skipped-ck3", "taken-ck4"]


@pytest.mark.parametrize("jump_s", [-86400.0, 86400.0])
async def test_a_wall_clock_that_jumps_does_not_stop_the_checkpoints(handlers: Handlers, node: Node, jump_s: float) -> None:
    await handlers.on_due(due("ck1"))
    node.passes(10)
    node.wall_s += jump_s
    await handlers.on_due(due("ck2", datetime.now(UTC) - timedelta(seconds=jump_s)))
    assert node.taken == 2


async def test_what_is_told_names_the_slot_and_how_long_the_process_could_not_run(
    handlers: Handlers, server: MemoryServer
) -> None:
    await handlers.on_due(due("ck1"))
    event: Any = server.events["taken-ck1"]
    assert (event.slot, event.pause_s, event.archive_path, event.held) == ("default/u1/counter/ck1", 0.14, STUB, False)


async def test_what_passes_by_itself_is_tried_once_more_and_what_is_to_be_held_is_not(
    handlers: Handlers, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(_seconds: float) -> None: ...

    monkeypatch.setattr(handlers_module.asyncio, "sleep", at_once)
    node.engine = fails("Error (criu/sk-inet.c): In-flight connection (l) for 1f")
    await handlers.on_due(due("ck1"))
    assert node.taken == 2
    node.passes(60)
    await handlers.on_due(due("ck2").model_copy(update={"hold": True, "trigger": "move"}))
    assert node.taken == 3


async def test_while_its_process_stands_still_for_a_move_what_is_due_is_skipped(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    await handlers.on_due(due("ck1").model_copy(update={"hold": True, "trigger": "move"}))
    node.passes(60)
    agent_says(server, Checkup(healthy=False, detail="it stands still"))
    await handlers.on_due(due("ck2"))
    assert list(server.events) == ["taken-ck1", "skipped-ck2"]


@pytest.mark.parametrize(
    "other",
    [
        {"target": TARGET.model_copy(update={"pod": "another-pod"})},
        {"target": TARGET.model_copy(update={"node": "n2"})},
        {"target": TARGET.model_copy(update={"container_id": "c2"})},
        {"target": TARGET.model_copy(update={"container_id": ""})},
        {"workload": Workload(namespace="default", name="another")},
        {"workload": Workload(namespace="another", name="counter")},
    ],
    ids=["pod", "node", "container", "no container", "workload", "namespace"],
)
async def test_what_names_another_pod_than_it_means_is_not_taken(
    handlers: Handlers, node: Node, server: MemoryServer, other: dict[str, Any]
) -> None:
    """Its memory would be stored as another workload's, and another pod be asked for at the kubelet."""
    await handlers.on_due(due("ck1").model_copy(update=other))
    assert node.taken == 0
    assert list(server.events) == ["failed-ck1"]


async def test_a_newer_one_takes_the_place_of_one_that_waits_for_a_busy_node(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    handlers._turns = Turns(lambda: 1.0, 2)
    async with handlers._turns.turn(OTHERS):
        older = asyncio.create_task(handlers.on_due(due("ck1")))
        await asyncio.sleep(0.05)
        newer = asyncio.create_task(handlers.on_due(due("ck2")))
        await older
        assert (node.taken, list(server.events)) == (0, ["skipped-ck1"])
        assert server.events["skipped-ck1"].reason == "NodeBusy"  # type: ignore[attr-defined]
    await newer
    assert (node.taken, list(server.events)) == (1, ["skipped-ck1", "taken-ck2"])


async def test_a_move_does_not_wait_behind_what_waits_for_a_busy_node(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    """Nor does it matter which of the two is named later."""
    handlers._turns = Turns(lambda: 1.0, 2)
    async with handlers._turns.turn(OTHERS):
        waiting = [asyncio.create_task(handlers.on_due(due(name))) for name in ("ck1", "ck2", "ck4")]
        await asyncio.sleep(0.05)
        await handlers.on_due(due("ck3").model_copy(update={"hold": True, "trigger": "move"}))
        await asyncio.gather(*waiting)
    assert (node.taken, sorted(server.events)) == (1, ["skipped-ck1", "skipped-ck2", "skipped-ck4", "taken-ck3"])


async def test_one_that_waits_is_delivered_again_and_is_one_checkpoint_still(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    handlers._turns = Turns(lambda: 1.0, 2)
    async with handlers._turns.turn(OTHERS):
        both = [asyncio.create_task(handlers.on_due(due("ck1"))) for _ in range(2)]
        await asyncio.sleep(0.05)
    await asyncio.gather(*both)
    assert (node.taken, list(server.events)) == (1, ["taken-ck1"])


async def test_what_waited_is_probed_again_before_it_is_checkpointed(
    handlers: Handlers, node: Node, server: MemoryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers_module, "PROBE_HOLDS_S", 0.0)
    handlers._turns = Turns(lambda: 1.0, 2)
    async with handlers._turns.turn(OTHERS):
        waiting = asyncio.create_task(handlers.on_due(due("ck1")))
        await asyncio.sleep(0.05)
        agent_says(server, Checkup(healthy=False, detail="HTTP 503"))
    await waiting
    assert (node.taken, list(server.events)) == (0, ["failed-ck1"])
    assert server.events["failed-ck1"].reason == "UnhealthyBefore"  # type: ignore[attr-defined]


async def test_what_came_to_no_pause_makes_the_next_one_not_too_soon(
    handlers: Handlers, node: Node, server: MemoryServer
) -> None:
    """A container that has just been restored would be without a fresh checkpoint for another interval."""
    of_the_one_before = due("ck1").model_copy(update={"target": TARGET.but(container_id="c0")})
    await handlers.on_due(of_the_one_before)
    assert (node.taken, list(server.events)) == (0, ["failed-ck1"])
    node.passes(1.0)
    await handlers.on_due(due("ck2"))
    assert (node.taken, list(server.events)) == (1, ["failed-ck1", "taken-ck2"])
