"""A workload that cannot be moved is told so while its node is well, not when it is lost."""

from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointStored, ImageBuilt, StandbyRefused
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.restorer.model import Good, Need, NodeView, PodView
from reprise.restorer.placement import Placement, Volume
from reprise.restorer.standby import Standbys
from reprise.restorer.testing import MemoryCluster, MemoryStore
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
STORED = CheckpointStored(
    node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="interval", manifest_key="", size=1, sha256="",
    transfer_s=0, kubelet_s=0, stats=CriuStats(),
)  # fmt: skip


def standbys(asks: Placement) -> tuple[Standbys, MemoryServer, Any]:
    server, store = MemoryServer(), MemoryStore((Good("ck1", Need()),))
    cluster = MemoryCluster(store, (NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0),))
    cluster.add(PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc", "u1", asks=asks), "n1")
    pod = SimpleNamespace(workload=WORKLOAD, policy=Policy(mode="criu"), namespace="default", name="counter-1", uid="u1")
    return Standbys(MemoryBus(server), cluster, store), server, pod


@pytest.mark.asyncio
async def test_one_with_a_volume_that_stays_on_its_node_gets_no_standby_and_its_owner_is_told_once() -> None:
    sends, server, pod = standbys(Placement(volumes=(Volume("data", tied="hostPath /srv"),)))
    for _ in range(3):
        await sends.send(STORED, pod)
    (told,) = server.events.values()
    assert isinstance(told, StandbyRefused)
    assert (told.reason, told.node) == ("NotMovable", "n1")
    assert "hostPath /srv" in told.message
    assert told.remedy


@pytest.mark.asyncio
async def test_one_that_can_be_moved_is_sent_to_a_node_that_the_scheduler_would_take() -> None:
    sends, server, pod = standbys(Placement())
    await sends.send(STORED, pod)
    assert [event.node for event in server.events.values() if isinstance(event, ImageBuilt)] == ["n2"]
    sends, server, pod = standbys(Placement(selector=(("disk", "ssd"),)))
    await sends.send(STORED, pod)
    assert not server.events
