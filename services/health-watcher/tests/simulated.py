"""The simulation that explores I1, I6 and I9: the real agent, arbiter and saga on clocks of different rate, the engine's rules at
each start, with links that fail and messages that are late, doubled and out of order. A counterexample is a timeline.

A node that is paused stands still with all that is on it, its timers too; its clock sees that, or stands still as well. What runs
on one that was given up meanwhile runs beside its successor for a moment: for decide.window_s() at the most.

One protected pod on n1; the arbiter and the restorer are elsewhere; n2 can take it. NATS is in memory, its compare-and-set the
real one; the container runtime, the kernel, the checkpointer and Kubernetes are the few lines below, the engine is engine_rule.
Excluded, because not promised: an agent that is down while its node is cut off (docs/adr/0008).
"""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
import structlog
from engine_rule import Act, engine_rule, lease_held
from reprise.contracts.annotations import Policy
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointStaged,
    CheckpointTaken,
    Event,
    FailoverDeclared,
    FailoverHolding,
    FailoverReleased,
    ImageBuilt,
)
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher import arbiter, decide, fences, lease, reconciler
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.adapters.files import write_whole
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.agent import Agent, Outside
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.brake import Account, Brake
from reprise.health_watcher.model import Exit, NodeLease
from reprise.health_watcher.ports import LeaseTaken
from reprise.health_watcher.testing import MemoryPods
from reprise.restorer import decide as restorer_decide
from reprise.restorer import fences as restorer_fences
from reprise.restorer.model import Good, Need, NodeView, PodView, Saga
from reprise.restorer.room import Room, Timeouts
from reprise.restorer.saga import SagaRunner
from reprise.restorer.standby import Standbys
from reprise.restorer.starts import Starts
from reprise.restorer.testing import OWNER, MemoryCluster, MemoryStore
from reprise.runtime.cri import RunningContainer, Status
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import NodeFiles, StartFile
from reprise.runtime.testing import MemoryBus, MemoryServer
from virtual import ON_NODE, VirtualLoop

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A disk's renames, two or three per second and node, would take longer than all the rest."""
WORKLOAD = Workload(namespace="default", name="counter")
HEALED_AT_S, SETTLED_S = 45.0, 30.0
"""No fault lasts longer than until then; a history ends so long after the last that happens in it."""
UP_BEFORE_S = 900.0
INFORMED_S = 2.0
AWAY_S, FORGETS_S = 1.5, 8.0
FaultKind = Literal[
    "cut",
    "cut-nats",
    "cut-api",
    "nats-down",
    "api-down",
    "agent-dead",
    "agent-restart",
    "node-off",
    "restorer-dead",
    "unhealthy",
    "disk-full",
    "run-full",
    "paused",
    "paused-unseen",
]
"""unhealthy: the kubelet ends the old instance, as its livenessProbe would have it: by SIGKILL, which on cgroup v2 ends what is
frozen too. Then it starts it again. disk-full: the state disk takes nothing (nor if it is read-only). run-full: nor does tmpfs.
paused, paused-unseen: the whole node stands still, and its CLOCK_BOOTTIME goes on or does not.
"""
PAUSES = ("paused", "paused-unseen")


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
    misses: bool = False
    """The last checkpoint does not hold the process."""
    stored_after_s: float = 0.1
    hold_s: float = 20.0
    restores: bool = True
    """Whether CRIU restores it elsewhere."""
    create_s: float = 0.15
    """From the engine's decision until the process runs."""
    set_back_at_s: float | None = None
    """When NATS goes away; AWAY_S later it is back, without what was written in the last FORGETS_S."""

    def active(self, now_s: float) -> set[str]:
        return {f.kind for f in self.faults if f.at_s <= now_s < f.until_s}

    def paused_until_s(self, now_s: float) -> float:
        """now_s itself if it is not paused."""
        return max((f.until_s for f in self.faults if f.kind in PAUSES and f.at_s <= now_s < f.until_s), default=now_s)

    def due_s(self, now_s: float, due_s: float) -> float:
        """When a timer of n1 ends: those of a machine that stands still do as well."""
        counted_s = now_s
        for fault in sorted((f for f in self.faults if f.kind in PAUSES), key=lambda f: f.at_s):
            if counted_s < fault.until_s and fault.at_s <= due_s:  # pauses may overlap
                due_s += fault.until_s - max(counted_s, fault.at_s)
                counted_s = fault.until_s
        return due_s

    def unseen_s(self, now_s: float) -> float:
        """So much has passed that n1's clock did not see."""
        total_s = counted_s = 0.0
        for fault in sorted((f for f in self.faults if f.kind == "paused-unseen"), key=lambda f: f.at_s):
            begin_s, end_s = max(counted_s, fault.at_s), min(now_s, fault.until_s)
            total_s, counted_s = total_s + max(0.0, end_s - begin_s), max(counted_s, fault.until_s)
        return total_s

    @property
    def end_s(self) -> float:
        """What was told last is known by then, and its answer."""
        moved_s = self.move_at_s + self.stored_after_s if self.move_at_s is not None else 0.0
        last_s = max(moved_s, min(self.standby_from_s, HEALED_AT_S), *(f.until_s for f in self.faults), 0.0)
        return last_s + SETTLED_S + 2 * max(self.message_delays_s)


