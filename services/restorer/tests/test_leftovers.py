"""What KV keeps of pods that are gone is removed in the end, and nothing that anybody could still ask for."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.errors import RecoveryError
from reprise.contracts.model import Target, Workload, failover_id
from reprise.contracts.records import Fence, ResumeRecord, StartRecord
from reprise.restorer import leftovers
from reprise.restorer.decide import spent, unneeded
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.model import Attempt, PodNames, Recovery, Saga, Standby
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="shop", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
STRANGER = PodNames(WORKLOAD, "u9")
STEPS = ("plan", "hold", "fence", "stage", "place", "restored", "release", "verify", "adopt", "complete")


def saga(**changed: object) -> Saga:
    known = {"failover_id": failover_id(TARGET, node_lost=True), "workload": WORKLOAD, "target": TARGET, "cause": "node-loss",
             "declared_at": datetime.now(UTC)}  # fmt: skip
    return Saga.model_validate(known | changed)


names = st.sampled_from(["u1", "u2", "fo-1", "fo-2"])
pods = st.builds(PodNames, st.sampled_from([WORKLOAD, Workload(namespace="other", name="counter")]), names)
sagas = st.builds(
    lambda step, uid, name: saga(step=step, target=TARGET.model_copy(update={"pod_uid": uid}), failover_id=name),
    st.sampled_from([*STEPS, "undo", "wait", "abandoned"]), names, st.sampled_from(["fo-1", "fo-2"]),
)  # fmt: skip


@pytest.mark.parametrize("step", [*STEPS, "undo", "wait", "abandoned"])
def test_a_record_is_kept_while_its_pod_is_there_or_its_failover_runs(step: str) -> None:
    its_pod, fence = PodNames(WORKLOAD, "u1"), Fence(pod_uid="u1", holder="restorer", failover_id="fo-1")
    record = saga(step=step)
    for each in (record, fence):
        assert not spent(each, [STRANGER, its_pod], [record])
        assert spent(each, [STRANGER], [record]) == (step in ("complete", "abandoned", "wait"))


@given(st.lists(pods, max_size=4), st.lists(sagas, max_size=3))
def test_more_pods_or_running_failovers_never_make_a_record_spent(there: list[PodNames], records: list[Saga]) -> None:
    for uid in ("u1", "u2"):
        fence = Fence(pod_uid=uid, holder="node")
        if spent(fence, [*there, STRANGER], [*records, saga(step="verify")]):
            assert spent(fence, there, records)


async def test_what_a_next_pod_was_to_start_from_goes_with_its_failover(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "LEFT_OVER_S", 0.0)
    server, there = MemoryServer(), [STRANGER]
    resumes = Bucket(MemoryBus(server), "resumes", ResumeRecord)
    record = ResumeRecord(pod_uid="u1", checkpoint_id="ck1", workload=WORKLOAD, failover_id="fo-1")
    await resumes.put("shop.counter-1", record)
    sagas = Bucket(MemoryBus(server), "failovers", Saga)
    await sagas.put("fo-1", saga(step="delete"))

    class Pods:
        async def everyone(self) -> tuple[PodNames, ...]:
            return tuple(there)

    looks = LeftOvers(MemoryBus(server), Pods(), lambda: True)
    await looks.look()
    assert await resumes.get("shop.counter-1"), "its failover runs"
    await sagas.put("fo-1", saga(step="complete"))
    await looks.look()
    assert await resumes.get("shop.counter-1") is None


def test_how_a_pod_was_started_is_kept_while_the_failover_that_made_it_runs() -> None:
    made = TARGET.model_copy(update={"pod_uid": "u5"})
    running = saga(step="restored", attempt=Attempt(restored=made))
    assert not unneeded("u5", [STRANGER], [running])
    assert unneeded("u5", [STRANGER], [running.at("complete")])


@dataclass
class Cluster:
    """ports.Pods."""

    there: tuple[PodNames, ...] = (STRANGER,)
    away: bool = False

    async def everyone(self) -> tuple[PodNames, ...]:
        if self.away:
            raise RecoveryError("it does not answer", retryable=True)
        return self.there


class World:
    def __init__(self) -> None:
        self.cluster, self.leads = Cluster(), True
        self.bus = MemoryBus(MemoryServer())
        self.standbys = Bucket(self.bus, "standby", Standby)
        self.fences = Bucket(self.bus, "fences", Fence)
        self.sagas = Bucket(self.bus, "failovers", Saga)
        self.looks = LeftOvers(self.bus, self.cluster, lambda: self.leads)

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.sleep(leftovers.LOOK_S)
            await self.looks.look()


HOUR = 7
"""Looks, of which the last one finds what the first one found an hour before."""


@pytest.fixture
async def world() -> World:
    found = World()
    await found.fences.put("u1", Fence(pod_uid="u1", holder="restorer", failover_id="fo-u1"))
    return found


@pytest.mark.looptime
async def test_a_replica_that_lost_the_lead_removes_nothing(world: World) -> None:
    await world.look(HOUR - 1)
    world.leads = False
    await world.look()
    assert await world.fences.get("u1")


@pytest.mark.looptime
@pytest.mark.parametrize("what", ["cluster", "record"])
async def test_on_doubt_nothing_is_removed_and_looking_starts_anew(world: World, what: str) -> None:
    await world.look(HOUR - 1)
    world.cluster.away = what == "cluster"
    if what == "record":
        await (await world.bus.jetstream.key_value("failovers")).put("fo-9", b'{"of": "another version"}')
    running = asyncio.create_task(world.looks.run())
    await asyncio.sleep(3 * leftovers.LOOK_S)
    running.cancel()
    assert await world.fences.get("u1")
    assert not world.looks._since


@pytest.mark.looptime
async def test_what_is_known_of_a_workload_is_forgotten_when_it_had_no_pod_for_an_hour(world: World) -> None:
    other = Workload(namespace="shop", name="other")
    recoveries = Bucket(world.bus, "recoveries", Recovery)
    for workload in (WORKLOAD, other):
        await recoveries.put(container_key(workload, "counter"), Recovery(rejected=("ck1",)))
    await world.look(HOUR - 1)
    assert await recoveries.get(container_key(other, "counter"))
    await world.look()
    left = [entry.key for entry in await recoveries.entries()]
    assert left == [container_key(WORKLOAD, "counter")], "a pod of it is there"


@pytest.mark.looptime
async def test_the_standby_of_a_pod_that_is_gone_is_forgotten_unless_its_record_changes(world: World) -> None:
    there, gone = key("u9", "counter"), key("u1", "counter")
    for name in (there, gone):
        await world.standbys.put(name, Standby(node="n2"))
    await world.look(5)
    await world.standbys.put(gone, Standby(node="n3"))
    await world.look(4)
    assert await world.standbys.get(gone)
    await world.look(3)
    assert [entry.key for entry in await world.standbys.entries()] == [there]


@pytest.mark.looptime
async def test_fences_failovers_and_starts_go_when_their_pod_was_gone_for_an_hour_and_not_before(world: World) -> None:
    starts = Bucket(world.bus, "starts", StartRecord)
    world.cluster.there = (PodNames(WORKLOAD, "u2"),)
    for uid in ("u1", "u2"):
        await world.fences.put(uid, Fence(pod_uid=uid, holder="restorer", failover_id=f"fo-{uid}"))
        record = saga(step="complete", failover_id=f"fo-{uid}", target=TARGET.model_copy(update={"pod_uid": uid}))
        await world.sagas.put(record.failover_id, record)
        await starts.put(f"c-{uid}", StartRecord(container_id=f"c-{uid}", pod_uid=uid, container="counter", outcome="blank"))
    await world.look(HOUR - 1)
    assert await world.fences.get("u1")
    await world.look()
    assert (await world.fences.get("u1"), await world.sagas.get("fo-u1"), await starts.get("c-u1")) == (None, None, None)
    assert await world.fences.get("u2")
    assert await world.sagas.get("fo-u2"), "its pod is there"
    assert await starts.get("c-u2")


@pytest.mark.looptime
async def test_a_fence_that_is_written_meanwhile_stays(world: World) -> None:
    await world.look(5)
    await world.fences.put("u1", Fence(pod_uid="u1", holder="nobody"))
    await world.look(4)
    assert await world.fences.get("u1")
