"""The simulation that explores I1 and I6: the real agent, arbiter and saga on clocks of different rate, with links that fail
and messages that are late, doubled and out of order. A counterexample is a timeline.

One protected pod on n1; the arbiter and the restorer are elsewhere; n2 can take it. NATS is in memory, its compare-and-set the
real one; the container runtime, the freezer, the checkpointer and Kubernetes are the few lines below. Excluded, because not
promised: an agent that is down while its node is cut off (docs/adr/0008).
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
from reprise.contracts.annotations import Policy
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointTaken,
    Event,
    FailoverDeclared,
    FailoverHolding,
)
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher import arbiter, decide, holds, isolation
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.model import NodeLease
from reprise.restorer import decide as restorer_decide
from reprise.restorer import moving
from reprise.restorer.model import Good, Need, NodeView, PodView, Saga
from reprise.restorer.saga import SagaRunner
from reprise.restorer.testing import COLD_IMAGE, MemoryCluster, MemoryStore
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
LIVE = live_reference("default", "u1", "counter")
HEALED_AT_S, END_S = 45.0, 75.0
FaultKind = Literal[
    "cut", "cut-nats", "cut-api", "nats-down", "api-down", "agent-dead", "agent-restart", "node-off", "restorer-dead", "unhealthy"
]
"""unhealthy: the kubelet ends the old instance, as its livenessProbe would have it, and starts it again."""


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
    move_at_s: float | None = None
    """When a planned move is asked for."""
    arm_at_s: float | None = None
    """When a pod that is not armed is to be."""
    misses: bool = False
    """The checkpointer notices the end of the dump too late."""
    stored_after_s: float = 0.1
    hold_s: float = 20.0
    serves: bool = True
    """Whether what is restored elsewhere passes its probe."""

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
    pod_frozen: bool = False
    """What is frozen is so by its pod: the runtime does not let it run to end it."""
    freezes_pods: bool = True
    sealed: bool = False
    """No process is started in the old instance's pod any more."""
    old_id: str = "c1"
    ever_frozen: bool = False
    timeline: list[str] = field(default_factory=list)
    violation: str = ""

    def __post_init__(self) -> None:
        self.server, self.store = MemoryServer(), MemoryStore((Good("ck1", Need()),))
        n2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
        self.cluster = MemoryCluster(self.store, (n2,))
        image = LIVE if self.scenario.arm_at_s is None else COLD_IMAGE
        view = PodView("u1", "counter-1", False, image, "c1", "ReplicaSet", "counter-abc", "u1", wanted=1, cold_image=COLD_IMAGE)
        self.cluster.add(view, "n1")
        self.cluster.run = self._shadow_starts  # type: ignore[method-assign]
        self.lease_versions = 0
        self.dumped = ""
        """The checkpoint since which the old instance has not run."""
        self.told: set[str] = set()
        self.armed_from, self.lossy = "", False
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
        if name == "counter-1":
            self._armed(came_of)
            return
        self.cluster.pods[name].view = PodView(**(vars(self.cluster.pods[name].view) | {"container_id": f"{name}-c"}))
        self.note(f"{name} runs on n2, from {came_of}")
        if "move-1" in name and came_of != self.dumped:
            self.violate(f"the old instance ran on after {came_of}: what it did since is lost")
        self.check()

    def _armed(self, came_of: str) -> None:
        """The pod was given its live image: its kubelet ends the old instance and restores it."""
        self.note(f"the pod is armed, from {came_of}")
        self.lossy = Saga.model_validate_json(self.server.buckets["failovers"]["arm-1"].value).lossy
        if came_of != self.dumped and not self.lossy:
            self.violate(f"the old instance ran on after {came_of}: what it did since is lost")
        if "node-off" in self.active():
            return  # its kubelet does it later
        self.armed_from, self.dumped = came_of, ""
        self.old_id, self.old_runs, self.old_frozen = self.old_id + "'", True, False
        self.pod_frozen = False
        self.cluster.change("counter-1", container_id=self.old_id)
        self.check()

    def check(self) -> None:
        running = [n for n, p in self.cluster.pods.items() if p.came_of and n != "counter-1"]
        if self.old_runs and not self.old_frozen:
            running.append("counter-1 (the old instance)")
        if len(running) > 1 and not self.violation:
            self.violate(f"two run at once: {' and '.join(running)}")

    def violate(self, what: str) -> None:
        self.violation = self.violation or what
        self.note(f"VIOLATION {what}")

    def moving(self) -> bool:
        """A planned move, or an arming, that has not ended: its process may stand still."""
        return self.placing("move-1", "arm-1")

    def placing(self, *names: str) -> bool:
        """A failover that has not ended: one of these, if any are named."""
        rows = self.server.buckets.get("failovers", {})
        return any(not Saga.model_validate_json(rows[name].value).ended for name in names or rows if name in rows)

    def running(self) -> int:
        elsewhere = sum(bool(p.came_of) for n, p in self.cluster.pods.items() if n != "counter-1")
        return elsewhere + (self.old_runs and not self.old_frozen)

    # The container runtime and the freezer of n1.
    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        if not self.old_runs:
            return []
        return [RunningContainer(self.old_id, "s", "default", "counter-1", "u1", "counter", LIVE, "", 0, "running", 0)]

    def limitation(self) -> str:
        return ""

    def runs(self, container_id: str) -> bool:
        return self.old_runs and not self.old_frozen

    def freeze(self, container_id: str) -> bool:
        if not self.old_frozen:
            self.note("n1 froze the old instance")
        self.old_frozen = self.ever_frozen = True
        self.pod_frozen = self.freezes_pods
        return True

    def thaw(self, container_id: str) -> None:
        if self.old_frozen:
            self.note("n1 thawed the old instance")
        self.old_frozen, self.pod_frozen, self.dumped = False, False, ""
        self.check()

    def is_gone(self, container_id: str) -> bool:
        return not self.old_runs

    def thaw_pod(self, pod_uid: str) -> None:
        """Nothing is left in it."""

    def seal(self, pod_uid: str) -> None:
        self.sealed = True

    def kill(self, container_id: str) -> None:
        if self.old_runs:
            self.note("n1 ended the old instance")
        if "counter-1" in self.cluster.pods or not self.sealed:
            self.violate("the old instance was ended where its kubelet may start it again")
        self.old_runs = self.old_frozen = self.pod_frozen = False

    async def stop(self) -> None:
        """The kubelet has the runtime end the old instance: resumed, if it is frozen by itself, it handles SIGTERM first."""
        await asyncio.sleep(0.05)
        if self.pod_frozen:
            return
        if self.old_frozen:
            self.note("n1's runtime resumed the old instance to end it")
            self.old_frozen = False
            self.check()
        await asyncio.sleep(2.0)
        if self.old_runs and not self.pod_frozen:
            self.old_runs = self.old_frozen = False
            self.note("n1's kubelet ended the old instance: its pod is deleted")

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
            lease, KvLeases(bus), world, Bucket(bus, "fences", Fence), Bucket(bus, "holds", HoldRecord), world, world, pods,
            world, Announcer(bus), world.folder,  # type: ignore[arg-type]
        )  # fmt: skip
        holding = holds.Holds(bus, Bucket(bus, "holds", HoldRecord), guarded)
        told = deliver(world, (FailoverHolding, CheckpointTaken, CheckpointFailed), holding.on_event)
        tasks = [asyncio.create_task(part) for part in (guarded.renew_for_ever(), guarded.guard(), told)]
        world.agent = guarded
        world.note("n1's agent runs")
        while not world.active() & {"agent-dead", "agent-restart", "node-off"}:
            await asyncio.sleep(0.05)
        world.agent = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        world.note("n1's agent is gone")