def promised(scenario: Scenario) -> bool:
    """Without the double fault: an agent that is down while its node can renew by neither way."""
    for down in (f for f in scenario.faults if f.kind in ("agent-dead", "node-off")):
        for other in scenario.faults:
            away = other.kind in (
                "cut", "cut-nats", "cut-api", "nats-down", "api-down", "node-off", "agent-restart", "run-full", *PAUSES
            )  # fmt: skip
            if other is not down and away and other.at_s < down.until_s + 6 and down.at_s < other.until_s + 6:
                return False
    return True


@dataclass
class World:
    scenario: Scenario
    folder: Path
    mutants: tuple[str, ...] = ()
    old_runs: bool = True
    old_frozen: bool = False
    """Its own cgroup: the engine's, and whoever ends it resumes it."""
    pod_frozen: bool = False
    old_id: str = "c1"
    ever_frozen: bool = False
    timeline: list[str] = field(default_factory=list)
    violation: str = ""

    def __post_init__(self) -> None:
        self.server, self.store = MemoryServer(), MemoryStore((Good("ck1", Need(), pod_uid="u1"),))
        n2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
        self.cluster = MemoryCluster(self.store, (n2,), self.server)
        self.cluster.add(PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", OWNER, wanted=1), "n1")
        self.cluster.run = self._shadow_runs  # type: ignore[method-assign]
        self.files = NodeFiles(self.folder / "run")
        hides = PAUSES if "monotonic" in self.mutants else ("paused-unseen",)
        self.clock = Clock(self.scenario.node_rate, replace(self.scenario, faults=self._unseen(hides)))
        self.arbiter_clock = Clock(self.scenario.arbiter_rate)
        self.lease_taken: int | None = None
        self.two_since_s: float | None = None
        self.lease_versions, self.forced_by = 0, ""
        self.armed_s = 0.0
        self.dumped = ""
        """The checkpoint since which the old instance has not run."""
        self.told: set[str] = set()
        self.created = 0
        self.has_slot = True
        self.starting = False

    def _unseen(self, hides: tuple[str, ...]) -> tuple[Fault, ...]:
        return tuple(replace(f, kind="paused-unseen") for f in self.scenario.faults if f.kind in hides)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def active(self) -> set[str]:
        return self.scenario.active(self.now())

    def note(self, text: str) -> None:
        self.timeline.append(f"{self.now():7.2f} s  {text}")

    def up(self, what: Literal["nats", "api"], *, of_node: bool) -> bool:
        active = self.active()
        since = self.scenario.set_back_at_s
        if what == "nats" and since is not None and since <= self.now() < since + AWAY_S:
            return False
        return not (f"{what}-down" in active or (of_node and active & {"cut", f"cut-{what}", "node-off"}))

    @property
    def stands(self) -> bool:
        return self.old_frozen or self.pod_frozen

    @property
    def boot_id(self) -> str:
        return f"b{len(self._booted_at_s())}"

    def _booted_at_s(self) -> list[float]:
        """Since the beginning."""
        return [f.until_s for f in self.scenario.faults if f.kind == "node-off" and f.until_s <= self.now()]

    @property
    def up_s(self) -> float:
        return self.now() - max(self._booted_at_s(), default=-UP_BEFORE_S)

    def _shadow_runs(self, name: str, came_of: str) -> None:
        self.cluster.pods[name].came_of = came_of
        self.note(f"{name} runs on n2, from {came_of}")
        if "move-1" in name and came_of != self.dumped:
            self.violate(f"the old instance ran on after {came_of}: what it did since is lost")
        self.check()

    def check(self) -> None:
        running = [n for n, p in self.cluster.pods.items() if p.came_of and n != "counter-1"]
        if self.old_runs and not self.stands and not self.active() & {*PAUSES}:
            running.append("counter-1 (the old instance)")
        if len(running) > 1 and self.now() > self.window_ends_s:
            self.violate(f"two run at once: {' and '.join(running)}")

    @property
    def window_ends_s(self) -> float:
        """Until then a node that was paused for too long may not have frozen what it runs."""
        ends = [
            f.until_s
            + (decide.window_s(self.scenario.freeze_s, clock_sees=f.kind == "paused") + self.scenario.create_s)
            / self.scenario.node_rate
            for f in self.scenario.faults
            if f.kind in PAUSES and f.until_s <= self.now()
        ]
        return max(ends, default=float("-inf"))

    def violate(self, what: str) -> None:
        if not self.violation:
            self.violation = what
            self.note(f"VIOLATION {what}")

    def moving(self) -> bool:
        """A planned move that has not ended: its process may stand still."""
        rows = self.server.buckets.get("failovers", {})
        return "move-1" in rows and not Saga.model_validate_json(rows["move-1"].value).ended

    def running(self) -> int:
        elsewhere = sum(bool(p.came_of) for n, p in self.cluster.pods.items() if n != "counter-1")
        return elsewhere + (self.old_runs and not self.stands)

    # The container runtime and the kernel of n1.
    def _container(self) -> RunningContainer:
        made = RunningContainer(self.old_id, "s", "default", "counter-1", "u1", "counter", "counter:1", "", 0, "running", 1)
        return replace(made, created_at_ns=self.created, attempt=self.created)

    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        return [self._container()] if self.old_runs else []

    async def events(self) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    async def follow(self) -> AsyncIterator[Exit]:
        await asyncio.Event().wait()
        yield Exit("", 0)

    async def status(self, container_id: str) -> Status:
        return Status("exited", 137, "Error", 0, 1, "")

    async def remove_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, grace_s: int = 0) -> None: ...

    async def record(self, *_: object) -> None: ...

    def tail(self, log_path: str) -> str:
        return ""

    def limitation(self) -> str:
        return ""

    def runs(self, container_id: str) -> bool:
        return self.old_runs and not self.stands

    def is_frozen(self, container_id: str) -> bool:
        return self.old_runs and self.stands

    def freeze(self, container_id: str) -> bool:
        if not self.old_runs or container_id != self.old_id:
            return False
        if not self.stands:
            self.note("n1 froze the old instance")
        self.ever_frozen = True
        if "pod" in self.mutants:
            self.old_frozen = True
        else:
            self.pod_frozen = True
        return True

    def thaw(self, container_id: str) -> None:
        if self.old_runs and self.stands:
            self.note("n1 thawed the old instance")
            self.dumped = ""
        self.old_frozen = self.pod_frozen = False
        self.check()

    def is_gone(self, container_id: str) -> bool:
        return not self.old_runs or container_id != self.old_id

    def thaw_pod(self, pod_uid: str) -> None:
        self.pod_frozen = False
        self.check()

    def kill(self, container_id: str) -> None:
        if self.old_runs:
            self.note("n1 killed the old instance where it stood")
        self.old_runs = self.old_frozen = False

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

    async def create(self) -> None:
        """The kubelet starts the pod's container again: the engine decides. What fails is tried again."""
        self.starting, began_s = True, self.clock.now()
        try:
            while "node-off" not in self.active() and not self.old_runs:
                act = self._decides(began_s)
                if act == "refuse":
                    return
                if act != "again":
                    await self._start(act, began_s)
                    return
                await asyncio.sleep(0.1)
        finally:
            self.starting = False

    def _decides(self, began_s: float) -> Act:
        node, pod, now_s = self.files.read_node(), self.files.read_pod("u1"), self.clock.now()
        if "lease" in self.mutants and node:
            node = node.model_copy(update={"renewed_at_s": now_s})
        said = pod.containers["counter"].verdict if pod else ""
        if "engine" in self.mutants or (said in self.mutants and lease_held(node, now_s)):
            return "restore"
        if "boot" in self.mutants and (node is None or node.boot_id != self.boot_id):
            return "restore"
        return engine_rule(
            node, pod, "counter", boot_id=self.boot_id, has_slot=self.has_slot, now_s=now_s, waited_s=now_s - began_s,
            up_s=self.up_s,
        )  # fmt: skip

    async def _start(self, act: str, began_s: float) -> None:
        boot_id = self.boot_id
        await asyncio.sleep(self.scenario.create_s)
        if "node-off" in self.active() or self.boot_id != boot_id or self.pod_frozen:
            return  # nothing can be made in a frozen cgroup
        if act == "restore" and self._decides(began_s) != "restore" and "second-look" not in self.mutants:
            self.note("n1's engine ended what it had restored: it is not meant any more")
            return
        self.created += 1
        self.old_runs, self.old_id, self.dumped = True, self.old_id + "'", ""
        if "counter-1" in self.cluster.pods:
            self.cluster.change("counter-1", container_id=self.old_id)
        start = StartFile(container_id=self.old_id, namespace="default", pod="counter-1", pod_uid="u1", container="counter",
                          outcome="restored" if act == "restore" else "blank", checkpoint_id="ck1")  # fmt: skip
        self.files._write(self.files.root / "starts" / f"{self.old_id}.json", start)
        self.note(f"n1's kubelet started the old pod again: {act}")
        self.check()

    # The API server.
    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        await self.call("api", of_node=True)
        return name in self.cluster.pods

    async def fenced_by(self, namespace: str, name: str, uid: str) -> str:
        await self.call("api", of_node=True)
        return self.cluster.pods[name].fenced_by if name in self.cluster.pods else ""

    async def renew(self, lease: NodeLease) -> None:
        """As KubernetesLeases does, by compare-and-set."""
        await self.call("api", of_node=True)
        if self.lease_taken is not None and self.lease_taken >= lease.generation and "blind-put" not in self.mutants:
            raise LeaseTaken(self.lease_taken)
        self.lease_taken, self.lease_versions = None, self.lease_versions + 1
        await self.call("api", of_node=True, reply=True)

    async def take(self, lease: NodeLease, version: str) -> bool:
        await self.call("api", of_node=False)
        if self.lease_taken is None and version not in (str(self.lease_versions), ""):
            return False
        self.lease_taken = lease.generation
        return True

    async def nodes(self) -> frozenset[str]:
        await self.call("api", of_node=False)
        return frozenset(("n0", "n1"))

    async def versions(self) -> dict[str, str]:
        await self.call("api", of_node=False)
        return {"n1": str(self.lease_versions)} if self.lease_taken is None else {}

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

        return MemoryBus(self.server, on_call)


