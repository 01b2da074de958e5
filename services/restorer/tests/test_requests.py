"""What is asked for by annotation is done once, whoever looks and however often they start anew; or refused, and it says so."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.annotations import MOVE_ID, MOVE_TO, RESTORE_ID, RESTORE_TO, Policy
from reprise.contracts.events import FailoverDeclared
from reprise.contracts.model import Workload, move_id, restore_id
from reprise.restorer.model import Good, Need, Saga, Settled
from reprise.restorer.requests import Requests
from reprise.restorer.testing import MemoryStore
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")


def pod(name: str) -> ProtectedPod:
    container = ProtectedContainer("counter", "localhost/counter:1", f"c-{name}", running=True)
    return ProtectedPod(WORKLOAD, Policy(mode="criu"), "default", name, f"u-{name}", "n1", "", "", "Running", False,
                        (container,))  # fmt: skip


class World:
    """Everything that outlives a restorer."""

    def __init__(self) -> None:
        self.server = MemoryServer()
        self.pods = SimpleNamespace(pods={"u-1": pod("1")}, everything={}, annotations={WORKLOAD: {}}, synced=True)
        self.told: list[str] = []

    async def record(self, workload: Workload, kind: str, reason: str, message: str) -> None:
        self.told.append(f"{reason}: {message}")

    def replica(self) -> Requests:
        store: Any = MemoryStore((Good("ck2", Need()), Good("ck1", Need())))
        parts: Any = (MemoryBus(self.server), self.pods, store, self)
        return Requests(*parts)

    def ask(self, **annotations: str) -> None:
        names = {"restore": RESTORE_ID, "checkpoint": RESTORE_TO, "move": MOVE_ID, "to": MOVE_TO}
        self.pods.annotations[WORKLOAD] |= {names[name]: value for name, value in annotations.items()}

    @property
    def declared(self) -> list[FailoverDeclared]:
        return [event for event in self.server.events.values() if isinstance(event, FailoverDeclared)]

    async def ran(self) -> None:
        """What was declared is a saga by now."""
        for event in self.declared:
            saga = Saga(failover_id=event.failover_id, workload=WORKLOAD, target=event.target, cause=event.cause,
                        declared_at=datetime.now(UTC))  # fmt: skip
            await Bucket(MemoryBus(self.server), "failovers", Saga).create(key(event.failover_id), saga)


async def test_a_restore_that_is_asked_for_is_declared_once() -> None:
    world = World()
    world.ask(restore="r1", checkpoint="ck1")
    for replica in (world.replica(), world.replica()):
        await replica.look()
        await replica.look()
    (declared,) = world.declared
    assert (declared.cause, declared.wanted, declared.failover_id) == ("restore", "ck1", restore_id(WORKLOAD, "counter", "r1"))
    assert declared.target.pod == "1"


@pytest.mark.parametrize("asked", [{"restore": "r1", "checkpoint": "ck1"}, {"move": "m1", "to": "n2"}])
async def test_what_was_done_is_not_done_again_to_a_later_pod_though_its_record_is_gone(asked: dict[str, str]) -> None:
    world = World()
    world.ask(**asked)
    await world.replica().look()
    world.server.events.clear()
    world.pods.pods = {"u-2": pod("2")}
    await world.replica().look()
    assert world.declared == []


async def test_a_new_request_of_one_kind_does_not_repeat_the_other() -> None:
    world = World()
    world.ask(move="m1", to="n2")
    await world.replica().look()
    await world.ran()
    world.ask(restore="r1", checkpoint="ck2")
    await world.replica().look()
    assert [event.failover_id for event in world.declared] == [
        move_id(WORKLOAD, "counter", "m1"), restore_id(WORKLOAD, "counter", "r1"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
async def test_a_move_of_what_keeps_its_name_is_asked_for_like_a_deployments(kind: str) -> None:
    world = World()
    workload = Workload.model_validate({"namespace": "default", "kind": kind, "name": "db"})
    asked = {MOVE_ID: "m1", MOVE_TO: "n2"}
    world.pods.pods = {"u-1": replace(pod("1"), workload=workload)}
    world.pods.annotations = {workload: asked} if kind == "StatefulSet" else {}
    world.pods.everything = {"u-1": SimpleNamespace(workload=workload, annotations=asked)} if kind == "Pod" else {}
    await world.replica().look()
    (declared,) = world.declared
    assert (declared.workload, declared.cause, declared.to) == (workload, "move", "n2")


async def test_a_move_of_several_pods_is_refused_and_says_what_to_do() -> None:
    """Nobody says which one is meant."""
    world = World()
    world.pods.pods = {f"u-{name}": pod(name) for name in ("1", "2")}
    world.ask(move="m1", to="n2")
    await world.replica().look()
    assert world.declared == []
    assert world.told == ["MoveRefused: m1: not moved: it has 2 pods (1, 2); cordon the node that is to be left"]


@pytest.mark.parametrize(
    ("checkpoint", "pods", "said"),
    [
        ("ck9", ("1",), "it has no good checkpoint ck9; `reprise history` lists them"),
        ("", ("1",), "it has no good checkpoint without a name"),
        ("ck1", (), "it has no protected pod"),
        ("ck1", ("1", "2"), "it has 2 pods (1, 2), and each would become the same one"),
    ],
)
async def test_what_cannot_be_restored_is_refused_once_with_its_reason(checkpoint: str, pods: tuple[str, ...], said: str) -> None:
    world = World()
    world.pods.pods = {f"u-{name}": pod(name) for name in pods}
    world.ask(restore="r1", checkpoint=checkpoint)
    for replica in (world.replica(), world.replica()):
        await replica.look()
    assert world.declared == []
    (told,) = world.told
    assert told.startswith("RollbackRefused: r1: not restored: ")
    assert said in told


async def test_what_others_ask_for_is_done() -> None:
    world, other = World(), Workload(namespace="default", name="other")
    world.pods.pods["u-2"] = replace(pod("2"), workload=other)
    world.pods.annotations = {WORKLOAD: {}, other: {}}
    world.ask(move="r1")
    world.pods.annotations[other] = dict(world.pods.annotations[WORKLOAD])
    world.server.poison("failovers", key(move_id(WORKLOAD, "counter", "r1")))
    await world.replica().look()
    assert [event.workload for event in world.declared] == [other]


async def test_what_was_settled_and_cannot_be_read_is_asked_for_once_more_only_if_no_failover_of_it_is_known() -> None:
    world = World()
    world.ask(move="r1")
    await world.replica().look()
    await world.ran()
    world.server.poison("requests", key("default", "Deployment", "counter"))
    await world.replica().look()
    assert len(world.declared) == 1
    assert Settled.model_validate_json(world.server.buckets["requests"]["default.Deployment.counter"].value).move == "r1"
