"""The pod that a node's loss would need is made while the node is only suspected: the failover takes it, or it goes again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import BaseModel
from reprise.contracts.annotations import Policy
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import NodeSuspected, node_subject
from reprise.contracts.model import now
from reprise.restorer.ahead import UNDECIDED_S, Ahead
from reprise.restorer.model import Saga, Standby
from reprise.restorer.saga import SagaRunner
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus
from worlds import GOOD, N1, WORKLOAD, End, Killed, World, end_of

POD = ProtectedPod(
    workload=WORKLOAD, policy=Policy(mode="criu"), namespace="default", name="counter-1", uid="u1", node="n1", ip="", host_ip="",
    phase="Running", deleting=False, containers=(ProtectedContainer("counter", "counter:1", "c1", running=True),),
)  # fmt: skip


class Lease(BaseModel):
    taken: bool
    renewals: int = 0


class Suspicion:
    """n1 is suspected, and ck3 lies ready on n2."""

    def __init__(self, path: str = "shadow", *, ready: str = "ck3") -> None:
        self.world = World(path)
        self.ready = ready
        self.world.cluster.slots["n2"] = ["ck3", "ck2"]
        self.leases = Bucket(MemoryBus(self.world.server), "leases", Lease)
        self.standbys = Bucket(MemoryBus(self.world.server), "standby", Standby)
        self.event = NodeSuspected(node="n1", workload=node_subject("n1"), detail="silent")

    async def begin(self) -> None:
        await self.world.begin()
        await self.leases.put(key("node", "n1"), Lease(taken=False))
        if self.ready:
            await self.standbys.put(key("u1", "counter"), Standby(node="n2", checkpoint_id=self.ready, warm=True))

    def of(self, runner: SagaRunner) -> Ahead:
        return Ahead(runner._room, runner.planning, runner.sagas, {"u1": POD})

    @contextlib.asynccontextmanager
    async def told(self) -> AsyncIterator[SagaRunner]:
        await self.begin()
        async with self.world.runner() as runner:
            handling = asyncio.create_task(self.of(runner).on_suspected(self.event))
            await asyncio.sleep(0.5)
            yield runner
            await asyncio.wait_for(handling, UNDECIDED_S + 10)

    async def give_up(self) -> None:
        """The arbiter takes the lease away."""
        await self.leases.put(key("node", "n1"), Lease(taken=True))

    def waiting(self) -> list[str]:
        return [name for name, pod in self.world.cluster.pods.items() if pod.ahead]


@pytest.mark.looptime
async def test_the_failover_takes_the_pod_that_waits_for_it() -> None:
    suspicion = Suspicion()
    async with suspicion.told() as runner:
        (name,) = suspicion.waiting()
        assert suspicion.world.cluster.serving() == [], "it starts nothing before"
        await suspicion.give_up()
        saga = await runner.run(suspicion.world.saga())
    assert (saga.step, suspicion.world.cluster.serving()) == ("complete", ["ck3"])
    assert saga.attempt.restored and saga.attempt.restored.pod == name
    assert suspicion.world.cluster.made_ahead == 1
    assert not suspicion.waiting()


@pytest.mark.looptime
async def test_if_the_node_renews_again_nothing_is_left() -> None:
    suspicion = Suspicion()
    async with suspicion.told():
        assert suspicion.waiting()
        await suspicion.leases.put(key("node", "n1"), Lease(taken=False, renewals=1))
    assert set(suspicion.world.cluster.pods) == {"counter-1"}
    assert suspicion.world.cluster.history == [], "nothing has run"


@pytest.mark.looptime
async def test_that_the_arbiter_takes_the_lease_away_is_no_renewal() -> None:
    suspicion = Suspicion()
    async with suspicion.told() as runner:
        await suspicion.give_up()
        await asyncio.sleep(3)
        assert suspicion.waiting()
        await runner.run(suspicion.world.saga())
    assert suspicion.world.cluster.serving() == ["ck3"]


@pytest.mark.looptime
async def test_what_nobody_decides_is_removed_in_the_end() -> None:
    suspicion = Suspicion()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with suspicion.told():
        pass
    assert UNDECIDED_S <= loop.time() - began < UNDECIDED_S + 5
    assert set(suspicion.world.cluster.pods) == {"counter-1"}


@pytest.mark.parametrize(
    ("path", "ready"), [("shadow", ""), ("shadow", "ck2"), ("stateful", "ck3"), ("bare", "ck3")],
    ids=["nothing lies ready", "an older one does", "a StatefulSet's", "a bare pod"],
)  # fmt: skip
@pytest.mark.looptime
async def test_where_it_would_not_help_no_pod_is_made(path: str, ready: str) -> None:
    suspicion = Suspicion(path, ready=ready)
    async with suspicion.told():
        assert not suspicion.waiting()
    assert suspicion.world.cluster.made_ahead == 0


@pytest.mark.looptime
async def test_no_pod_is_made_where_nothing_can_take_it() -> None:
    suspicion = Suspicion()
    suspicion.world.cluster.listed = (N1,)
    async with suspicion.told():
        assert not suspicion.waiting()


@pytest.mark.looptime
async def test_one_that_was_made_for_an_older_checkpoint_is_in_the_way_and_goes() -> None:
    suspicion = Suspicion()
    async with suspicion.told() as runner:
        assert suspicion.waiting()
        newest = replace(GOOD[0], checkpoint_id="ck4")
        suspicion.world.store.good_ones = (newest, *GOOD)
        suspicion.world.cluster.slots["n2"] = ["ck4", "ck3"]
        await suspicion.give_up()
        with pytest.raises(RecoveryError, match="another plan"):
            await runner.run(suspicion.world.saga())
        saga = await runner.run(suspicion.world.saga())  # its message comes again
    assert (saga.step, suspicion.world.cluster.serving()) == ("complete", ["ck4"])


@pytest.mark.looptime
async def test_whoever_is_killed_wherever_nothing_is_left_of_a_suspicion(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends(cut: int) -> tuple[set[str], int]:
        suspicion = Suspicion()
        await suspicion.begin()
        world = suspicion.world
        for each in (cut, -1):
            world.calls, world.cut_at = [], each
            async with world.runner() as runner:
                with contextlib.suppress(Killed, BaseExceptionGroup):
                    await suspicion.of(runner).on_suspected(suspicion.event)
                    break
            # By the time that the message comes again it is old.
            suspicion.event = suspicion.event.model_copy(update={"at": now() - timedelta(seconds=60)})
        return set(world.cluster.pods), len(world.calls)

    pods, calls = await ends(-1)
    assert pods == {"counter-1"}
    for cut in range(calls):
        assert (await ends(cut))[0] == {"counter-1"}, f"killed at call {cut}"


@pytest.mark.looptime
async def test_the_end_of_the_failover_is_the_same_whoever_is_killed_wherever_meanwhile() -> None:
    async def ends(cut: int) -> tuple[object, int]:
        suspicion = Suspicion()
        async with suspicion.told():
            await suspicion.give_up()
            saga = await suspicion.world.run((cut,))
            calls = len(suspicion.world.calls)
        return await end_of(suspicion.world, saga), calls

    expected, calls = await ends(-1)
    assert isinstance(expected, End) and (expected.saga.step, expected.serving) == ("complete", ["ck3"])
    for cut in range(calls):
        end, _ = await ends(cut)
        assert end == expected, f"killed at call {cut}"


def test_a_saga_of_a_pod_that_was_made_ahead_has_the_same_name() -> None:
    """Or its failover would not find it."""
    saga: Saga = World("shadow").saga()
    assert saga.name == saga.failover_id