class Clock:
    """CLOCK_BOOTTIME. unseen: has the pauses in which it stood still."""

    def __init__(self, rate: float, unseen: Scenario | None = None) -> None:
        self._rate, self._unseen = rate, unseen

    def now(self) -> float:
        real_s = asyncio.get_running_loop().time()
        return 1000.0 + (real_s - (self._unseen.unseen_s(real_s) if self._unseen else 0.0)) * self._rate


class SimulatedArbiter(arbiter.Arbiter):
    def __init__(self, world: World, *of: Any) -> None:
        super().__init__(*of)
        self._world = world

    async def _kubelet_answers(self, host_ip: str) -> bool:
        return host_ip == "n0" or not self._world.active() & {"cut", "node-off", *PAUSES}


def the_pod(world: World) -> ProtectedPod:
    container = ProtectedContainer("counter", "counter:1", world.old_id, running=True)
    policy = Policy(mode="criu")
    return ProtectedPod(WORKLOAD, policy, "default", "counter-1", "u1", "n1", "", "", "Running", False, (container,))


async def protected_pods(world: World) -> list[ProtectedPod]:
    await world.call("api", of_node=False)
    return [the_pod(world)] if "counter-1" in world.cluster.pods else []


async def agent(world: World) -> None:
    """n1's: killed and started again by the scenario; what it wrote to disk stays, and what is in /run until the node is off."""
    while True:
        while world.active() & {"agent-dead", "agent-restart", "node-off"}:
            await asyncio.sleep(0.05)
        bus: Any = world.bus(of_node=True)
        pods, here = MemoryPods(), cast(Any, world)
        pods.synced = False
        made = Agent(
            Outside(
                lease=NodeLease(node="n1", host_ip="", boot_id=world.boot_id, renewals=0, can_freeze=False),
                bus=bus,
                kv=KvLeases(bus),
                kubernetes=here,
                lookup=here,
                pods=cast(Any, pods),
                runtime=here,
                freezer=here,
                watchdog=here,
                exits=here,
                logs=here,
                recorder=here,
                api=here,
                accesses=here,
                run_dir=world.folder / "run",
                state_dir=world.folder / "state",
                clock=world.clock.now,
                disk=Disk(wait_s=10.0),
            )
        )
        parts = (
            made.lease.renew_for_ever(), made.lease.write_for_ever(), again(made.reconciler.run), again(made.fences.run),
            again(made.holds.run), again(made.containers.run), made.containers.sweep(), again(made.starts.run),
            inform(world, pods), deliver(world, (FailoverHolding, CheckpointTaken, CheckpointFailed), made.holds.on_event),
        )  # fmt: skip
        tasks = [asyncio.ensure_future(part) for part in parts]
        world.note("n1's agent runs")
        while not world.active() & {"agent-dead", "agent-restart", "node-off"}:
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        world.note("n1's agent is gone")


