"""I1 and I6 explored: the real agent, arbiter and saga on clocks of different rate, with links that fail and messages that
are late, doubled and out of order. A counterexample is a timeline.

One protected pod on n1; the arbiter and the restorer are elsewhere; n2 can take it. NATS is in memory, its compare-and-set the
real one; the container runtime, the freezer and Kubernetes are the few lines below. Excluded, because not promised: an
agent that is down while its node is cut off (docs/adr/0008).
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal

import looptime
import pytest
import structlog
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from reprise.contracts.annotations import Policy
from reprise.contracts.events import FailoverDeclared, NodeLost
from reprise.contracts.images import live_reference
from reprise.contracts.model import Workload
from reprise.health_watcher import arbiter, decide, isolation
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.model import Fence, NodeLease
from reprise.restorer import decide as restorer_decide
from reprise.restorer.model import Good, Need, NodeView, PodView, Saga
from reprise.restorer.saga import SagaRunner
from reprise.restorer.testing import MemoryCluster, MemoryStore
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
LIVE = live_reference("default", "u1", "counter")
HEALED_AT_S, END_S = 45.0, 75.0
FaultKind = Literal[
    "cut", "cut-nats", "cut-api", "nats-down", "api-down", "agent-dead", "agent-restart", "node-off", "restorer-dead"
]


@dataclass(frozen=True)
class Fault:
    kind: FaultKind
    at_s: float
    for_s: float

    @property
    def until_s(self) -> float:
        return min(self.at_s + (0.3 if self.kind == "agent-restart" else self.for_s), HEALED_AT_S)


@dataclass(frozen=True)
class Scenario:
    """node_rate, arbiter_rate: seconds of their clock per second. loses_replies: what a cut link takes last has its effect."""

    faults: tuple[Fault, ...]
    node_rate: float = 1.0
    arbiter_rate: float = 1.0
    message_delays_s: tuple[float, ...] = (0.0,)
    watch_delay_s: float = 0.0
    freeze_s: float = 0.02
    loses_replies: bool = False
    standby_from_s: float = 0.0

    def active(self, now_s: float) -> set[str]:
        return {f.kind for f in self.faults if f.at_s <= now_s < f.until_s}


def promised(scenario: Scenario) -> bool:
    """Without the double fault: an agent that is down while its node can renew by neither way."""
    for down in (f for f in scenario.faults if f.kind in ("agent-dead", "node-off")):
        for other in scenario.faults:
            away = other.kind in ("cut", "cut-nats", "cut-api", "nats-down", "api-down", "node-off", "agent-restart")
            if other is not down and away and other.at_s < down.until_s + 6 and down.at_s < other.until_s + 6:
                return False
    return True


@dataclass
class World:
    scenario: Scenario
    folder: Path
    old_runs: bool = True
    old_frozen: bool = False
    old_id: str = "c1"
    ever_frozen: bool = False
    timeline: list[str] = field(default_factory=list)
    violation: str = ""

    def __post_init__(self) -> None:
        self.server, self.store = MemoryServer(), MemoryStore((Good("ck1", Need()),))
        n2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
        self.cluster = MemoryCluster(self.store, (n2,))
        view = PodView("u1", "counter-1", False, LIVE, "c1", "ReplicaSet", "counter-abc", "u1", wanted=1)
        self.cluster.add(view, "n1")
        self.cluster.run = self._shadow_starts  # type: ignore[method-assign]
        self.lease_versions = 0
        self.told: set[str] = set()
        self.agent: isolation.Isolation | None = None

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def active(self) -> set[str]:
        return self.scenario.active(self.now())

    def note(self, text: str) -> None:
        self.timeline.append(f"{self.now():7.2f} s  {text}")

    def up(self, what: Literal["nats", "api"], *, of_node: bool) -> bool:
        active = self.active()
        return not (f"{what}-down" in active or (of_node and active & {"cut", f"cut-{what}", "node-off"}))

    def _shadow_starts(self, name: str, came_of: str) -> None:
        self.cluster.pods[name].came_of = came_of
        self.cluster.pods[name].view = PodView(**(vars(self.cluster.pods[name].view) | {"container_id": f"{name}-c"}))
        self.note(f"{name} runs on n2")
        self.check()

    def check(self) -> None:
        running = [n for n, p in self.cluster.pods.items() if p.came_of]
        if self.old_runs and not self.old_frozen:
            running.append("counter-1 (the old instance)")
        if len(running) > 1 and not self.violation:
            self.violation = f"two run at once: {' and '.join(running)}"
            self.note(f"VIOLATION {self.violation}")

    def running(self) -> int:
        return sum(bool(p.came_of) for p in self.cluster.pods.values()) + (self.old_runs and not self.old_frozen)

    # The container runtime and the freezer of n1.
    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        if not self.old_runs:
            return []
        return [RunningContainer(self.old_id, "s", "default", "counter-1", "u1", "counter", LIVE, "", 0, "running", 0)]

    def limitation(self) -> str:
        return ""

    def freeze(self, container_id: str) -> bool:
        if not self.old_frozen:
            self.note("n1 froze the old instance")
        self.old_frozen = self.ever_frozen = True
        return True

    def thaw(self, container_id: str) -> None:
        if self.old_frozen:
            self.note("n1 thawed the old instance")
        self.old_frozen = False
        self.check()

    # The API server.
    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        await self.call("api", of_node=True)
        return name in self.cluster.pods

    async def renew(self, lease: NodeLease) -> None:
        await self.call("api", of_node=True)
        self.lease_versions += 1
        await self.call("api", of_node=True, reply=True)

    async def versions(self) -> dict[str, str]:
        await self.call("api", of_node=False)
        return {"n1": str(self.lease_versions)}

    async def call(self, what: Literal["nats", "api"], *, of_node: bool, reply: bool = False) -> None:
        await asyncio.sleep(0.003)
        if (not reply or self.scenario.loses_replies) and not self.up(what, of_node=of_node):
            await asyncio.sleep(0.5)
            raise TimeoutError

    def bus(self, *, of_node: bool) -> MemoryBus:
        async def on_call(when: str, what: str) -> None:
            if what == "deliver":
                await asyncio.sleep(self.scenario.watch_delay_s)
            await self.call("nats", of_node=of_node, reply=when == "after")

        return MemoryBus(self.server, on_call)  # type: ignore[arg-type]


class Clock:
    """In place of the module time."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def monotonic(self) -> float:
        return 1000.0 + asyncio.get_running_loop().time() * self._rate


