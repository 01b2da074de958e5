"""Each failover is cut before and after each of its calls and resumed by another replica: the end is the same, and every
event is told once. The cluster, the store and NATS are in memory; the buckets' compare-and-set is the real one.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import looptime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import Event, FailoverHolding
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload, checkpoint_id, failover_id
from reprise.contracts.records import Fence, HoldRecord
from reprise.restorer import saga as saga_module
from reprise.restorer.decide import DELAYS, STEPS_BACK
from reprise.restorer.model import Good, Need, NodeView, PodView, Recovery, Saga, Standby
from reprise.restorer.saga import SagaRunner
from reprise.restorer.testing import BLANK, COLD_IMAGE, OWNER, MemoryCluster, MemoryStore
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.testing import MemoryBus, MemoryServer, recorded_spans

WORKLOAD = Workload(namespace="default", name="counter")
OLD = PodView("u1", "counter-1", False, COLD_IMAGE, "c1", "ReplicaSet", OWNER, "u1", wanted=1, cold_image=COLD_IMAGE)
LIVE = live_reference("default", "u1", "counter")
N1 = NodeView("n1", ready=False, schedulable=True, architecture="amd64", protected_pods=1)
N2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
GOOD = tuple(Good(f"ck{n}", Need(), container_id="c0") for n in (3, 2, 1))


AT = datetime(2026, 1, 1, tzinfo=UTC)
LAST = checkpoint_id("u1", "counter", AT)
"""The last checkpoint of what is moved or armed."""


@pytest.fixture(autouse=True)
def same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_module, "now", lambda: AT)


class Killed(BaseException):
    """kill -9: nothing in the service may catch it."""


class World:
    """Everything that outlives a restorer."""

    def __init__(self, path: str) -> None:
        self.server = MemoryServer()
        self.store = MemoryStore(GOOD)
        self.cluster = MemoryCluster(self.store, (N1, N2))
        self.target = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
        armed = path in ("in-place-armed", "shadow", "restore")
        self.cluster.add(replace(OLD, image=LIVE if armed else COLD_IMAGE), "n1")
        self.store.live[LIVE] = "ck3" if armed else ""
        if path == "in-place-armed":
            self.cluster.restart("counter-1")  # the kubelet's own restart needs none of us
        self.cause = {"shadow": "node-loss", "arm": "arm", "move": "move", "restore": "restore"}.get(path, "crash")
        self.stands_still = False
        self.unheld = ""
        """Why its node cannot hold it."""
        self.wanted = "ck2" if path == "restore" else ""
        if path in ("move", "arm", "restore"):
            self.cluster.run("counter-1", "running")
            self.cluster.change("counter-1", container_id="c1")
        self.calls: list[str] = []
        self.cut_at = -1

    async def _on_call(self, when: str, what: str) -> None:
        self.calls.append(f"{when} {what}")
        if len(self.calls) - 1 == self.cut_at:
            raise Killed(self.calls[-1])
        if self.cause in ("move", "arm"):
            await self._node()

    async def _node(self) -> None:
        """What the old pod's node does: takes the last checkpoint, holds, and thaws what is not wanted any more."""
        bus, old = MemoryBus(self.server), self.cluster.pods.get("counter-1")
        records = Bucket(bus, "holds", HoldRecord)
        for event in self.server.events.values():
            if old is None or not isinstance(event, FailoverHolding):
                continue
            entry, fence = await records.get(event.checkpoint_id), await self.fence()
            if entry and entry.value.state == "wanted" and self.unheld:
                failed = entry.value.model_copy(update={"state": "failed", "reason": self.unheld})
                await records.update(entry.key, failed, entry.revision)
            elif entry and entry.value.state == "wanted":
                old.came_of, self.stands_still = "", True
                self.store.good_ones = (Good(event.checkpoint_id, Need(), container_id="c1"), *self.store.good_ones)
                await records.update(entry.key, entry.value.model_copy(update={"state": "held"}), entry.revision)
            elif old.came_of:
                self.stands_still = False  # it was restored in its place
            elif entry is None and self.stands_still and (fence is None or fence.holder != "restorer"):
                self.stands_still = False
                assert self.cluster.serving() == [], "it runs again while another one runs"
                old.came_of = "running"

    def saga(self, **fields: object) -> Saga:
        name = failover_id(self.target, node_lost=self.cause == "node-loss")
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(fields.pop("judged", 0)))  # type: ignore[call-overload]
        asked = {"failover_id": name, "target": self.target, "cause": self.cause, "declared_at": at, "wanted": self.wanted}
        return Saga(workload=WORKLOAD, **asked | fields)  # type: ignore[arg-type]

    def runner(self) -> SagaRunner:
        self.store.on_call = self.cluster.on_call = self._on_call
        bus = MemoryBus(self.server, self._on_call)
        return SagaRunner(bus, self.cluster, self.store, verify_timeout_s=0.12, adopt_timeout_s=5, stage_timeout_s=0.06)

    async def run(self, cuts: tuple[int, ...] = (), **fields: object) -> Saga:
        """Deliver the declaration until it is settled; each replica is killed at its cut, counted in its own calls."""
        for cut in (*cuts, -1):
            self.calls, self.cut_at = [], cut
            try:
                return await self.runner().run(self.saga(**dict(fields)))
            except Killed:
                continue
        raise AssertionError("unreachable")

    async def fence(self) -> Fence | None:
        entry = await Bucket(MemoryBus(self.server), "fences", Fence).get("u1")
        return entry.value if entry else None

    async def recovery(self, live_id: str) -> Recovery:
        entry = await Bucket(MemoryBus(self.server), "recoveries", Recovery).get(f"{live_id}.counter")
        assert entry
        return entry.value

    def told(self) -> list[str]:
        return [event.TYPE for event in self.server.events.values()]

    def last(self, kind: str) -> Event:
        return [event for event in self.server.events.values() if kind == event.TYPE][-1]


