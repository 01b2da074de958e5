"""A NATS whose data directory is set back in the middle of a failover: revisions repeat, and what was promised is forgotten.

The real fences of the node's agent and of the restorer, on a real server. Whatever was lost, never both may run the pod.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel
from reprise.contracts.model import Target, Workload, now
from reprise.contracts.records import Fence
from reprise.health_watcher.fences import Asked, Fences, number
from reprise.restorer import fences as restorers
from reprise.restorer.model import NodeView, PodView, Saga
from reprise.restorer.room import Room, Timeouts
from reprise.restorer.starts import Starts
from reprise.restorer.testing import OWNER, MemoryCluster, MemoryStore
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryServer

pytestmark = pytest.mark.component
WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = Asked("u1", "default", "counter-1", runs=False)


class Lease(BaseModel):
    """Of the node, as far as the restorer reads it."""

    node: str = "n1"
    taken: bool


class World:
    """One NATS, an API server that forgets nothing, the agent of n1 and a restorer."""

    def __init__(self, server: Any, kept: Path) -> None:
        self.server, self.kept = server, kept
        self.bus = Bus(f"nats://127.0.0.1:{server.port}", "test")
        n2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
        self.cluster = MemoryCluster(MemoryStore(()), (n2,), MemoryServer())
        self.cluster.add(PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", OWNER, wanted=1), "n1")
        self.records = Bucket(self.bus, "fences", Fence)
        self.leases = Bucket(self.bus, "leases", Lease)
        here = cast(Any, self)
        self.node = Fences(self.records, here, here, here)
        starts = Starts(self.bus)
        self.room = Room(self.bus, self.cluster, cast(Any, self.cluster), cast(Any, self.cluster), starts, Timeouts())

    # What the agent's fences ask of the lease, the ledger and the API server.
    epoch, held, clock = 0, cast(Any, {}), None

    def lapsed(self) -> bool:
        return False

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        return name in self.cluster.pods

    async def fenced_by(self, namespace: str, name: str, uid: str) -> str:
        return self.cluster.pods[name].fenced_by

    async def may_run(self) -> bool:
        """Whether the node, which has just returned, lets the pod run."""
        return (await self.node._ask(POD)).fence == "ours"

    def saga(self, fence: int) -> Saga:
        """Of the loss of n1, declared when its pod's fence had this number."""
        return Saga(failover_id="fo-1", workload=WORKLOAD, target=TARGET, cause="node-loss", declared_at=now(), step="fence",
                    fence_revision=fence)  # fmt: skip

    async def takes(self, fence: int) -> bool:
        """Whether the restorer gets the pod, and so starts it elsewhere."""
        return await self.room.take_fence(self.saga(fence)) is None

    async def seen(self) -> int:
        """The fence's number, as the arbiter reads it before it takes the lease away."""
        found = await number(self.records, "u1")
        await self.leases.put("node.n1", Lease(taken=True))
        return found

    async def returned(self) -> None:
        """The node holds its lease again."""
        await self.leases.put("node.n1", Lease(taken=False))

    async def connect(self) -> None:
        async with asyncio.timeout(20):
            await self.bus.connect()

    def keep(self) -> None:
        """What is on NATS' disk now is what a power loss leaves."""
        shutil.copytree(self.server.folder, self.kept)

    async def rewind(self) -> None:
        self.server.stop()
        self.server.wipe()
        shutil.copytree(self.kept, self.server.folder)
        self.server.start()
        async with asyncio.timeout(20):
            while not self.bus.connected:
                await asyncio.sleep(0.05)
            while True:
                try:
                    await number(self.records, "u1")
                    return
                except Exception:
                    await asyncio.sleep(0.1)


@pytest.fixture
async def world(nats_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(restorers, "SETTLED_S", 6.0)
    made = World(nats_server, tmp_path / "kept")
    await made.connect()
    await made.leases.put("node.n1", Lease(taken=False))
    yield made
    await made.bus.drain(1)


async def test_a_fence_that_was_taken_is_not_forgotten_by_the_node_that_returns(world: World) -> None:
    await world.records.put("other", Fence(pod_uid="other", holder="node"))
    world.keep()
    assert await world.takes(await world.seen())
    await world.rewind()
    assert await world.records.get("u1") is None, "NATS has forgotten that the pod runs elsewhere"
    assert not await world.may_run()


async def test_a_revision_that_is_given_again_is_not_taken_for_the_one_that_was_declared(world: World) -> None:
    await world.records.put("other", Fence(pod_uid="other", holder="node"))
    world.keep()
    await world.records.put("u1", Fence(pod_uid="u1", holder="nobody", failover_id="fo-0", number=7 << 32))
    declared = await world.seen()
    before = await world.records.revision("u1")
    await world.rewind()
    assert await world.may_run(), "it came back, and nobody has its pod"
    assert await world.records.revision("u1") == before, "the same revision again, and somebody else's"
    assert not await world.takes(declared)


async def test_a_node_that_returned_is_not_joined_by_a_failover_because_its_fence_was_forgotten(world: World) -> None:
    declared = await world.seen()
    world.keep()
    await world.returned()
    assert await world.may_run()
    await world.rewind()
    assert await world.records.get("u1") is None, "NATS has forgotten that the node has the pod"
    late = asyncio.create_task(world.takes(declared))
    await asyncio.sleep(0.3)
    await world.returned()  # it renews each second
    assert not await late


async def test_without_the_rewind_each_of_them_has_its_way(world: World) -> None:
    """Or the three above would say nothing."""
    assert await world.takes(await world.seen())
    assert not await world.may_run()
    await world.room.let_go(world.saga(0))
    assert await world.may_run()