class SimulatedArbiter(arbiter.Arbiter):
    def __init__(self, world: World, *of: Any) -> None:
        super().__init__(*of)
        self._world = world

    async def _kubelet_answers(self, host_ip: str) -> bool:
        return not self._world.active() & {"cut", "node-off"}


def the_pod(world: World) -> ProtectedPod:
    container = ProtectedContainer("counter", LIVE, world.old_id, running=True)
    policy = Policy(mode="criu")
    return ProtectedPod(WORKLOAD, policy, "default", "counter-1", "u1", "n1", "", "", "Running", False, (container,), "u1")


async def protected_pods(world: World) -> list[ProtectedPod]:
    await world.call("api", of_node=False)
    return [the_pod(world)] if "counter-1" in world.cluster.pods else []


async def agent(world: World) -> None:
    """n1's: killed and started again by the scenario; what it wrote to disk stays."""
    while True:
        while world.active() & {"agent-dead", "agent-restart", "node-off"}:
            await asyncio.sleep(0.05)
        bus = world.bus(of_node=True)
        lease = NodeLease(node="n1", host_ip="", boot_id="b", renewals=0, can_freeze=False)
        pods = SimpleNamespace(pods={"u1": the_pod(world)}, synced=True)
        guarded = isolation.Isolation(
            lease, KvLeases(bus), world, Bucket(bus, "fences", Fence), world, world, pods, world, Announcer(bus), world.folder  # type: ignore[arg-type]
        )  # fmt: skip
        tasks = [asyncio.create_task(guarded.renew_for_ever()), asyncio.create_task(guarded.guard())]
        world.agent = guarded
        world.note("n1's agent runs")
        while not world.active() & {"agent-dead", "agent-restart", "node-off"}:
            await asyncio.sleep(0.05)
        world.agent = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        world.note("n1's agent is gone")


async def other_lease(world: World) -> None:
    """The arbiter's own node renews."""
    bucket, renewals = Bucket(world.bus(of_node=False), "leases", NodeLease), 0
    while True:
        renewals += 1
        sent_at_s = arbiter.time.monotonic()
        lease = NodeLease(node="n0", host_ip="", boot_id="b", renewals=renewals, can_freeze=True, sent_at_s=sent_at_s)
        with contextlib.suppress(TimeoutError):
            await bucket.put("node.n0", lease)
        await asyncio.sleep(0.9)


async def kubelet(world: World) -> None:
    """Ends what the API server does not have any more; starts again, after a power failure, what it has."""
    was_off = False
    while True:
        off = "node-off" in world.active()
        if off and not was_off:
            world.old_runs, world.old_frozen = False, False
            world.note("n1 is off")
        was_off = off
        if not off and world.up("api", of_node=True):
            await asyncio.sleep(1.0)
            if "counter-1" not in world.cluster.pods and world.old_runs:
                world.old_runs = False
                world.note("n1's kubelet ended the old instance: its pod is deleted")
            elif "counter-1" in world.cluster.pods and not world.old_runs and "node-off" not in world.active():
                await asyncio.sleep(1.5)  # the agent is there first
                if "node-off" not in world.active() and "counter-1" in world.cluster.pods:
                    world.old_runs, world.old_id = True, world.old_id + "'"
                    world.note("n1's kubelet started the old pod again")
                    world.check()
                    if world.agent:  # the runtime's event
                        await world.agent.on_started()
        await asyncio.sleep(0.2)


