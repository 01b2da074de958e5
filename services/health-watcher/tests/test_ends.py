"""What may not run again is ended where it stands: its kubelet, and CRI-O, would let it run first."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.events import FailoverStarted
from reprise.contracts.model import Target, Workload
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher.handlers import Handlers
from reprise.health_watcher.isolation import Isolation
from reprise.health_watcher.model import NodeLease
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
OLD = RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "counter:1", "", 0, "running", 0)
BESIDE = replace(OLD, id="c2", name="beside")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
STARTED = FailoverStarted(
    node="n1", workload=WORKLOAD, failover_id="fo-1", target=TARGET, cause="arm", path="in-place-patch", checkpoint_id="ck1",
    standby="n1", why="", reference="localhost:5797/default/u1/counter:live",
)  # fmt: skip


class Node:
    """Its freezer, runtime and API server; told: what was done to the containers, in order."""

    def __init__(self, folder: Path) -> None:
        self.told: list[str] = []
        self.gone, self.froze = set[str](), list[str]()
        self.containers, self.is_wanted, self.kills, self.seals = [OLD, BESIDE], True, True, True
        protected = tuple(ProtectedContainer(c.name, "counter:1", c.id, running=True) for c in self.containers)
        pod = ProtectedPod(
            WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False, protected, "u1"
        )
        self.pods = SimpleNamespace(pods={"u1": pod}, synced=True)
        self.bus = MemoryBus(MemoryServer())
        self.fences = Bucket(self.bus, "fences", Fence)
        here: Any = self
        lease = NodeLease(node="n1", host_ip="", boot_id="b", renewals=0, can_freeze=False)
        records = Bucket(self.bus, "holds", HoldRecord)
        self.isolation = Isolation(lease, here, here, self.fences, records, here, here, here.pods, here, here, folder)
        self.births: Any = SimpleNamespace(superseded=set())
        self.handlers = Handlers(here, here, self.isolation, self.births)

    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        return self.containers

    async def stop_container(self, container_id: str, grace_s: int) -> None:
        self.told.append(f"stop {container_id}")

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        return self.is_wanted

    def freeze(self, container_id: str) -> bool:
        self.froze.append(container_id)
        return True

    def runs(self, container_id: str) -> bool:
        return f"thaw {container_id}" in self.told

    def seal(self, pod_uid: str) -> None:
        if not self.seals:
            raise OSError("there is no pids.max")
        self.told.append(f"seal {pod_uid}")

    def kill(self, container_id: str) -> None:
        if not self.kills:
            raise OSError("no process can be seen")
        self.told.append(f"kill {container_id}")

    def is_gone(self, container_id: str) -> bool:
        return container_id in self.gone

    def thaw_pod(self, pod_uid: str) -> None:
        self.told.append(f"thaw pod {pod_uid}")

    def thaw(self, container_id: str) -> None:
        self.told.append(f"thaw {container_id}")

    def announce(self, event: Any, dedup_id: str) -> None:
        self.told.append(event.TYPE)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_what_is_replaced_in_its_pod_is_killed_before_its_pod_is_thawed_and_that_is_no_crash(node: Node) -> None:
    await node.handlers.on_failover_started(STARTED)
    assert node.told == ["kill c1", "thaw c1"]
    assert node.births.superseded == {"c1"}


async def test_what_stands_still_beside_it_goes_on_doing_so(node: Node) -> None:
    node.isolation.hold(TARGET.model_copy(update={"container": "beside", "container_id": "c2"}), "ck9", 20, stays=True)
    assert node.isolation.holds_beside({"c1"}, "u1")
    await node.handlers.on_failover_started(STARTED)
    assert node.told == ["kill c1"]


async def test_where_it_cannot_be_killed_the_runtime_ends_it(node: Node) -> None:
    node.kills = False
    await node.handlers.on_failover_started(STARTED)
    assert node.told == ["thaw c1", "stop c1"]


async def test_all_that_is_frozen_in_a_pod_that_is_deleted_is_killed_before_any_is_thawed(node: Node) -> None:
    await node.fences.put(key("u1"), Fence(pod_uid="u1", holder="restorer", failover_id="fo-1"))
    for target in (TARGET, TARGET.model_copy(update={"container": "beside", "container_id": "c2"})):
        node.isolation.let_go(target)
    await node.isolation._settle()
    assert node.told == [], "its kubelet would start it again"
    node.is_wanted = False
    await node.isolation._settle()
    assert node.told[0] == "seal u1", "its kubelet may start it again once it has ended"
    assert sorted(node.told[1:3]) == ["kill c1", "kill c2"]
    assert node.told[3].startswith("thaw")


async def test_where_its_kubelet_cannot_be_kept_from_starting_it_again_it_goes_on_standing_still(node: Node) -> None:
    node.seals, node.is_wanted = False, False
    node.isolation.let_go(TARGET)
    await node.isolation._settle()
    assert node.told == []


@pytest.mark.parametrize("confirmed", [False, True])
async def test_a_hold_ends_when_its_pod_is_deleted_though_its_checkpoint_has_not(node: Node, confirmed: bool) -> None:
    await Bucket(node.bus, "holds", HoldRecord).create(key("ck9"), HoldRecord(failover_id="mv-1", state="held"))
    node.isolation.hold(TARGET, "ck9", 20, stays=False)
    assert not confirmed or node.isolation.confirm("c1", "ck9")
    await node.isolation._settle()
    assert node.told == []
    node.pods.pods["u1"] = replace(node.pods.pods["u1"], deleting=True)
    node.is_wanted = False
    await node.isolation._settle()
    assert "kill c1" in node.told
    record = await Bucket(node.bus, "holds", HoldRecord).get(key("ck9"))
    assert record and record.value.reason == "PodDeleting"


async def test_a_pod_in_which_nothing_has_to_stand_still_any_more_is_thawed_however_that_came(node: Node) -> None:
    """A kubelet's SIGKILL ends what is frozen by cgroup v2, and the container's monitor is frozen beside it."""
    await node.fences.put(key("u1"), Fence(pod_uid="u1", holder="restorer", failover_id="fo-1"))
    node.isolation.let_go(TARGET)
    await node.isolation._settle()
    assert node.told == []
    node.containers = []
    await node.isolation._settle()
    assert node.told == [], "a runtime that was just started may not know it yet"
    node.gone = {"c1", "c2"}
    node.isolation.let_go(TARGET)
    await node.isolation._settle()
    assert node.told == ["thaw pod u1"]


async def test_what_was_ended_is_not_frozen_again_while_the_runtime_still_lists_it(node: Node) -> None:
    node.containers = [OLD]
    await node.fences.put(key("u1"), Fence(pod_uid="u1", holder="restorer", failover_id="fo-1"))
    node.isolation.let_go(TARGET)
    await node.isolation._settle()
    node.is_wanted = False
    node.froze.clear()
    for _ in range(3):
        await node.isolation._settle()
    assert "kill c1" in node.told
    assert node.froze == []