async def inform(world: World, pods: MemoryPods) -> None:
    """The agent's informer: its watch learns some time after a cut that it was cut off."""
    up_since_s = float("-inf")
    while True:
        if not world.up("api", of_node=True):
            up_since_s = world.now()
        elif world.now() - up_since_s >= INFORMED_S:
            there = "counter-1" in world.cluster.pods
            if there and "u1" not in pods.pods:
                pods.add()
            elif not there and "u1" in pods.pods:
                pods.remove("u1")
            pods.synced = True
        await asyncio.sleep(0.2)


async def deliver(world: World, kinds: tuple[type[Event], ...], handler: Callable[[Any], Any], *, of_node: bool = True) -> None:
    """To a consumer: each after each of the scenario's delays, and again until it is handled."""
    work, seen = set[asyncio.Task[None]](), set[str]()

    async def handle(event: Event, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        while True:
            with contextlib.suppress(TimeoutError):
                await world.call("nats", of_node=of_node)
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
            await asyncio.sleep(0.05)
    finally:
        for task in work:
            task.cancel()


async def checkpointer(world: World) -> None:
    """n1's, with kubelet, engine and transfer: what it is told to hold, it holds; what was checkpointed gets into the store."""
    bus = world.bus(of_node=True)
    lock = asyncio.Lock()

    async def on_due(event: CheckpointDue) -> None:
        async with lock:
            if event.checkpoint_id in world.told:
                return
            failed = CheckpointFailed(node="n1", workload=WORKLOAD, checkpoint_id=event.checkpoint_id, target=event.target,
                                      reason="UnhealthyBefore", message="", remedy="", hold=True)  # fmt: skip
            if not world.old_runs or world.stands or event.target.container_id != world.old_id:
                await bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}")
                return
            world.told.add(event.checkpoint_id)
            world.note(f"the last checkpoint {event.checkpoint_id} begins")
            await asyncio.sleep(0.15)
            if not world.old_runs or event.target.container_id != world.old_id:
                await again_until(lambda: bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}"))
                return
            held = not world.scenario.misses
            if held:
                world.old_frozen, world.dumped = True, event.checkpoint_id
                world.pod_frozen = "pod" not in world.mutants
            world.note(f"the last checkpoint {event.checkpoint_id} ends, held: {held}")
        taken = CheckpointTaken(
            node="n1", workload=WORKLOAD, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger=event.trigger, keep=3, archive_path="", kubelet_started_at=event.at, kubelet_s=0.15, due_to_kubelet_s=0.0,
            held=held,
        )  # fmt: skip
        await again_until(lambda: bus.publish(taken, dedup_id=f"taken-{event.checkpoint_id}"))
        await asyncio.sleep(world.scenario.stored_after_s)
        await again_until(lambda: world.call("nats", of_node=True))
        world.store.good_ones = (Good(event.checkpoint_id, Need(), pod_uid="u1"), *world.store.good_ones)

    await deliver(world, (CheckpointDue,), on_due)


