"""The last checkpoint of what is moved: from then on it stands still, and nothing starts in its place, until its hold ends."""

from pathlib import Path

import pytest
from playing import inline_threads, play, runs
from reprise.contracts.events import CheckpointDue, CheckpointFailed, CheckpointTaken, FailoverHolding
from reprise.contracts.model import now
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.fences import number
from reprise.health_watcher.testing import WORKLOAD, MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    inline_threads(monkeypatch)
    here = MemoryNode(tmp_path)
    here.pods.add()
    here.start()
    return here


def holding(node: MemoryNode, hold_s: float = 20.0) -> FailoverHolding:
    return FailoverHolding(
        node="n1", workload=WORKLOAD, failover_id="mv-1", target=node.target(), checkpoint_id="ck9", keep=3, hold_s=hold_s
    )


def taken(node: MemoryNode, *, held: bool = True) -> CheckpointTaken:
    return CheckpointTaken(
        node="n1", workload=WORKLOAD, checkpoint_id="ck9", target=node.target(), trigger="move", archive_path="", keep=3,
        kubelet_started_at=now(), kubelet_s=0.1, due_to_kubelet_s=0.0, held=held, slot="default/u1/counter/ck9",
    )  # fmt: skip


def records(node: MemoryNode) -> Bucket[HoldRecord]:
    return Bucket(MemoryBus(node.server), "holds", HoldRecord)


async def record(node: MemoryNode) -> HoldRecord:
    entry = await records(node).get(key("ck9"))
    assert entry
    return entry.value


async def begins(node: MemoryNode, hold_s: float = 20.0) -> Agent:
    agent = node.agent()
    await runs(agent, 2)
    await records(node).create(key("ck9"), HoldRecord(failover_id="mv-1"))
    await agent.holds.on_event(holding(node, hold_s))
    return agent


async def stands(node: MemoryNode, hold_s: float = 20.0) -> Agent:
    agent = await begins(node, hold_s)
    node.frozen.add("c1")  # the engine leaves it frozen
    await agent.holds.on_event(taken(node))
    return agent


def test_nothing_starts_in_its_place_from_the_moment_on_that_its_last_checkpoint_is_asked_for(node: MemoryNode) -> None:
    async def scene() -> None:
        await begins(node)
        assert node.verdict() == "wait"
        assert (await record(node)).state == "begun"
        (due,) = node.announced(CheckpointDue)
        assert (due.hold, due.trigger) == (True, "move")
        assert node.told == [], "it runs until it is checkpointed"

    play(scene())


def test_it_stands_still_with_its_pod_and_its_fence_is_left_to_the_restorer(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await stands(node)
        assert node.told == ["freeze c1: wait"]
        held = await record(node)
        assert held.state == "held"
        fences = Bucket(MemoryBus(node.server), "fences", Fence)
        before = await fences.revision(key("u1"))
        assert held.fence_revision == await number(fences, "u1")
        await runs(agent, 5)
        assert await fences.revision(key("u1")) == before
        assert node.stands()

    play(scene())


def test_a_move_that_is_given_up_lets_it_run_on_after_its_fence_was_asked(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await stands(node)
        await records(node).delete(key("ck9"))
        node.told.clear()
        await runs(agent, 2)
        assert node.told == ["thaw c1: restore"]

    play(scene())


def test_once_the_restorer_has_its_fence_the_end_of_the_hold_does_not_let_it_run(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await stands(node, hold_s=3.0)
        await Bucket(MemoryBus(node.server), "fences", Fence).put(
            key("u1"), Fence(pod_uid="u1", holder="restorer", failover_id="mv-1")
        )
        await runs(agent, 6)
        assert node.stands()
        assert node.verdict() == "refuse"

    play(scene())


def test_a_hold_that_runs_out_says_so_before_it_lets_it_run(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await stands(node, hold_s=3.0)
        await runs(agent, 6)
        assert not node.stands()
        assert ((await record(node)).state, (await record(node)).reason) == ("failed", "NotStored")

    play(scene())


def test_an_agent_that_starts_anew_lets_go_of_what_it_finds(node: MemoryNode) -> None:
    async def scene() -> None:
        await stands(node)
        await runs(node.agent(), 3)
        assert not node.stands()
        assert (await record(node)).reason == "HoldEnded"

    play(scene())


def test_a_hold_ends_when_its_pod_is_deleted(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await stands(node)
        node.pods.delete("u1")
        await runs(agent, 2)
        assert "kill c1" in node.told
        assert (await record(node)).reason == "PodDeleting"

    play(scene())


@pytest.mark.parametrize("how", ["ran on", "failed", "late"])
def test_a_last_checkpoint_that_does_not_hold_leaves_it_running(node: MemoryNode, how: str) -> None:
    async def scene() -> None:
        agent = await begins(node, hold_s=2.0)
        if how == "ran on":
            await agent.holds.on_event(taken(node, held=False))
        elif how == "failed":
            await agent.holds.on_event(
                CheckpointFailed(
                    node="n1",
                    workload=WORKLOAD,
                    checkpoint_id="ck9",
                    target=node.target(),
                    reason="CriuFailed",
                    message="",
                    remedy="",
                    hold=True,
                )
            )
        else:
            await runs(agent, 4)
            node.frozen.add("c1")
            await agent.holds.on_event(taken(node))
        await runs(agent, 3)
        assert not node.stands()
        assert (await record(node)).state == "failed"
        assert node.verdict() == "restore"

    play(scene())


def test_what_is_not_wanted_any_more_is_not_held(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 2)
        await agent.holds.on_event(holding(node))
        assert node.announced(CheckpointDue) == []
        assert node.verdict() == "restore"

    play(scene())


def test_of_a_pod_only_one_container_is_held_at_a_time(node: MemoryNode) -> None:
    async def scene() -> None:
        node.pods.add(containers=("counter", "beside"))
        node.start("c2", name="beside")
        agent = await stands(node)
        await records(node).create(key("ck10"), HoldRecord(failover_id="mv-2"))
        other = holding(node).model_copy(update={"target": node.target("c2"), "checkpoint_id": "ck10"})
        await agent.holds.on_event(other)
        entry = await records(node).get(key("ck10"))
        assert entry and entry.value.reason == "NotHeld"

    play(scene())