async def restorer(world: World) -> None:
    """Gets each declaration after its delays, once for each: late, doubled, out of order; again until it is settled."""
    work: set[asyncio.Task[None]] = set()

    async def handle(event: FailoverDeclared, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        saga = Saga(failover_id=event.failover_id, workload=event.workload, target=event.target, cause=event.cause,
                    declared_at=event.at, fence_revision=event.fence_revision)  # fmt: skip
        while True:
            while "restorer-dead" in world.active():
                await asyncio.sleep(0.2)
            runner = SagaRunner(
                world.bus(of_node=False), world.cluster, world.store, verify_timeout_s=5, adopt_timeout_s=5, stage_timeout_s=0.3
            )
            task = asyncio.ensure_future(runner.run(saga))
            while not task.done() and "restorer-dead" not in world.active():
                await asyncio.wait({task}, timeout=0.05)
            if task.done() and not task.exception():
                world.note(f"failover: {task.result().step} {task.result().why}")
                return
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0.5)

    seen: set[str] = set()
    while True:
        for name, event in list(world.server.events.items()):
            if isinstance(event, FailoverDeclared) and name not in seen:
                seen.add(name)
                world.note(f"declared: node loss, fence at {event.fence_revision}")
                for delay_s in world.scenario.message_delays_s:
                    task = asyncio.create_task(handle(event, delay_s))
                    work.add(task)
                    task.add_done_callback(work.discard)
        await asyncio.sleep(0.05)


async def nodes_come(world: World) -> None:
    able = world.cluster.listed
    world.cluster.listed = ()
    await asyncio.sleep(world.scenario.standby_from_s)
    world.cluster.listed = able


async def api_calls(world: World) -> None:
    async def on_call(when: str, what: str) -> None:
        await world.call("api", of_node=False)

    world.cluster.on_call = on_call
    await asyncio.Event().wait()


async def play(world: World) -> None:
    bus = world.bus(of_node=False)
    judge = SimulatedArbiter(
        world, SimpleNamespace(leading=True), KvLeases(bus), world, Bucket(bus, "fences", Fence), world, Announcer(bus), 0, "n0"
    )  # fmt: skip
    parts = (agent(world), kubelet(world), restorer(world), nodes_come(world), api_calls(world), other_lease(world),
             again(judge.follow), judge.follow_kubernetes(), again(judge.run))  # fmt: skip
    tasks = [asyncio.ensure_future(part) for part in parts]
    for fault in world.scenario.faults:
        tasks.append(asyncio.create_task(tell(world, fault)))
    await asyncio.sleep(END_S)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def again(part: Callable[[], Any]) -> None:
    """As Service keeps its parts."""
    while True:
        with contextlib.suppress(Exception):
            await part()
        await asyncio.sleep(0.1)


async def tell(world: World, fault: Fault) -> None:
    await asyncio.sleep(fault.at_s)
    world.note(f"begins: {fault.kind}")
    await asyncio.sleep(fault.until_s - fault.at_s)
    world.note(f"ends: {fault.kind}")


@contextlib.contextmanager
def simulated(scenario: Scenario, mutant: str) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:

        async def inline(act: Callable[..., Any], *args: Any) -> Any:
            await asyncio.sleep(scenario.freeze_s)
            return act(*args)

        patch.setattr(asyncio, "to_thread", inline)
        patch.setattr(isolation, "time", Clock(scenario.node_rate))
        patch.setattr(arbiter, "time", Clock(scenario.arbiter_rate))
        patch.setattr(arbiter, "protected_on", lambda api, node: protected_pods(api))
        break_on_purpose(patch, mutant)
        yield patch


def break_on_purpose(patch: pytest.MonkeyPatch, mutant: str) -> None:
    async def yes(*_: Any) -> bool:
        return True

    async def no(*_: Any) -> bool:
        return False

    match mutant:
        case "margin":
            patch.setattr(decide, "margin_s", lambda _: -1.5)
        case "fence":
            patch.setattr(restorer_decide, "may_take", lambda *_: None)
        case "ask-kubelet":
            patch.setattr(SimulatedArbiter, "_kubelet_answers", no)
        case "thaw-asks-first":
            patch.setattr(isolation.Isolation, "_may_run", yes)


def run(scenario: Scenario, mutant: str = "") -> World:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = looptime.new_event_loop()
    try:
        with TemporaryDirectory() as folder, simulated(scenario, mutant):
            world = World(scenario, Path(folder))
            loop.run_until_complete(play(world))
            return world
    finally:
        loop.close()
        structlog.reset_defaults()