async def other_node(world: World) -> None:
    """n2: its transfer stages, its engine restored the shadow frozen (MemoryCluster.start), its agent lets it run."""

    async def on_event(event: ImageBuilt | FailoverReleased) -> None:
        bus = world.bus(of_node=False)
        if isinstance(event, ImageBuilt):
            world.cluster.slots["n2"] = [event.checkpoint_id, *world.cluster.slots.get("n2", [])]
            await world.cluster.engines()
            staged = CheckpointStaged(node="n2", workload=WORKLOAD, checkpoint_id=event.checkpoint_id, target=event.target,
                                      reference="slot", pull_s=0, role="standby")  # fmt: skip
            await Standbys(bus, world.cluster, world.store).on_staged(staged)
            return
        pod = world.cluster.pods.get(event.target.pod)
        if pod and pod.frozen and not pod.came_of:
            world.cluster.run(event.target.pod, pod.frozen)

    await deliver(world, (ImageBuilt, FailoverReleased), on_event, of_node=False)


async def again_until(act: Callable[[], Any]) -> None:
    while True:
        with contextlib.suppress(TimeoutError):
            await act()
            return
        await asyncio.sleep(0.5)


async def asks(world: World, at_s: float | None) -> None:
    if at_s is None:
        return
    await asyncio.sleep(at_s)
    if "counter-1" not in world.cluster.pods:
        return
    target = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id=world.old_id)
    declared = FailoverDeclared(node="n1", workload=WORKLOAD, failover_id="move-1", target=target, cause="move", detail="")
    await again_until(lambda: world.bus(of_node=False).publish(declared, dedup_id="declared-move-1"))


