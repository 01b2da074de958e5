"""What is kept of pods that are gone is removed in the end, and nothing that anybody could still ask for."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.errors import RecoveryError, StoreUnavailable
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload, failover_id
from reprise.contracts.records import Fence
from reprise.restorer import leftovers
from reprise.restorer.decide import LEFT_OVER_S, left_over, spent
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.model import STEPS, LiveRef, PodNames, Recovery, Saga, Standby
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="shop", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
OLD = LiveRef("shop", "u1", "counter", "u1", LEFT_OVER_S, "v1")
STRANGER = PodNames(WORKLOAD, "u9", ("counter:1",))


def saga(**changed: object) -> Saga:
    known = {"failover_id": failover_id(TARGET, node_lost=True), "workload": WORKLOAD, "target": TARGET, "cause": "node-loss",
             "declared_at": datetime.now(UTC)}  # fmt: skip
    return Saga.model_validate(known | changed)


def test_what_nobody_names_for_an_hour_is_left_over() -> None:
    assert left_over(OLD, [STRANGER], [])
    assert not left_over(replace(OLD, idle_s=LEFT_OVER_S - 1), [STRANGER], [])


@pytest.mark.parametrize(
    "pod",
    [
        PodNames(WORKLOAD, "u1", ("counter:1",)),
        PodNames(WORKLOAD, "u2", (live_reference("shop", "fo-1", "counter"),)),
        PodNames(WORKLOAD, "u2", ("localhost:5797/shop/fo-1/counter@sha256:00",)),
        PodNames(WORKLOAD, "u2", ("counter:1",), live_id="fo-1"),
        PodNames(WORKLOAD, "fo-1", ("counter:1",)),
    ],
    ids=["its checkpoint's pod", "its image", "its image by digest", "its annotation", "named by its UID"],
)
def test_a_pod_that_leads_to_it_keeps_it_whatever_its_age(pod: PodNames) -> None:
    shown = replace(OLD, live_id="fo-1", idle_s=1e9)
    assert not left_over(shown, [STRANGER, pod], [])
    elsewhere = replace(pod, workload=Workload(namespace="other", name="counter"))
    assert left_over(shown, [STRANGER, elsewhere], []), "another namespace's pods cannot ask for it"


def test_every_attempt_of_a_failover_that_has_not_ended_keeps_its_own() -> None:
    name = failover_id(TARGET, node_lost=True)
    for live_id in (name, f"{name}-cold", f"{name}-2", f"{name}-2-cold", "u1"):
        shown = replace(OLD, live_id=live_id, pod_uid="u7")
        for step in (*STEPS, "undo", "wait", "abandoned"):
            assert left_over(shown, [STRANGER], [saga(step=step)]) == (step in ("complete", "abandoned"))


names = st.sampled_from(["u1", "u2", "fo-1", "fo-2", ""])
pods = st.builds(
    PodNames, st.sampled_from([WORKLOAD, Workload(namespace="other", name="counter")]), names.filter(bool),
    st.tuples(st.sampled_from(["counter:1", *(live_reference("shop", name, "counter") for name in ("u1", "u2", "fo-1"))])),
    names,
)  # fmt: skip
references = st.builds(
    LiveRef, st.sampled_from(["shop", "other"]), names.filter(bool), st.just("counter"), names, st.floats(0, 3 * LEFT_OVER_S),
    st.just("v1"),
)  # fmt: skip
sagas = st.builds(
    lambda step, uid, name: saga(step=step, target=TARGET.model_copy(update={"pod_uid": uid}), failover_id=name),
    st.sampled_from([*STEPS, "undo", "wait", "abandoned"]), names.filter(bool), st.sampled_from(["fo-1", "fo-2"]),
)  # fmt: skip


@given(references, st.lists(pods, max_size=4), st.lists(sagas, max_size=3))
def test_the_rule_is_every_name_and_the_hour(shown: LiveRef, there: list[PodNames], records: list[Saga]) -> None:
    """Told another way than the rule does it; and more pods or records never make anything left over."""
    here = [p for p in there if p.workload.namespace == shown.namespace]
    first = {p.uid for p in here if p.live_id in ("", p.uid)}
    """Pods that still go by their first name."""
    said = set(first)
    said |= {p.live_id for p in there if p.workload.namespace == shown.namespace and p.live_id}
    said |= {i.split("/")[2] for p in there if p.workload.namespace == shown.namespace for i in p.images if "/" in i}
    running = [r for r in records if not r.ended and r.workload.namespace == shown.namespace]
    said |= {r.failover_id for r in running} | {r.target.pod_uid for r in running}
    by_pod = {p.uid for p in here if p.uid in first or p.uid != shown.live_id} | {r.target.pod_uid for r in running}
    gone = left_over(shown, there, records)
    assert gone == (shown.live_id not in said and shown.pod_uid not in by_pod and shown.idle_s >= LEFT_OVER_S)
    if not gone:
        assert not left_over(shown, [*there, STRANGER], [*records, saga()])


@pytest.mark.parametrize("step", [*STEPS, "undo", "wait", "abandoned"])
def test_a_record_is_kept_while_its_pod_is_there_or_its_failover_runs(step: str) -> None:
    its_pod, fence = PodNames(WORKLOAD, "u1", ("counter:1",)), Fence(pod_uid="u1", holder="restorer", failover_id="fo-1")
    record = saga(step=step)
    for each in (record, fence):
        assert not spent(each, [STRANGER, its_pod], [record])
        assert spent(each, [STRANGER], [record]) == (step in ("complete", "abandoned", "wait"))


@given(st.lists(pods, max_size=4), st.lists(sagas, max_size=3))
def test_more_pods_or_running_failovers_never_make_a_record_spent(there: list[PodNames], records: list[Saga]) -> None:
    for uid in ("u1", "u2"):
        fence = Fence(pod_uid=uid, holder="node")
        if spent(fence, [*there, PodNames(WORKLOAD, "u9", ())], [*records, saga(step="verify")]):
            assert spent(fence, there, records)


@dataclass
class Store:
    """ports.References."""

    shown: dict[str, LiveRef] = field(default_factory=dict)
    away: bool = False

    async def idle(self) -> tuple[LiveRef, ...]:
        if self.away:
            raise StoreUnavailable("it does not answer")
        return tuple(self.shown.values())

    async def withdraw(self, reference: LiveRef) -> bool:
        if self.shown.get(reference.live_id) != reference:
            return False
        del self.shown[reference.live_id]
        return True


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
        self.store, self.cluster, self.leads = Store({"u1": OLD}), Cluster(), True
        self.bus = MemoryBus(MemoryServer())
        self.standbys = Bucket(self.bus, "standby", Standby)
        self.sagas = Bucket(self.bus, "failovers", Saga)
        self.looks = LeftOvers(self.bus, self.store, self.cluster, lambda: self.leads)

    async def look(self) -> None:
        await asyncio.sleep(leftovers.LOOK_S)
        await self.looks.look()


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.looptime
async def test_it_goes_at_the_second_look_that_finds_it_left_over(world: World) -> None:
    await world.look()
    assert world.store.shown
    await world.look()
    assert not world.store.shown


@pytest.mark.looptime
async def test_one_that_a_pod_named_in_between_or_that_was_written_starts_anew(world: World) -> None:
    await world.look()
    world.cluster.there = (PodNames(WORKLOAD, "u1", ("counter:1",)),)
    await world.look()
    world.cluster.there = (STRANGER,)
    await world.look()
    world.store.shown["u1"] = replace(OLD, version="v2")
    await world.look()
    assert world.store.shown
    await world.look()
    assert not world.store.shown


@pytest.mark.looptime
async def test_a_replica_that_lost_the_lead_removes_nothing(world: World) -> None:
    await world.look()
    world.leads = False
    await world.look()
    assert world.store.shown


@pytest.mark.looptime
@pytest.mark.parametrize("what", ["store", "cluster", "record"])
async def test_on_doubt_nothing_is_removed_and_looking_starts_anew(world: World, what: str) -> None:
    await world.look()
    world.store.away, world.cluster.away = what == "store", what == "cluster"
    if what == "record":
        await (await world.bus.jetstream.key_value("failovers")).put("fo-9", b'{"of": "another version"}')
    running = asyncio.create_task(world.looks.run())
    await asyncio.sleep(3 * leftovers.LOOK_S)
    running.cancel()
    assert world.store.shown
    assert not world.looks._since


@pytest.mark.looptime
async def test_a_standby_is_forgotten_when_its_workload_had_no_pod_for_an_hour(world: World) -> None:
    other = Workload(namespace="shop", name="other")
    for workload in (WORKLOAD, other):
        await world.standbys.put(container_key(workload, "counter"), Standby(node="n2"))
    for _ in range(6):
        await world.look()
    assert await world.standbys.get(container_key(other, "counter"))
    await world.look()
    assert await world.standbys.get(container_key(other, "counter")) is None
    assert await world.standbys.get(container_key(WORKLOAD, "counter")), "a pod of it is there"


@pytest.mark.looptime
async def test_a_standby_whose_record_changes_is_not_forgotten(world: World) -> None:
    name = container_key(Workload(namespace="shop", name="other"), "counter")
    await world.standbys.put(name, Standby(node="n2"))
    for round_ in range(9):
        if round_ == 5:
            await world.standbys.put(name, Standby(node="n3"))
        await world.look()
    assert await world.standbys.get(name)


@pytest.mark.looptime
async def test_fences_and_failovers_go_when_their_pod_was_gone_for_an_hour_and_not_before(world: World) -> None:
    fences = Bucket(world.bus, "fences", Fence)
    world.cluster.there = (PodNames(WORKLOAD, "u2", ("counter:1",)),)
    for uid in ("u1", "u2"):
        await fences.put(uid, Fence(pod_uid=uid, holder="restorer", failover_id=f"fo-{uid}"))
        record = saga(step="complete", failover_id=f"fo-{uid}", target=TARGET.model_copy(update={"pod_uid": uid}))
        await world.sagas.put(record.failover_id, record)
    for _ in range(6):
        await world.look()
    assert await fences.get("u1")
    await world.look()
    assert (await fences.get("u1"), await world.sagas.get("fo-u1")) == (None, None)
    assert await fences.get("u2")
    assert await world.sagas.get("fo-u2"), "its pod is there"


@pytest.mark.looptime
async def test_what_is_remembered_of_a_live_reference_goes_when_no_pod_goes_by_that_name(world: World) -> None:
    recoveries = Bucket(world.bus, "recoveries", Recovery)
    world.cluster.there = (PodNames(WORKLOAD, "u2", ("counter:1",)), PodNames(WORKLOAD, "u3", ("counter:1",), "rs-3"))
    await world.sagas.put("fo-4", saga(step="verify", failover_id="fo-4", target=TARGET.model_copy(update={"pod_uid": "u9"})))
    for live_id in ("u1", "u2", "rs-3", "fo-4-2"):
        await recoveries.put(f"{live_id}.counter", Recovery(checkpoint_id="ck1"))
    for _ in range(7):
        await world.look()
    left = [entry.key for entry in await recoveries.entries()]
    assert sorted(left) == ["fo-4-2.counter", "rs-3.counter", "u2.counter"]


@pytest.mark.looptime
async def test_a_fence_that_is_written_meanwhile_stays(world: World) -> None:
    fences = Bucket(world.bus, "fences", Fence)
    await fences.put("u1", Fence(pod_uid="u1", holder="node"))
    for round_ in range(9):
        if round_ == 5:
            await fences.put("u1", Fence(pod_uid="u1", holder="nobody"))
        await world.look()
    assert await fences.get("u1")
