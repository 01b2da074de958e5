"""A cordoned node is left by itself, and its guard holds evictions until then: but never for ever."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointDue, FailoverDeclared
from reprise.contracts.model import Workload
from reprise.restorer.adapters.budgets import guard_of, selects
from reprise.restorer.cordons import AGAIN_S, Cordons
from reprise.restorer.model import Good, Need, NodeView, Saga
from reprise.restorer.requests import Requests
from reprise.restorer.testing import MemoryCluster, MemoryStore
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
CONTAINER = ProtectedContainer("counter", "counter:1", "c1", running=True)
POD = ProtectedPod(WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False, (CONTAINER,))


class Budgets:
    def __init__(self) -> None:
        self.allows: dict[Workload, bool] = {}

    async def guards(self) -> dict[Workload, bool]:
        return dict(self.allows)

    async def create(self, workload: Workload) -> None:
        self.allows[workload] = False

    async def set(self, workload: Workload, *, allows: bool) -> bool:
        self.allows[workload] = allows
        return True

    async def remove(self, workload: Workload) -> None:
        del self.allows[workload]


class World:
    def __init__(self) -> None:
        self.server, self.store, self.budgets = MemoryServer(), MemoryStore(()), Budgets()
        self.bus = MemoryBus(self.server)
        self.cluster = MemoryCluster(self.store, (), self.server)
        self.cordon(n1=False)
        self.pods = SimpleNamespace(pods={"u1": POD}, everything={}, annotations={}, synced=True)
        self.said: list[str] = []
        self.messages: list[str] = []
        pods: Any = self.pods
        requests = Requests(self.bus, pods, self.store, self)  # type: ignore[arg-type]
        self.cordons = Cordons(self.bus, pods, self.cluster, self.budgets, requests, self, lambda: True)  # type: ignore[arg-type]
        self.requests = requests

    def cordon(self, *, n1: bool) -> None:
        self.cluster.listed = (NodeView("n1", ready=True, schedulable=not n1, architecture="amd64", protected_pods=1),)

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        self.said.append(reason)
        self.messages.append(message)

    def declared(self) -> list[FailoverDeclared]:
        return [event for event in self.server.events.values() if isinstance(event, FailoverDeclared)]

    async def the_move_ends(self, step: str) -> None:
        event = self.declared()[-1]
        saga = Saga(failover_id=event.failover_id, workload=WORKLOAD, target=event.target, cause="move", declared_at=event.at,
                    step=step, why="no node can take it")  # fmt: skip
        await Bucket(self.bus, "failovers", Saga).put(event.failover_id, saga)

    def store_what_is_due(self) -> None:
        due = [event for event in self.server.events.values() if isinstance(event, CheckpointDue)]
        self.store.good_ones = tuple(Good(event.checkpoint_id, Need()) for event in due)


@pytest.mark.looptime
async def test_every_protected_deployment_is_guarded_and_only_while_it_is_protected() -> None:
    world = World()
    await world.cordons.look()
    assert world.budgets.allows == {WORKLOAD: False}
    world.pods.pods = {}
    await world.cordons.look()
    assert world.budgets.allows == {}
    assert world.declared() == []


@pytest.mark.looptime
async def test_a_cordon_is_one_move_of_each_pod_and_the_guard_holds_meanwhile() -> None:
    world = World()
    world.cordon(n1=True)
    for _ in range(3):
        await world.cordons.look()
    assert len(world.declared()) == 1
    await world.the_move_ends("verify")
    await world.cordons.look()
    assert (len(world.declared()), world.budgets.allows) == (1, {WORKLOAD: False})


@pytest.mark.looptime
async def test_what_cannot_be_moved_is_checkpointed_let_go_of_and_tried_again() -> None:
    world = World()
    world.cordon(n1=True)
    await world.cordons.look()
    await world.the_move_ends("abandoned")
    look = asyncio.create_task(world.cordons.look())
    await asyncio.sleep(2.5)
    assert world.budgets.allows == {WORKLOAD: False}, "its state is not in the store yet"
    world.store_what_is_due()
    await look
    assert world.budgets.allows == {WORKLOAD: True}
    assert world.said == ["GuardReleased"]
    await asyncio.sleep(AGAIN_S)
    await world.cordons.look()
    assert len(world.declared()) == 2
    world.cordon(n1=False)
    await world.cordons.look()
    assert world.budgets.allows == {WORKLOAD: False}, "it is held again"


@pytest.mark.looptime
@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
async def test_what_keeps_its_name_is_moved_off_too_without_a_guard(kind: str) -> None:
    world = World()
    workload = Workload.model_validate({"namespace": "default", "kind": kind, "name": "counter"})
    world.pods.pods = {"u1": replace(POD, workload=workload)}
    world.cordon(n1=True)
    await world.cordons.look()
    assert [(event.workload, event.cause) for event in world.declared()] == [(workload, "move")]
    assert world.budgets.allows == {}


@pytest.mark.looptime
@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_of_a_pod_that_cannot_even_be_tried_is_told_once_why_and_nobody_elses_guard_lets_go(kind: str) -> None:
    world = World()
    workload = Workload.model_validate({"namespace": "default", "kind": kind, "name": "counter"})
    world.pods.pods = {"u1": replace(POD, workload=workload, containers=(CONTAINER, CONTAINER))}
    world.cordon(n1=True)
    for _ in range(2):
        await world.cordons.look()
    assert world.said.count("MoveRefused") == 1
    assert "pod counter-1 not moved: more than one container" in world.messages[0]
    assert world.said.count("GuardReleased") == (kind == "Deployment")
    assert world.declared() == []


@pytest.mark.looptime
async def test_a_request_is_one_move_and_what_it_moved_is_not_moved_again() -> None:
    world = World()
    world.pods.annotations = {WORKLOAD: {"reprise.dev/move-id": "7", "reprise.dev/move-to": "any"}}
    for _ in range(2):
        await world.requests.look()
    (event,) = world.declared()
    assert (event.cause, event.to) == ("move", "")
    moved = POD.__class__(**(vars(POD) | {"uid": "u2", "name": "counter-mv"}))
    world.pods.pods = {"u2": moved}
    world.requests._settled.clear()  # a restarted replica
    await world.requests.look()
    assert len(world.declared()) == 1


@pytest.mark.looptime
async def test_a_request_that_cannot_be_tried_is_refused_with_a_reason() -> None:
    world = World()
    world.pods.annotations = {WORKLOAD: {"reprise.dev/move-id": "7"}}
    world.pods.pods = {}
    for _ in range(2):
        await world.requests.look()
    assert world.said == ["MoveRefused"]


def test_a_guard_counts_the_replica_sets_own_pods_only() -> None:
    selector = client.V1LabelSelector(match_labels={"app": "counter"})
    deployment = SimpleNamespace(metadata=SimpleNamespace(uid="d"), spec=SimpleNamespace(selector=selector))
    guard = guard_of(WORKLOAD, deployment)
    assert selects(guard.spec.selector, {"app": "counter", "pod-template-hash": "abc"})
    assert not selects(guard.spec.selector, {"app": "counter"})
    assert not selects(None, {"app": "counter"})
    assert selects(client.V1LabelSelector(), {"app": "counter"})