@dataclass
class End:
    """What must be the same however often it was interrupted."""

    saga: Saga
    serving: list[str]
    told: list[str]
    pods: set[str]
    fence: Fence | None
    live: dict[str, str]


async def end_of(world: World, saga: Saga) -> End:
    return End(saga, world.cluster.serving(), sorted(world.server.events), set(world.cluster.pods), await world.fence(),
               dict(world.store.live))  # fmt: skip


Prepare = Callable[[World], None]


def nothing(_world: World) -> None: ...


def poisoned(world: World) -> None:
    world.store.poison = frozenset({"ck3"})


def hopeless(world: World) -> None:
    world.store.poison = frozenset({"ck3", "ck2", "ck1"})


def nothing_comes_to_life(world: World) -> None:
    world.store.poison = frozenset({"ck3", "ck2", "ck1", LAST})


def its_node_cannot_hold_it(world: World) -> None:
    world.unheld = "CannotHold"


def what_is_wanted_is_poisoned(world: World) -> None:
    world.store.poison = frozenset({"ck2"})


def what_is_wanted_is_gone(world: World) -> None:
    world.wanted = "ck0"


def no_standby(world: World) -> None:
    world.cluster.listed = (N1,)


def deleted(world: World) -> None:
    world.cluster.change("counter-1", deleting=True)


CASES: list[tuple[str, Prepare, str, list[str]]] = [
    ("in-place-armed", nothing, "complete", ["ck3"]),
    ("in-place-patch", nothing, "complete", ["ck3"]),
    ("arm", nothing, "complete", [LAST]),
    ("arm", its_node_cannot_hold_it, "complete", ["ck3"]),
    ("arm", deleted, "abandoned", ["running"]),
    ("shadow", nothing, "complete", ["ck3"]),
    ("in-place-patch", poisoned, "complete", ["ck2"]),
    ("shadow", poisoned, "complete", ["ck2"]),
    ("in-place-armed", poisoned, "complete", ["ck2"]),
    ("arm", nothing_comes_to_life, "abandoned", [BLANK]),
    ("in-place-patch", hopeless, "abandoned", [BLANK]),
    ("shadow", hopeless, "abandoned", []),
    ("shadow", no_standby, "wait", []),
    ("shadow", deleted, "abandoned", []),
    ("move", nothing, "complete", [LAST]),
    ("move", nothing_comes_to_life, "abandoned", ["running"]),
    ("move", no_standby, "abandoned", ["running"]),
    ("move", deleted, "abandoned", ["running"]),
    ("restore", nothing, "complete", ["ck2"]),
    ("restore", what_is_wanted_is_poisoned, "complete", ["ck3"]),
    ("restore", hopeless, "abandoned", [BLANK]),
    ("restore", what_is_wanted_is_gone, "abandoned", ["running"]),
    ("restore", deleted, "abandoned", ["running"]),
]
NAMES = [f"{path}, {prepare.__name__}" for path, prepare, *_ in CASES]