async def deliver(world: World, kinds: tuple[type[Event], ...], handler: Callable[[Any], Any]) -> None:
    """To a consumer on n1: each after each of the scenario's delays, and again until it is handled."""
    work, seen = set[asyncio.Task[None]](), set[str]()

    async def handle(event: Event, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while True:
            with contextlib.suppress(TimeoutError):
                await world.call("nats", of_node=True)
                await handler(event)
                return
            await asyncio.sleep(0.5)

    try:
        while True:
            for name, event in list(world.server.events.items()):
                if isinstance(event, kinds) and name not in seen:
                    seen.add(name)
                    for delay_s in world.scenario.message_delays_s:
                        task = asyncio.create_task(handle(event, delay_s))
                        work.add(task)
                        task.add_done_callback(work.discard)
            await asyncio.sleep(0.02)
    finally:
        for task in work:
            task.cancel()


async def checkpointer(world: World) -> None:
    """n1's, with kubelet, CRIU and transfer: what it is told to hold, it holds; what was checkpointed gets into the store."""
    bus = world.bus(of_node=True)
    lock = asyncio.Lock()

    async def on_due(event: CheckpointDue) -> None:
        async with lock:
            if event.checkpoint_id in world.told:
                return
            if not world.old_runs or world.old_frozen or event.target.container_id != world.old_id:
                failed = CheckpointFailed(node="n1", workload=WORKLOAD, checkpoint_id=event.checkpoint_id, target=event.target,
                                          reason="UnhealthyBefore", message="", remedy="", hold=True)  # fmt: skip
                await bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}")
                return
            world.told.add(event.checkpoint_id)
            world.note(f"the last checkpoint {event.checkpoint_id} begins")
            await asyncio.sleep(0.15)
            if not world.old_runs or event.target.container_id != world.old_id:
                return
            held = not world.scenario.misses
            if held:
                world.old_frozen, world.dumped = True, event.checkpoint_id
                world.pod_frozen = world.freezes_pods
            world.note(f"the last checkpoint {event.checkpoint_id} ends, held: {held}")
        taken = CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger=event.trigger, keep=3, archive_path="", kubelet_started_at=event.at, kubelet_s=0.15, due_to_kubelet_s=0.0,
            held=held,
        )  # fmt: skip
        await again_until(lambda: bus.publish(taken, dedup_id=f"taken-{event.checkpoint_id}"))
        await asyncio.sleep(world.scenario.stored_after_s)
        await again_until(lambda: world.call("nats", of_node=True))
        world.store.good_ones = (Good(event.checkpoint_id, Need()), *world.store.good_ones)

    await deliver(world, (CheckpointDue,), on_due)