# Durations about the limits: shorter than a lease, between freezing and giving up, and long.
durations = st.sampled_from([0.5, 2.5, 4.5, 5.5, 7.0, 12.0, 20.0])
times = st.integers(20, 200).map(lambda tenths: tenths / 10)
faults = st.builds(Fault, st.sampled_from(FaultKind.__args__), times, durations)  # type: ignore[attr-defined]
scenarios = st.builds(
    Scenario,
    faults=st.lists(faults, min_size=1, max_size=4).map(tuple),
    node_rate=st.floats(0.95, 1.05),
    arbiter_rate=st.floats(0.95, 1.05),
    message_delays_s=st.lists(st.sampled_from([0.0, 0.5, 2.0, 4.0, 15.0]), min_size=1, max_size=3).map(tuple),
    watch_delay_s=st.sampled_from([0.0, 0.05, 0.5]),
    freeze_s=st.sampled_from([0.02, 0.5]),
    loses_replies=st.booleans(),
    standby_from_s=st.sampled_from([0.0, 0.0, 8.0, 20.0]),
).filter(promised)


def timeline(world: World) -> str:
    return "\n".join((str(world.scenario), *world.timeline))


DIRECTED = [
    Scenario((Fault("cut", 5.0, 7.0),)),
    Scenario((Fault("cut", 5.0, 7.0),), message_delays_s=(4.0, 0.0)),
    Scenario((Fault("cut", 5.0, 5.5),), message_delays_s=(3.0,)),
    Scenario((Fault("cut", 5.0, 12.0), Fault("agent-restart", 6.0, 0.3))),
    Scenario((Fault("cut", 5.0, 12.0),), standby_from_s=20.0),
    Scenario((Fault("node-off", 5.0, 20.0),)),
    Scenario((Fault("node-off", 2.0, 4.5),), message_delays_s=(4.0,)),
    Scenario((Fault("node-off", 5.0, 30.0),), standby_from_s=20.0),
    Scenario((Fault("agent-dead", 5.0, 20.0),)),
    Scenario((Fault("cut", 5.0, 12.0), Fault("restorer-dead", 9.0, 9.0))),
    Scenario((Fault("cut", 5.0, 6.0), Fault("cut", 13.0, 20.0))),
    Scenario((Fault("nats-down", 5.0, 15.0), Fault("api-down", 8.0, 15.0))),
]


def test_a_declaration_that_is_late_does_not_join_a_node_that_returned() -> None:
    """One history in the fast loop; the others are long."""
    world = run(Scenario((Fault("cut", 5.0, 5.5),), message_delays_s=(3.0,)))
    assert any("NodeReturned" in line or "came back first" in line for line in world.timeline), timeline(world)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize("scenario", DIRECTED, ids=lambda s: "+".join(f.kind for f in s.faults))
def test_one_instance_at_every_moment_and_one_at_the_end(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["nats-down", "api-down", "cut-nats", "cut-api", "restorer-dead"])
def test_one_thing_away_freezes_nobody_and_fails_nobody_over(kind: FaultKind) -> None:
    world = run(Scenario((Fault(kind, 5.0, 30.0),)))
    assert not world.ever_frozen, timeline(world)
    assert not [e for e in world.server.events.values() if isinstance(e, NodeLost)], timeline(world)
    assert world.running() == 1


@pytest.mark.long
def test_everyone_blind_at_once_fails_nobody_over() -> None:
    world = run(Scenario((Fault("nats-down", 5.0, 20.0), Fault("api-down", 5.0, 20.0))))
    assert not [e for e in world.server.events.values() if isinstance(e, FailoverDeclared)], timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink))
@given(scenarios)
def test_no_history_of_faults_makes_two(scenario: Scenario) -> None:
    world = run(scenario)
    assert not world.violation, timeline(world)
    assert world.running() == 1, timeline(world)


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["margin", "fence", "ask-kubelet", "thaw-asks-first"])
def test_each_rule_is_needed(mutant: str) -> None:
    """Broken on purpose, each makes two run at once in a history that is explored anyway; else this model proves nothing."""
    broken = [world for scenario in DIRECTED if (world := run(scenario, mutant)).violation]
    assert broken, f"without {mutant} nothing went wrong"
    assert "VIOLATION" in timeline(broken[0])


@pytest.mark.long
@pytest.mark.parametrize("mutant", ["margin", "fence", "ask-kubelet", "thaw-asks-first"])
def test_exploring_finds_each_broken_rule_by_itself(mutant: str) -> None:
    limits = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    try:
        found = find(scenarios, lambda scenario: bool(run(scenario, mutant).violation), settings=limits)
    except NoSuchExample:
        pytest.fail(f"without {mutant} nothing went wrong")
    print(timeline(run(found, mutant)))
