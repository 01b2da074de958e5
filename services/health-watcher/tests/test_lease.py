"""What a node tells of its lease, to the arbiter and to the engine: the real agent, NATS in memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playing import inline_threads, play, runs
from reprise.contracts.events import NodeGuarded, NodeUnguarded
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus

FREEZE = {"s": 0.02}


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    FREEZE["s"] = 0.02
    inline_threads(monkeypatch, lambda: FREEZE["s"])
    here = MemoryNode(tmp_path)
    here.pods.add()
    here.start()
    return here


async def lease(node: MemoryNode) -> NodeLease:
    entry = await Bucket(MemoryBus(node.server), "leases", NodeLease).get("node.n1")
    assert entry
    return entry.value


def told(node: MemoryNode) -> list[Any]:
    return node.announced(NodeGuarded) + node.announced(NodeUnguarded)


def test_a_node_that_can_freeze_says_so_once_it_holds_a_lease_and_by_when_it_may_be_given_up(node: MemoryNode) -> None:
    async def scene() -> None:
        await runs(node.agent(), 5)
        assert (await lease(node)).can_freeze
        (event,) = told(node)
        assert "5.0 s after its last renewal" in event.detail

    play(scene())


def test_a_node_that_cannot_freeze_says_why_and_is_heard_of_again_when_it_can(node: MemoryNode) -> None:
    async def scene() -> None:
        node.limited = "/host/cgroup/freezer/kubepods/freezer.state cannot be written"
        agent = node.agent()
        await runs(agent, 3)
        assert not (await lease(node)).can_freeze
        node.limited = ""
        await runs(agent, 3)
        assert (await lease(node)).can_freeze
        assert "cannot be written" in node.announced(NodeUnguarded)[0].detail
        assert len(told(node)) == 2

    play(scene())


def test_how_long_freezing_took_is_in_the_lease_also_of_an_agent_that_is_restarted(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, FREEZE["s"] = True, 0.7
        await runs(agent, 6)
        node.cut, FREEZE["s"] = False, 0.02
        await runs(agent, 3)
        assert (await lease(node)).freeze_s == pytest.approx(0.7, abs=0.1)
        await runs(node.agent(), 3)
        assert (await lease(node)).freeze_s == pytest.approx(0.7, abs=0.1)

    play(scene())


def test_it_is_safe_to_leave_it_running_while_it_holds_its_lease_or_all_is_frozen(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        assert agent.lease.safe(all_frozen=agent.reconciler.all_frozen)
        node.cut, node.fails = True, "Device or resource busy"
        await runs(agent, 6)
        assert not agent.lease.safe(all_frozen=agent.reconciler.all_frozen)
        node.fails = ""
        await runs(agent, 1)
        assert agent.lease.safe(all_frozen=agent.reconciler.all_frozen)

    play(scene())


def test_a_container_that_would_not_freeze_makes_the_node_one_that_is_never_given_up(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, node.fails = True, "Device or resource busy"
        await runs(agent, 6)
        node.cut = False
        await runs(agent, 3)
        assert not (await lease(node)).can_freeze
        assert "could not be frozen: Device or resource busy" in node.announced(NodeUnguarded)[-1].detail
        file = node.files.read_node()
        assert file and file.renewed_at_s is not None
        assert agent.lease.lapsed(), "its lease counts again only once all stands still"

    play(scene())


def test_the_engine_is_told_of_each_renewal_and_of_the_agents_life_while_there_is_none(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        before = node.files.read_node()
        assert before and before.renewed_at_s is not None
        assert agent.lease.clock() - before.renewed_at_s < 1.5
        assert (before.boot_id, before.ttl_s) == ("b", 3.0)
        node.cut = True
        await runs(agent, 8)
        after = node.files.read_node()
        assert after and after.renewed_at_s == pytest.approx(before.renewed_at_s, abs=1.1)
        assert agent.lease.clock() - after.heartbeat_at_s < 1.5

    play(scene())


def test_a_node_that_cannot_tell_the_engine_is_never_given_up(node: MemoryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Any) -> None:
        raise OSError("No space left on device")

    async def scene() -> None:
        agent = node.agent()
        monkeypatch.setattr(agent.files, "write_node", fails)
        await runs(agent, 4)
        assert not (await lease(node)).can_freeze
        assert "node.json" in node.announced(NodeUnguarded)[-1].detail

    play(scene())


def test_a_lapse_that_nobody_noticed_is_one_all_the_same(node: MemoryNode) -> None:
    """The machine stood still for 10 s, and renews at once afterwards."""

    async def scene() -> None:
        jump = 0.0
        agent = node.agent(lambda: 1000.0 + asyncio.get_running_loop().time() + jump)
        await runs(agent, 3)
        node.told.clear()
        jump = 10.0
        await runs(agent, 2)
        assert node.told[0] == "freeze c1: wait"
        assert node.told[-1] == "thaw c1: restore"
        assert not agent.lease.lapsed()

    play(scene())


def test_an_agent_that_starts_leaves_its_predecessors_word_until_it_has_tried_to_renew(node: MemoryNode) -> None:
    async def scene() -> None:
        await runs(node.agent(), 3)
        before = node.files.read_node()
        node.cut = True
        await runs(node.agent(), 0.5)
        assert node.files.read_node() == before

    play(scene())