@pytest.mark.parametrize(("path", "prepare", "step", "serving"), CASES, ids=NAMES)
@pytest.mark.looptime
async def test_whoever_is_killed_wherever_the_end_is_the_same(path: str, prepare: Prepare, step: str, serving: list[str]) -> None:
    async def ends(*cuts: int) -> tuple[End, int]:
        world = World(path)
        prepare(world)
        saga = await world.run(cuts)
        return await end_of(world, saga), len(world.calls)

    expected, calls = await ends()
    assert (expected.saga.step, expected.serving) == (step, serving)
    for cut in range(0, calls, 1 + calls // 40):  # each of them in the long form below
        end, _ = await ends(cut)
        assert end == expected, f"killed at call {cut}"


@pytest.mark.long
@pytest.mark.parametrize(("path", "prepare"), [case[:2] for case in CASES], ids=NAMES)
@pytest.mark.looptime
async def test_two_kills_change_nothing_either(path: str, prepare: Prepare) -> None:
    async def ends(*cuts: int) -> tuple[End, int]:
        world = World(path)
        prepare(world)
        return await end_of(world, await world.run(cuts)), len(world.calls)

    expected, calls = await ends()
    for cuts in itertools.product(range(calls), range(0, calls, 1 + calls // 12)):
        assert (await ends(*cuts))[0] == expected, f"killed at calls {cuts}"


@pytest.mark.looptime
async def test_what_no_node_can_take_waits_and_goes_on_when_the_node_is_found_lost_again_and_one_is_able() -> None:
    world = World("shadow")
    no_standby(world)
    assert (await world.run()).step == "wait"
    assert world.last("failover.delayed").reason == "NoStandby"  # type: ignore[attr-defined]
    assert await world.fence() is None, "its node may return meanwhile"
    world.cluster.listed = (N1, N2)
    assert (await world.run()).step == "wait", "the same declaration delivered twice says nothing new"
    ended = await world.run(judged=1)
    assert (ended.step, world.cluster.serving()) == ("complete", ["ck3"])


@pytest.mark.looptime
async def test_the_budget_of_delays_ends() -> None:
    world = World("shadow")
    no_standby(world)
    for number in range(DELAYS + 1):
        ended = await world.run(judged=number)
    assert ended.step == "abandoned"
    assert (world.told().count("failover.delayed"), world.told().count("failover.abandoned")) == (DELAYS, 1)
    assert (await world.run(judged=99)).step == "abandoned", "nothing is new: the budget holds"


@pytest.mark.looptime
async def test_after_a_restore_what_was_newer_is_not_chosen_by_a_failover_and_can_be_asked_for() -> None:
    world = World("restore")
    restored = await world.run()
    noted = await world.recovery(restored.live_id)
    assert (noted.checkpoint_id, noted.void, noted.dead) == ("ck2", ("ck3",), ("c1",))
    late = Good("ck4", Need(), container_id="c1")  # its dump of the process that was ended had begun before
    world.store.good_ones = (late, *world.store.good_ones)
    world.cluster.pods["counter-1"].came_of = ""  # its node is lost
    lost = world.saga(failover_id="fo-later", cause="node-loss", wanted="")
    assert (await world.runner().run(lost)).checkpoint_id == "ck2"

    world = World("restore")
    await world.run()
    back = world.saga(failover_id="rs-back", wanted="ck3")
    ended = await world.runner().run(back)
    assert (ended.step, world.cluster.serving(), (await world.recovery(ended.live_id)).void) == ("complete", ["ck3"], ())


@pytest.mark.looptime
async def test_a_restore_that_cannot_even_begin_leaves_the_process_alone() -> None:
    world = World("restore")

    async def forbidden(*_: object) -> None:
        raise RecoveryError("its image could not be set: Forbidden", subject="pod default/counter-1")

    world.cluster.set_image = forbidden  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, ended.stop and ended.stop.outcome) == ("abandoned", "step-aside")
    assert world.cluster.serving() == ["running"]


async def node_claims(world: World) -> int:
    """A node that came back writes the fence before it thaws."""
    fences = Bucket(MemoryBus(world.server), "fences", Fence)
    return await fences.put("u1", Fence(pod_uid="u1", holder="node"))


@pytest.mark.looptime
async def test_a_node_that_returned_while_no_node_could_take_it_runs_on() -> None:
    world = World("shadow")
    no_standby(world)
    await world.run()
    await node_claims(world)
    world.cluster.restart("counter-1")
    world.cluster.listed = (N1, N2)
    ended = await world.run(judged=1)  # the arbiter's judgement is of before
    assert (ended.step, ended.stop and ended.stop.reason) == ("abandoned", "NodeReturned")
    assert len(world.cluster.pods) == 1


@pytest.mark.looptime
async def test_a_declaration_that_is_late_never_joins_an_instance_that_runs_again() -> None:
    world = World("shadow")
    await node_claims(world)
    world.cluster.restart("counter-1")
    ended = await world.run()
    assert (ended.step, ended.stop and ended.stop.outcome) == ("abandoned", "step-aside")
    assert len(world.cluster.pods) == 1


@pytest.mark.looptime
async def test_a_node_that_returned_and_is_lost_again_is_failed_over_under_another_name() -> None:
    world = World("shadow")
    claimed = await node_claims(world)
    assert (await world.run()).step == "abandoned"
    ended = await world.run(fence_revision=claimed, judged=1)
    assert (ended.step, ended.attempt) == ("complete", 2)
    assert world.cluster.serving() == ["ck3"]


@pytest.mark.looptime
async def test_the_fence_stays_while_older_checkpoints_are_tried_and_goes_with_the_last() -> None:
    world = World("shadow")
    hopeless(world)
    held = []

    async def look(when: str, what: str) -> None:
        if (when, what) == ("after", "create shadow"):
            fence = await world.fence()
            held.append(fence.holder if fence else "")

    world._on_call = look  # type: ignore[method-assign]
    await world.run()
    assert held == ["restorer"] * (STEPS_BACK + 1)
    fence = await world.fence()
    assert fence
    assert fence.holder == "nobody"
    assert len({name for name in world.store.live if name != LIVE}) >= STEPS_BACK + 1, "no two attempts share a reference"


def changed_at(world: World, moment: int, change: dict[str, object]) -> None:
    """Somebody changes the old pod at this call of the failover, if it is still there."""

    async def interfere(_when: str, what: str) -> None:
        if len(world.calls) == moment and "counter-1" in world.cluster.pods:
            world.cluster.change("counter-1", **change)
        world.calls.append(what)

    world._on_call = interfere  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"deleting": True}, "PodDeleting"), ({"wanted": 0}, "ScaledToZero"), ({"outdated": True}, "RolledOut"),
     ({"deleting": True, "evicted": "DeletionByTaintManager"}, "Evicted"), ({"uid": "u2"}, "PodGone")],
)  # fmt: skip
@pytest.mark.parametrize("path", ["shadow", "in-place-patch"])
@pytest.mark.looptime
async def test_a_users_will_wins_whenever_it_comes(path: str, change: dict[str, object], reason: str) -> None:
    """At each call in turn: then nothing that was restored is left, or it had served before."""
    undisturbed = World(path)
    await undisturbed.run()
    for moment in range(len(undisturbed.calls)):
        world = World(path)

        changed_at(world, moment, change)
        saga = await world.run()
        if saga.step == "complete":
            continue
        assert saga.stop
        assert (saga.stop.reason, saga.stop.harmless) == (reason, True)
        fence = await world.fence()
        assert fence is None or fence.holder == "nobody"
        assert set(world.cluster.pods) == {"counter-1"}, f"a shadow is left, moment {moment}"


