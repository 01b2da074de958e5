"""What a node tells of whether it can be given up, and how long it may take to freeze: the real agent, NATS in memory."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import looptime
import pytest
from reprise.contracts.events import Event, NodeGuarded, NodeUnguarded
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher import isolation
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.model import NodeLease
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer


class Node:
    """Its freezer, its runtime and the API server's leases; cut: NATS is out of reach."""

    def __init__(self, folder: Path) -> None:
        self.server, self.folder = MemoryServer(), folder
        self.limited, self.fails, self.freeze_s, self.cut, self.late = "", "", 0.02, False, False
        pod = SimpleNamespace(deleting=False, containers=(SimpleNamespace(name="counter"),))
        self.pods = SimpleNamespace(pods={"u1": pod}, synced=True)

    def agent(self) -> isolation.Isolation:
        async def on_call(when: str, what: str) -> None:
            if self.cut:
                raise TimeoutError

        bus = MemoryBus(self.server, on_call)  # type: ignore[arg-type]
        lease = NodeLease(node="n1", host_ip="", boot_id="b", renewals=0, can_freeze=False)
        fences, records = Bucket(bus, "fences", Fence), Bucket(bus, "holds", HoldRecord)
        calm: Any = self
        return isolation.Isolation(
            lease,
            KvLeases(bus),
            calm,
            fences,
            records,
            calm,
            calm,
            calm.pods,
            calm,
            Announcer(MemoryBus(self.server)),
            self.folder,
        )

    async def renew(self, lease: NodeLease) -> None:
        raise TimeoutError

    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        return [RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "x", "", 0, "running", 0)]

    def limitation(self) -> str:
        return self.limited

    def freeze(self, container_id: str) -> bool:
        if self.fails:
            raise OSError(self.fails)
        return True

    def is_frozen(self, container_id: str) -> bool:
        return self.late

    def is_gone(self, container_id: str) -> bool:
        return False

    def thaw(self, container_id: str) -> None:
        self.late = False

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        return True

    def told(self) -> list[Event]:
        return [e for e in self.server.events.values() if isinstance(e, NodeGuarded | NodeUnguarded)]

    async def lease(self) -> NodeLease:
        entry = await Bucket(MemoryBus(self.server), "leases", NodeLease).get("node.n1")
        assert entry
        return entry.value


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    here = Node(tmp_path)

    async def inline(act: Any, *args: Any) -> Any:
        await asyncio.sleep(here.freeze_s)
        return act(*args)

    monkeypatch.setattr(asyncio, "to_thread", inline)
    monkeypatch.setattr(isolation, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
    return here


async def runs(agent: isolation.Isolation, for_s: float) -> None:
    tasks = [asyncio.create_task(agent.renew_for_ever()), asyncio.create_task(agent.guard())]
    await asyncio.sleep(for_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def play(scene: Any) -> None:
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(scene)
    finally:
        loop.close()


def test_a_node_that_can_freeze_says_so_once_it_holds_a_lease_and_by_when_it_may_be_given_up(node: Node) -> None:
    async def scene() -> None:
        await runs(node.agent(), 5)
        assert (await node.lease()).can_freeze
        assert [type(e) for e in node.told()] == [NodeGuarded]
        assert "5.0 s after its last renewal" in getattr(node.told()[0], "detail", "")

    play(scene())


def test_a_node_that_cannot_freeze_says_why_and_is_heard_of_again_when_it_can(node: Node) -> None:
    async def scene() -> None:
        node.limited = "/host/cgroup/freezer/kubepods/freezer.state cannot be written"
        agent = node.agent()
        await runs(agent, 3)
        assert not (await node.lease()).can_freeze
        node.limited = ""
        await runs(agent, 3)
        assert (await node.lease()).can_freeze
        assert [type(e) for e in node.told()] == [NodeUnguarded, NodeGuarded]
        assert "cannot be written" in getattr(node.told()[0], "detail", "")

    play(scene())


def test_how_long_freezing_took_is_in_the_lease_also_of_an_agent_that_is_restarted(node: Node) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, node.freeze_s = True, 0.7
        await runs(agent, 6)
        node.cut, node.freeze_s = False, 0.02
        await runs(agent, 3)
        assert (await node.lease()).freeze_s == pytest.approx(0.7, abs=0.05)
        await runs(node.agent(), 3)
        assert (await node.lease()).freeze_s == pytest.approx(0.7, abs=0.05)

    play(scene())


def test_it_is_safe_to_leave_it_running_while_it_holds_its_lease_or_all_is_frozen(node: Node) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        assert agent.safe
        node.cut, node.fails = True, "Device or resource busy"
        await runs(agent, 6)
        assert not agent.safe
        node.fails = ""
        await runs(agent, 1)
        assert agent.safe

    play(scene())


def test_a_container_that_would_not_freeze_makes_the_node_one_that_is_never_given_up(node: Node) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, node.fails = True, "Device or resource busy"
        await runs(agent, 6)
        node.cut = False
        await runs(agent, 3)
        assert not (await node.lease()).can_freeze
        assert "could not be frozen: Device or resource busy" in getattr(node.told()[-1], "detail", "")

    play(scene())


def test_what_freezes_later_than_it_should_runs_on_once_its_node_is_back(node: Node) -> None:
    """A busy node: it was told to freeze, had not when it was waited for, and stands still since."""

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, node.fails, node.late = True, "it did not freeze within 1.0 s", True
        await runs(agent, 4)
        assert not agent.safe
        node.cut, node.fails = False, ""
        await runs(agent, 3)
        assert not node.late, "it stands still, and on no list"

    play(scene())