async def again_until(act: Callable[[], Any]) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await act()
            return
        await asyncio.sleep(0.5)


async def asks(world: World, cause: Literal["move", "arm"], at_s: float | None) -> None:
    if at_s is None:
        return
    await asyncio.sleep(at_s)
    if "counter-1" not in world.cluster.pods:
        return
    target, name = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id=world.old_id), f"{cause}-1"
    declared = FailoverDeclared(node="n1", workload=WORKLOAD, failover_id=name, target=target, cause=cause, detail="")
    await again_until(lambda: world.bus(of_node=False).publish(declared, dedup_id=f"declared-{name}"))


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
    was_off = was_unhealthy = False
    while True:
        off, unhealthy = "node-off" in world.active(), "unhealthy" in world.active()
        if unhealthy and not was_unhealthy and world.old_runs:
            world.old_runs = world.old_frozen = world.pod_frozen = False
            world.note("n1's kubelet ended the old instance: its livenessProbe failed")
        was_unhealthy = unhealthy
        if off and not was_off:
            world.old_runs = world.old_frozen = world.pod_frozen = False
            world.note("n1 is off")
        was_off = off
        if not off and world.up("api", of_node=True):
            if "counter-1" not in world.cluster.pods and world.old_runs:
                await world.stop()
                continue
            await asyncio.sleep(1.0)
            if "counter-1" in world.cluster.pods and not world.old_runs and "node-off" not in world.active():
                await asyncio.sleep(1.5)  # the agent is there first
                if "node-off" not in world.active() and "counter-1" in world.cluster.pods:
                    world.old_runs, world.old_id = True, world.old_id + "'"
                    world.note("n1's kubelet started the old pod again")
                    if not world.placing():
                        world.check()
                    if world.agent:  # the runtime's event
                        await world.agent.on_started()
                    if world.placing():  # a node that boots just then is not promised to be in time, but to be soon
                        await asyncio.sleep(1.0 + world.scenario.freeze_s)
                    world.check()
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
                world.note(f"declared: {event.cause}, fence at {event.fence_revision}")
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