@pytest.mark.parametrize("path", ["shadow", "in-place-patch"])
@pytest.mark.looptime
async def test_an_autoscaler_that_wants_more_of_it_changes_nothing_whenever_it_comes(path: str) -> None:
    undisturbed = World(path)
    await undisturbed.run()
    for moment in range(len(undisturbed.calls)):
        world = World(path)

        changed_at(world, moment, {"wanted": 2})
        assert (await world.run()).step == "complete", f"moment {moment}"
        assert world.cluster.serving() == undisturbed.cluster.serving()


@pytest.mark.looptime
async def test_a_move_is_of_whatever_instance_runs_by_then_and_its_node_is_the_standby() -> None:
    world = World("move")
    world.cluster.change("counter-1", container_id="c9")  # it was armed, or restored, since it was asked for
    standbys = Bucket(MemoryBus(world.server), "standby", Standby)
    await standbys.put(container_key(WORKLOAD, "counter"), Standby(node="n7"))
    ended = await world.run()
    assert (ended.step, ended.target.container_id, world.cluster.serving()) == ("complete", "c9", [LAST])
    named = await standbys.get(container_key(WORKLOAD, "counter"))
    assert named
    assert named.value.node == "n2", "what another node stages counts for nothing"


@pytest.mark.looptime
async def test_a_kubelet_that_waits_with_its_restart_is_nudged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga_module, "NUDGE_S", 0.05)
    world, nudged = World("in-place-armed"), []
    world.cluster.pods["counter-1"].came_of = ""

    async def nudge(namespace: str, pod: str, why: str) -> None:
        nudged.append(pod)
        world.cluster.restart(pod)

    monkeypatch.setattr(world.cluster, "nudge", nudge)
    assert (await world.run()).step == "complete"
    assert (nudged, world.cluster.serving()) == (["counter-1"], ["ck3"])