async def other_lease(world: World) -> None:
    """The node that the arbiter runs on renews."""
    bucket, renewals = Bucket(world.bus(of_node=False), "leases", NodeLease), 0
    while True:
        renewals += 1
        sent_at_s = world.arbiter_clock.now()
        lease = NodeLease(node="n0", host_ip="n0", boot_id="b", renewals=renewals, can_freeze=True, sent_at_s=sent_at_s)
        with contextlib.suppress(TimeoutError):
            await bucket.put("node.n0", lease)
        await asyncio.sleep(0.9)


async def kubelet(world: World) -> None:
    """Ends what the API server does not have any more; starts again what ended, as far as it knows that it is to run."""
    was_off = False
    known, work = True, set[asyncio.Task[None]]()
    while True:
        off = "node-off" in world.active()
        if off and not was_off:
            world.old_runs = world.old_frozen = world.pod_frozen = False
            shutil.rmtree(world.folder / "run", ignore_errors=True)
            world.note("n1 is off")
        was_off = off
        if not off and world.up("api", of_node=True):
            known = "counter-1" in world.cluster.pods
            if not known and world.old_runs:
                await world.stop()
                continue
        if known and not off and not world.old_runs and not world.starting:
            await asyncio.sleep(1.0)
            if not world.old_runs and not world.starting:
                task = asyncio.create_task(world.create())
                work.add(task)
                task.add_done_callback(work.discard)
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
            bus = world.bus(of_node=False)
            starts = Starts(bus)
            following = asyncio.ensure_future(again(starts.run))
            timeouts = Timeouts(verify_s=5, adopt_s=5, stage_s=0.3)
            room = Room(bus, world.cluster, world.cluster, world.store, starts, timeouts)
            task = asyncio.ensure_future(SagaRunner(room).run(saga))
            while not task.done() and "restorer-dead" not in world.active():
                await asyncio.wait({task}, timeout=0.05)
            following.cancel()
            if task.done() and not task.exception():
                world.note(f"failover {saga.cause}: {task.result().step} {task.result().why}")
                return
            if task.done() and isinstance(task.exception(), AssertionError):
                world.violate(str(task.exception()))
            task.cancel()
            await asyncio.gather(task, following, return_exceptions=True)
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