class Anything(frozenset[str]):
    def __contains__(self, _: object) -> bool:
        return True


async def play(world: World) -> None:
    bus = world.bus(of_node=False)
    judge = SimulatedArbiter(
        world, SimpleNamespace(leading=True), KvLeases(bus), world, Bucket(bus, "fences", Fence), world, Announcer(bus), 0, "n0"
    )  # fmt: skip
    if not world.scenario.serves:
        world.store.poison = Anything()
    parts = (
        agent(world), kubelet(world), checkpointer(world), asks(world, "move", world.scenario.move_at_s),
        asks(world, "arm", world.scenario.arm_at_s), restorer(world), nodes_come(world),
        api_calls(world), other_lease(world), again(judge.follow), judge.follow_kubernetes(), again(judge.run),
    )  # fmt: skip
    tasks = [asyncio.ensure_future(part) for part in parts]
    for fault in world.scenario.faults:
        tasks.append(asyncio.create_task(tell(world, fault)))
    await asyncio.sleep(END_S + 2 * max(world.scenario.message_delays_s))  # what was told last is known, and its answer
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
        patch.setattr(restorer_decide, "HOLD_S", scenario.hold_s)
        patch.setattr(isolation, "time", Clock(scenario.node_rate))
        patch.setattr(arbiter, "time", Clock(scenario.arbiter_rate))
        patch.setattr(arbiter, "protected_on", lambda api, node: protected_pods(api))
        for rule in mutant.split("+"):
            break_on_purpose(patch, rule)
        yield patch


def break_on_purpose(patch: pytest.MonkeyPatch, mutant: str) -> None:
    async def may(*_: Any) -> decide.Thaw:
        return decide.Thaw(True, "nobody was asked")

    async def no(*_: Any) -> bool:
        return False

    async def nothing(*_: Any) -> None: ...

    match mutant:
        case "claim":
            patch.setattr(moving.LastCheckpoint, "claim", nothing)
        case "record-first":
            update = Bucket.update

            async def says_nothing(self: Bucket[Any], name: str, value: Any, revision: int) -> int | None:
                forgets = isinstance(value, HoldRecord) and value.reason in ("HoldEnded", "NotStored")
                return revision if forgets else await update(self, name, value, revision)

            patch.setattr(Bucket, "update", says_nothing)
        case "margin":
            patch.setattr(decide, "margin_s", lambda _: -1.5)
        case "fence":
            patch.setattr(restorer_decide, "may_take", lambda *_: None)
        case "ask-kubelet":
            patch.setattr(SimulatedArbiter, "_kubelet_answers", no)
        case "seal":
            patch.setattr(World, "seal", lambda *_: None)
        case "thaw-asks-first":
            patch.setattr(isolation.Isolation, "_ask", may)


def run(scenario: Scenario, mutant: str = "") -> World:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = looptime.new_event_loop()
    try:
        with TemporaryDirectory() as folder, simulated(scenario, mutant):
            world = World(scenario, Path(folder), freezes_pods="pod" not in mutant.split("+"))
            loop.run_until_complete(play(world))
            return world
    finally:
        loop.close()
        structlog.reset_defaults()


def timeline(world: World) -> str:
    return "\n".join((str(world.scenario), *world.timeline))