@pytest.mark.looptime
async def test_a_crash_hands_over_to_the_failover_of_its_lost_node() -> None:
    world = World("in-place-patch")
    fences = Bucket(MemoryBus(world.server), "fences", Fence)
    await fences.put("u1", Fence(pod_uid="u1", holder="restorer", failover_id="fo-node"))
    saga = await world.run()
    assert saga.stop
    assert (saga.stop.reason, saga.stop.outcome) == ("OtherFailover", "hand-over")
    assert world.cluster.history == [], "nothing was restored twice"


@pytest.mark.looptime
async def test_instances_that_end_soon_go_one_checkpoint_further_back_each_and_then_cold() -> None:
    """The first time may be chance; STEPS_BACK older ones are tried; no live reference ever moves back."""
    world, came_of = World("in-place-armed"), []
    for number in range(3 + STEPS_BACK):
        dead = world.cluster.pods["counter-1"]
        if number:
            world.target = world.target.model_copy(update={"container_id": dead.view.container_id})
            dead.came_of = ""
            world.cluster.restart("counter-1")  # the kubelet is always faster than we are
        saga = await world.run(lived_s=1.0, ran=dead.view.image)
        came_of.append(world.cluster.serving()[0])
    assert came_of == ["ck3", "ck3", "ck2", "ck1", BLANK]
    assert saga.stop
    assert saga.stop.reason == "Poisoned"
    assert saga.stop.remedy
    assert world.cluster.pods["counter-1"].view.image == COLD_IMAGE
    assert not (await world.recovery(world.cluster.pods["counter-1"].view.live_id)).arms, "it is not armed with poison again"


