"""What ends again soon after its restore in place is held back until its failover to another node is decided; and comes back
here if that is not to be.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playing import inline_threads, play, runs
from reprise.contracts.annotations import OnFailure
from reprise.contracts.events import FailoverDeclared
from reprise.contracts.model import elsewhere_id, failover_id
from reprise.contracts.records import CRASH_LOOP, Fence, HoldRecord
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.elsewhere import HOLD_S
from reprise.health_watcher.fences import number
from reprise.health_watcher.model import Failing
from reprise.health_watcher.rules.origin import FAILOVER
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus

BUG = 3
"""An exit code of its own."""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    inline_threads(monkeypatch)
    here = MemoryNode(tmp_path)
    here.pods.add()
    here.slot("ck1")
    return here


def asks(node: MemoryNode, *order: OnFailure, uid: str = "u1") -> None:
    pod = node.pods.pods[uid]
    node.pods.pods[uid] = replace(pod, policy=pod.policy.model_copy(update={"on_failure": order}))


async def life(
    node: MemoryNode, agent: Agent, name: str, code: int = BUG, *, lived_s: float = 2.0, outcome: str = "restored",
    uid: str = "u1", frozen: bool = False, then_s: float = 0.5,
) -> None:  # fmt: skip
    """One instance, from its start to its end."""
    node.start(name, uid, outcome=outcome, checkpoint_id="ck1" if outcome == "restored" else "", attempt=len(node.statuses))
    node.frozen.discard(name)
    starts = node.files.root / "starts" / f"{name}.json"
    file = node.files.read_start(name)
    assert file
    node.files._write(starts, file.model_copy(update={"frozen": frozen}))
    await runs(agent, lived_s)
    node.end(name, code, lived_s=lived_s)
    await runs(agent, then_s)


def declared(node: MemoryNode) -> list[FailoverDeclared]:
    return node.announced(FailoverDeclared)


async def takes(node: MemoryNode, declared: FailoverDeclared) -> bool:
    """Restorer takes the fence, if it is as it was when that was declared."""
    fences = Bucket(MemoryBus(node.server), "fences", Fence)
    mine = Fence(pod_uid="u1", holder="restorer", failover_id=declared.failover_id)
    if await number(fences, "u1") != declared.fence_revision:
        return False
    revision = await fences.revision("u1")
    return bool(await (fences.update("u1", mine, revision) if revision else fences.create("u1", mine)))


def test_the_first_end_is_restored_in_place_and_the_next_soon_one_goes_elsewhere(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await life(node, agent, "c1", outcome="blank")
        assert (declared(node)[-1].elsewhere, node.verdict()) == (False, "restore")
        await life(node, agent, "c2")
        first, second = declared(node)
        assert (second.elsewhere, second.restored_from, second.armed, second.cause) == (True, "ck1", True, "crash")
        assert second.failover_id == elsewhere_id(second.target) != failover_id(second.target)
        assert not first.elsewhere
        assert node.verdict() == "wait", "nothing is started in its place"
        assert await takes(node, second)
        await runs(agent, HOLD_S + 1)
        assert node.verdict() == "refuse", "it runs on another node"
        assert len(declared(node)) == 2

    play(scene())


def test_a_hang_counts_whichever_way_it_is_ended(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        agent.hung.failing["c1"] = Failing(3, (0.0,) * 3)
        await life(node, agent, "c1", code=137)
        assert [(event.cause, event.elsewhere) for event in declared(node)] == [("hang", True)]

    play(scene())


def test_it_is_held_back_before_what_hangs_is_ended_and_declared_once_it_has(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1", outcome="restored", checkpoint_id="ck1")
        file = node.files.read_start("c1")
        assert file
        node.files._write(node.files.root / "starts/c1.json", file.model_copy(update={"at_s": 1000.0}))
        await runs(agent, 2)
        pod = node.pods.pods["u1"]
        subject = agent.declarations.subject(pod, "counter", "c1")
        agent.hung.hanging["c1"] = "its livenessProbe failed"
        assert agent.leaving.begins_with(pod, subject)
        assert (node.verdict(), declared(node)) == ("wait", [])
        await runs(agent, 1)
        assert not node.stands("c1"), "whoever ends it need not end something that is frozen"
        node.end("c1", 137, lived_s=3)
        await runs(agent, 1)
        assert [(event.cause, event.elsewhere) for event in declared(node)] == [("hang", True)]

    play(scene())


@pytest.mark.parametrize(
    ("code", "lived_s", "order"),
    [(137, 2.0, None), (143, 2.0, None), (BUG, 60.0, None), (BUG, 2.0, ("in-place", "cold"))],
    ids=["killed from outside", "told to end", "lived long", "no move wanted"],
)
def test_it_is_restored_in_place_where_nothing_speaks_for_a_move(
    node: MemoryNode, code: int, lived_s: float, order: tuple[OnFailure, ...] | None
) -> None:
    async def scene() -> None:
        if order:
            asks(node, *order)
        await life(node, node.agent(), "c1", code, lived_s=lived_s)
        assert ([event.elsewhere for event in declared(node)], node.verdict()) == ([False], "restore")

    play(scene())


def test_while_nobody_takes_it_it_is_held_back_for_a_bounded_time_and_then_starts_here(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await life(node, agent, "c1")
        assert node.verdict() == "wait"
        await runs(agent, HOLD_S + 1)
        assert node.verdict() == "restore"
        assert not await takes(node, declared(node)[0]), "who comes late does not get it (I1)"

    play(scene())


def test_it_starts_here_as_soon_as_the_failover_does_not_want_it_any_more(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await life(node, agent, "c1")
        (event,) = declared(node)
        await Bucket(MemoryBus(node.server), "holds", HoldRecord).delete(key(event.failover_id))
        await runs(agent, 1)
        assert node.verdict() == "restore"

    play(scene())


def test_while_nats_is_away_it_is_restored_in_place(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 1)
        put = agent.elsewhere._records.put

        async def away(*_: Any) -> int:
            raise TimeoutError

        agent.elsewhere._records.put = away  # type: ignore[method-assign]
        await life(node, agent, "c1")
        agent.elsewhere._records.put = put  # type: ignore[method-assign]
        assert ([event.elsewhere for event in declared(node)], node.verdict()) == ([False], "restore")

    play(scene())


def test_what_the_kubelet_started_meanwhile_is_frozen_before_anybody_is_told(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1", outcome="restored", checkpoint_id="ck1")
        await runs(agent, 1)
        pod = node.pods.pods["u1"]
        target = agent.declarations.subject(pod, "counter", "c1").target
        agent.elsewhere.hold_back(target)
        node.end("c1", BUG)
        node.start("c2", outcome="restored", checkpoint_id="ck1", attempt=1)
        stood: list[bool] = []

        def event(revision: int) -> FailoverDeclared:
            stood.append(node.stands("c2"))
            return FailoverDeclared(
                node="n1", workload=pod.workload, failover_id=elsewhere_id(target), target=target, cause="crash", detail="",
                elsewhere=True, fence_revision=revision,
            )  # fmt: skip

        looks = asyncio.ensure_future(runs(agent, 1))
        await asyncio.sleep(0.5)
        assert await agent.elsewhere.declare(target, event)
        await looks
        assert stood == [True]

    play(scene())


def moved(node: MemoryNode) -> None:
    """A pod that came of the step move."""
    node.pods.add("u2", "counter-2", annotations={FAILOVER: "el-abc"})
    node.slot("ck1", uid="u2", pod="counter-2")


def test_in_the_pod_that_was_moved_it_starts_cold_and_is_never_moved_again(node: MemoryNode) -> None:
    async def scene() -> None:
        moved(node)
        agent = node.agent()
        await life(node, agent, "m1", uid="u2", frozen=True)
        assert [event.elsewhere for event in declared(node)] == [False]
        assert node.verdict("u2") == "blank"
        file = node.files.read_pod("u2")
        assert file
        assert file.containers["counter"].reason.startswith(CRASH_LOOP)
        assert any("Warning ColdStart" in line and "it was moved here" in line for line in node.told)

    play(scene())


def test_with_a_new_life_in_the_pod_that_was_moved_it_is_restored_in_place_first(node: MemoryNode) -> None:
    async def scene() -> None:
        moved(node)
        agent = node.agent()
        await life(node, agent, "m1", uid="u2", frozen=True, lived_s=700)
        assert node.verdict("u2") == "restore"
        await life(node, agent, "m2", uid="u2")
        assert [event.elsewhere for event in declared(node)] == [False, False], "it was moved once"

    play(scene())


def test_where_no_cold_start_is_wanted_it_is_refused_with_the_reason_until_its_owner_wants_one(node: MemoryNode) -> None:
    async def scene() -> None:
        moved(node)
        asks(node, "in-place", "move", uid="u2")
        agent = node.agent()
        await life(node, agent, "m1", uid="u2", frozen=True)
        file = node.files.read_pod("u2")
        assert file
        assert file.containers["counter"].verdict == "refuse"
        assert "does not list cold" in file.containers["counter"].reason
        asks(node, "in-place", "move", "cold", uid="u2")
        await runs(agent, 2)
        assert node.verdict("u2") == "blank"

    play(scene())


def test_the_engine_is_told_that_it_must_not_start_it_cold_either(node: MemoryNode) -> None:
    async def scene() -> None:
        asks(node, "in-place")
        await runs(node.agent(), 1)
        file = node.files.read_pod("u1")
        assert file
        assert (file.containers["counter"].verdict, file.containers["counter"].never_cold) == ("restore", True)

    play(scene())


def test_one_that_is_to_be_moved_at_once_and_cannot_be_is_not_restored_in_place(node: MemoryNode) -> None:
    async def scene() -> None:
        asks(node, "move", "cold")
        agent = node.agent()
        await life(node, agent, "c1", outcome="blank", lived_s=60)
        (event,) = declared(node)
        assert (event.elsewhere, event.restored_from) == (True, "")
        await Bucket(MemoryBus(node.server), "holds", HoldRecord).delete(key(event.failover_id))
        await runs(agent, 1)
        assert node.verdict() == "blank"

    play(scene())