async def sets_back(world: World) -> None:
    """NATS: a power loss, and what had not been synced is forgotten."""
    at_s = world.scenario.set_back_at_s
    if at_s is None:
        return
    await asyncio.sleep(max(0.0, at_s - FORGETS_S))
    kept = world.server.kept()
    await asyncio.sleep(min(at_s, FORGETS_S) + AWAY_S - 0.01)
    world.server.set_back(kept)
    world.note(f"NATS is back, as it was {FORGETS_S:.0f} s before it went away")


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
    own = NodeLease(node="n0", host_ip="", boot_id="b", renewals=0, can_freeze=False)
    judge = SimulatedArbiter(
        world, SimpleNamespace(leading=True), KvLeases(bus), world, Bucket(bus, "fences", Fence), world, Announcer(bus), 0, own,
        Brake(Bucket(bus, "brake", Account), 0.5, 60.0, world.arbiter_clock.now), world.arbiter_clock.now,
    )  # fmt: skip
    if not world.scenario.restores:
        world.store.poison = Anything()
    loop = cast(VirtualLoop, asyncio.get_running_loop())
    if any(fault.kind in PAUSES for fault in world.scenario.faults):
        loop.paused = world.scenario
        loop.set_task_factory(StandsStill(world.scenario))
    parts = (
        on_node(world, agent), on_node(world, kubelet), on_node(world, checkpointer), other_node(world),
        asks(world, world.scenario.move_at_s), restorer(world), sets_back(world), nodes_come(world),
        api_calls(world), other_lease(world),
        judge.show(), again(judge.follow), judge.follow_kubernetes(), judge.follow_nodes(), again(judge.run),
    )  # fmt: skip
    tasks = [asyncio.ensure_future(part) for part in parts]
    for fault in world.scenario.faults:
        tasks.append(asyncio.create_task(tell(world, fault)))
    await asyncio.sleep(world.scenario.end_s)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class StandsStill:
    """Makes tasks: those that are on n1 do nothing while that is paused."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario

    def __call__(self, loop: Any, made: Any, context: Any = None) -> "asyncio.Task[Any]":
        steps = self._run(loop, made) if ON_NODE.get() else made
        return asyncio.Task(steps, loop=loop, context=context)

    async def _run(self, loop: VirtualLoop, made: Coroutine[Any, Any, Any]) -> Any:
        return await self._steps(loop, made)

    @types.coroutine
    def _steps(self, loop: VirtualLoop, made: Coroutine[Any, Any, Any]) -> Any:
        """Each of its steps as the task would do it, but none during a pause, nor its cancellation."""
        thrown: BaseException | None = None
        while True:
            while (until_s := self._scenario.paused_until_s(loop.time())) > loop.time():
                try:
                    yield from loop.until(until_s).__await__()
                except asyncio.CancelledError as cancelled:
                    thrown = cancelled
            try:
                waits = made.throw(thrown) if thrown else made.send(None)
            except StopIteration as end:
                return end.value
            thrown = None
            try:
                yield waits
            except GeneratorExit:
                made.close()
                raise
            except BaseException as error:
                thrown = error


async def on_node(world: World, part: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    ON_NODE.set(True)
    await asyncio.create_task(part(world))


async def again(part: Callable[[], Any]) -> None:
    """As Service keeps its parts."""
    while True:
        with contextlib.suppress(Exception):
            await part()
        await asyncio.sleep(0.1)


async def tell(world: World, fault: Fault) -> None:
    await asyncio.sleep(fault.at_s)
    world.note(f"begins: {fault.kind}")
    if fault.kind == "unhealthy" and world.old_runs:
        world.old_runs = world.old_frozen = False
        world.note("n1's kubelet ended the old instance: its livenessProbe failed")
    await asyncio.sleep(fault.until_s - fault.at_s)
    world.note(f"ends: {fault.kind}")
    if fault.kind in PAUSES:
        for _ in range(20):  # what runs beside its successor for longer than it may is found
            await asyncio.sleep(0.25)
            world.check()


@contextlib.contextmanager
def simulated(scenario: Scenario, mutants: tuple[str, ...], loop: VirtualLoop) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:

        async def inline(act: Callable[..., Any], *args: Any) -> Any:
            await asyncio.sleep(scenario.freeze_s)
            return act(*args)

        patch.setattr(asyncio, "to_thread", inline)
        patch.setattr(reconciler, "in_thread", inline)
        patch.setattr(restorer_decide, "hold_s", lambda _: scenario.hold_s)
        patch.setattr(arbiter, "protected_on", lambda api, node="": protected_pods(api))
        if {"disk-full", "run-full"} & {fault.kind for fault in scenario.faults}:
            fill_disks(patch, scenario, loop)
        for rule in mutants:
            break_on_purpose(patch, rule)
        yield patch


def fill_disks(patch: pytest.MonkeyPatch, scenario: Scenario, loop: VirtualLoop) -> None:
    """The state disk, or tmpfs, takes nothing more."""
    write_text, open_ = Path.write_text, os.open
    by_folder = {"state": "disk-full", "run": "run-full"}

    def refuse(path: Any) -> None:
        folder = next((f for f in by_folder if f"/{f}/" in str(path)), "")
        if folder and by_folder[folder] in scenario.active(loop.time()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def writes(path: Path, *of: Any, **how: Any) -> int:
        refuse(path)
        return write_text(path, *of, **how)

    def opens(path: Any, flags: int, *of: Any, **how: Any) -> int:
        if flags & os.O_WRONLY:
            refuse(path)
        return open_(path, flags, *of, **how)

    patch.setattr(Path, "write_text", writes)
    patch.setattr(os, "open", opens)


def break_on_purpose(patch: pytest.MonkeyPatch, mutant: str) -> None:
    async def may(*_: Any) -> fences.Standing:
        return fences.Standing("ours")

    match mutant:
        case "record-first":
            update = Bucket.update

            async def says_nothing(self: Bucket[Any], name: str, value: Any, revision: int) -> int | None:
                forgets = isinstance(value, HoldRecord) and value.reason in ("HoldEnded", "NotStored")
                return revision if forgets else await update(self, name, value, revision)

            patch.setattr(Bucket, "update", says_nothing)
        case "blind-put":  # an agent from before

            async def puts(self: KvLeases, made: NodeLease) -> None:
                await self.bucket.put(f"node.{made.node}", made)

            patch.setattr(KvLeases, "renew", puts)
        case "takes-nothing-away":  # an arbiter from before

            async def reads(self: KvLeases, made: NodeLease, revision: int) -> int | None:
                entry = await self.bucket.get(f"node.{made.node}")
                return revision if entry is None or entry.revision == revision else None

            async def read(self: World, made: NodeLease, version: str) -> bool:
                return (await self.versions()).get("n1", "") == version

            patch.setattr(KvLeases, "take", reads)
            patch.setattr(World, "take", read)
        case "believes":  # a restorer that does not look at the lease

            async def believes(*_: Any) -> None: ...

            patch.setattr(restorer_fences.Fences, "_returned", believes)
        case "record-before-freezing":
            freeze = reconciler.Reconciler._freeze

            async def records(self: reconciler.Reconciler, *, isolated: bool) -> bool:
                for container in self._verdicts.protected():
                    if self._verdicts.decide(container).frozen:
                        write_whole(self._ledger._marks.parent / "frozen.json", "{}")
                return await freeze(self, isolated=isolated)

            patch.setattr(reconciler.Reconciler, "_freeze", records)
        case "can-freeze-anyway":
            patch.setattr(lease.Lease, "note", lambda *_: None)
        case "margin":
            patch.setattr(decide, "margin_s", lambda _: -1.5)
        case "fence":
            patch.setattr(restorer_decide, "may_take", lambda *_: None)
        case "ask-kubelet":

            async def only_that_of_n0(_: SimulatedArbiter, host_ip: str) -> bool:
                return host_ip == "n0"

            patch.setattr(SimulatedArbiter, "_kubelet_answers", only_that_of_n0)
        case "asks-first":
            patch.setattr(fences.Fences, "_ask", may)
        case "wait-first":
            patch.setattr(fences.Fences, "unsettle", lambda *_: None)


def run(scenario: Scenario, mutant: str = "") -> World:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = VirtualLoop()
    mutants = tuple(filter(None, mutant.split("+")))
    try:
        with TemporaryDirectory(dir=MEMORY) as folder, simulated(scenario, mutants, loop):
            world = World(scenario, Path(folder), mutants)
            loop.run_until_complete(play(world))
            return world
    finally:
        loop.close()
        structlog.reset_defaults()


def timeline(world: World) -> str:
    return "\n".join((str(world.scenario), *world.timeline))