@pytest.mark.looptime
async def test_an_instance_that_was_checkpointed_has_lived_however_short() -> None:
    world = World("in-place-armed")
    await world.run(lived_s=100.0, ran=LIVE)
    for number in (4, 5, 6):
        container_id = world.cluster.pods["counter-1"].view.container_id
        world.store.good_ones = (Good(f"ck{number}", Need(), container_id=container_id), *world.store.good_ones)
        world.target = world.target.model_copy(update={"container_id": container_id})
        world.cluster.pods["counter-1"].came_of = ""
        world.cluster.restart("counter-1")
        await world.run(lived_s=8.0, ran=LIVE)
    assert (await world.recovery("u1")).strikes == 0


@pytest.mark.looptime
async def test_an_instance_that_is_replaced_by_us_is_not_taken_for_a_crash_of_its_checkpoint() -> None:
    world = World("in-place-armed")
    await world.run(lived_s=100.0, ran=LIVE)
    world.target = world.target.model_copy(update={"container_id": "replaced"})
    await world.run(lived_s=1.0, ran="localhost:5797/default/other/counter:live")
    assert (await world.recovery("u1")).strikes == 0


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_two_replicas_at_once_end_as_one(data: st.DataObject) -> None:
    """A message is delivered to a second replica while the first still works on it; their calls interleave in any order."""

    async def both(path: str) -> None:
        world = World(path)

        async def slow(when: str, what: str) -> None:
            await asyncio.sleep(data.draw(st.sampled_from([0.0, 0.001, 0.02])))

        world._on_call = slow  # type: ignore[method-assign]
        await asyncio.gather(world.run(), world.run(), return_exceptions=True)
        saga = await world.run()
        assert saga.step == "complete"
        assert world.cluster.serving() == ["ck3"]
        assert len(world.told()) == len(set(world.server.events))

    path = data.draw(st.sampled_from(["in-place-armed", "in-place-patch", "shadow"]))
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(both(path))
    finally:
        loop.close()


@pytest.mark.looptime
async def test_a_scale_down_while_it_stands_still_wins_and_the_move_lets_go_of_it() -> None:
    world = World("move")
    plain = world._on_call

    async def scaled(when: str, what: str) -> None:
        await plain(when, what)
        if (when, what) == ("after", "publish failover.fenced"):
            world.cluster.change("counter-1", wanted=0)

    world._on_call = scaled  # type: ignore[method-assign]
    ended = await world.run()
    assert (ended.step, ended.stop and ended.stop.reason) == ("abandoned", "ScaledToZero")
    assert set(world.cluster.pods) == {"counter-1"}
    fence = await world.fence()
    assert fence
    assert fence.holder == "nobody"


@pytest.mark.parametrize(("path", "cause"), [("in-place-armed", "crash"), ("shadow", "node-loss")])
async def test_a_failover_that_ended_is_counted_once_however_often_it_is_declared(path: str, cause: str) -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("reprise_failovers_total", {"cause": cause, "outcome": "restored"}) or 0.0

    before, world = counted(), World(path)
    assert (await world.run()).step == "complete"
    assert (await world.run()).step == "complete"
    assert counted() == before + 1
    took = REGISTRY.get_sample_value("reprise_failover_seconds_count", {"cause": cause, "path": path})
    assert took


async def test_each_step_is_a_span_and_from_the_plan_on_it_leads_to_the_checkpoint_that_is_restored() -> None:
    made_in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    world = World("shadow")
    world.store.good_ones = (replace(GOOD[0], traceparent=made_in), *GOOD[1:])
    with recorded_spans() as spans:
        assert (await world.run()).step == "complete"
        steps = [each for each in spans.all() if each.name.startswith("saga.")]
    assert [each.name for each in steps] == [f"saga.{step}" for step in ("plan", "fence", "image", "place", "verify", "adopt")]
    for step in steps:
        (leads,) = step.links
        assert f"{leads.context.trace_id:032x}" == made_in.split("-")[1]
    placed = dict(steps[3].attributes or {})
    assert placed["reprise.checkpoint.id"] == "ck3"
    assert placed["reprise.failover.path"] == "shadow"
    assert placed["k8s.deployment.name"] == "counter"
