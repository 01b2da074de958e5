"""A taint of ours stays for as long as its failover, and its neighbours on the node are nobody's business."""

from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.errors import RecoveryError
from reprise.contracts.model import Target, Workload, now
from reprise.restorer.adapters.taints import KubernetesTaints
from reprise.restorer.model import Saga
from reprise.restorer.taints import LeftTaints
from reprise.restorer.testing import MemoryCluster, MemoryStore
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

THEIRS: dict[str, Any] = {"key": "gpu", "value": "a", "effect": "NoSchedule"}
OURS: dict[str, Any] = {"key": "failover.reprise.dev/fo-1", "effect": "NoSchedule"}
WORKLOAD = Workload(namespace="shop", kind="StatefulSet", name="cart")
TARGET = Target(node="n1", pod="cart-0", pod_uid="u1", container="app", container_id="c1")


class Node:
    """The API server's one node. conflicts: so many patches come too late."""

    def __init__(self, *taints: dict[str, Any], conflicts: int = 0, status: int = 0) -> None:
        self.taints, self.version, self.conflicts, self.status = list(taints), 1, conflicts, status
        self.patches = 0

    async def read_node(self, name: str, **_: Any) -> Any:
        taints = [client.V1Taint(**each) for each in self.taints]
        return client.V1Node(
            metadata=client.V1ObjectMeta(name=name, resource_version=str(self.version)), spec=client.V1NodeSpec(taints=taints)
        )

    async def list_node(self, **_: Any) -> Any:
        return SimpleNamespace(items=[await self.read_node("n1")])

    async def patch_node(self, _name: str, body: dict[str, Any], **_: Any) -> None:
        self.patches += 1
        if self.status:
            raise client.ApiException(status=self.status, reason="no")
        if self.conflicts:
            self.conflicts, self.version = self.conflicts - 1, self.version + 1
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise client.ApiException(status=409, reason="Conflict")
        self.taints, self.version = body["spec"]["taints"], self.version + 1


def taints_of(node: Node) -> KubernetesTaints:
    taints = KubernetesTaints(client.ApiClient())
    taints._core = node
    return taints


async def test_it_is_put_beside_others_and_taken_away_alone() -> None:
    node = Node(THEIRS)
    taints = taints_of(node)
    await taints.keep_off("n1", "fo-1")
    await taints.keep_off("n1", "fo-2")
    assert node.taints == [THEIRS, OURS, OURS | {"key": "failover.reprise.dev/fo-2"}]
    assert await taints.kept_off() == [("n1", "fo-1"), ("n1", "fo-2")]
    await taints.keep_off("n1", "fo-1")
    assert node.patches == 2, "it is there"
    await taints.let_on("n1", "fo-2")
    await taints.let_on("n1", "fo-1")
    await taints.let_on("n1", "fo-1")
    assert (node.taints, node.patches) == ([THEIRS], 4)


async def test_whoever_changed_the_node_meanwhile_is_not_undone() -> None:
    node = Node(conflicts=2)
    await taints_of(node).keep_off("n1", "fo-1")
    assert (node.taints, node.patches) == ([OURS], 3)


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (403, False), (422, False), (429, True), (500, True)])
async def test_what_may_not_be_changed_is_told(status: int, retryable: bool) -> None:
    with pytest.raises(RecoveryError) as raised:
        await taints_of(Node(status=status)).keep_off("n1", "fo-1")
    assert raised.value.retryable is retryable


@pytest.mark.parametrize(("step", "left"), [("delete", [("n1", "fo-1")]), ("complete", []), ("abandoned", []), ("", [])])
async def test_one_that_its_failover_did_not_live_to_remove_is_removed(step: str, left: list[tuple[str, str]]) -> None:
    server = MemoryServer()
    bus, cluster = MemoryBus(server), MemoryCluster(MemoryStore(()), (), server)
    await cluster.keep_off("n1", "fo-1")
    if step:
        saga = Saga(failover_id="fo-1", workload=WORKLOAD, target=TARGET, cause="node-loss", declared_at=now(), step=step)
        await Bucket(bus, "failovers", Saga).put("fo-1", saga)
    await LeftTaints(bus, cluster, lambda: True).look()
    assert await cluster.kept_off() == left
