"""A workload that cannot be moved is told so while its node is well, not when it is lost."""

from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.events import CheckpointStaged, CheckpointStored, ImageBuilt, StandbyRefused
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.contracts.records import RollbackRecord
from reprise.restorer.model import Good, Need, NodeView, PodView, Standby
from reprise.restorer.placement import Placement, Volume
from reprise.restorer.standby import Standbys
from reprise.restorer.testing import MemoryCluster, MemoryStore
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
STORED = CheckpointStored(
    node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="interval", manifest_key="", size=1, sha256="",
    transfer_s=0, kubelet_s=0, stats=CriuStats(),
)  # fmt: skip


def standbys(asks: Placement) -> tuple[Standbys, MemoryServer, Any]:
    server, store = MemoryServer(), MemoryStore((Good("ck1", Need()),))
    nodes = (NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0),)
    cluster = MemoryCluster(store, nodes, server)
    cluster.add(PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc", asks=asks), "n1")
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


def staged(checkpoint_id: str, node: str = "n2", pod_uid: str = "u1") -> CheckpointStaged:
    return CheckpointStaged(
        node=node, workload=WORKLOAD, checkpoint_id=checkpoint_id, target=TARGET.model_copy(update={"pod_uid": pod_uid}),
        reference="slot", pull_s=0, role="standby",
    )  # fmt: skip


@pytest.mark.asyncio
async def test_what_lies_ready_is_the_newest_on_the_named_node_or_what_a_failover_waits_for() -> None:
    told, server, _ = standbys(Placement())
    bucket = Bucket(MemoryBus(server), "standby", Standby)
    name = key("u1", "counter")
    await bucket.put(name, Standby(node="n2"))
    for checkpoint_id, node, holds in (("ck2", "n2", "ck2"), ("ck1", "n2", "ck2"), ("ck3", "n3", "ck2"), ("ck3", "n2", "ck3")):
        await told.on_staged(staged(checkpoint_id, node))
        entry = await bucket.get(name)
        assert entry
        assert entry.value.holds("n2", holds)
    assert entry
    assert entry.value.holds("n2", "ck2"), "a node keeps the one before, too"
    assert not entry.value.holds("n2", "ck1")
    await bucket.put(name, Standby(node="n2", checkpoint_id="ck3", warm=True, asked="ck1"))
    await told.on_staged(staged("ck1"))
    entry = await bucket.get(name)
    assert entry
    assert entry.value.holds("n2", "ck1"), "what is older is restored from if what is newer did not come back"


@pytest.mark.asyncio
async def test_each_replica_has_a_standby_of_its_own() -> None:
    """One runs on n1 and the other on n2: what is staged of one says nothing of the other."""
    told, server, _ = standbys(Placement())
    bucket = Bucket(MemoryBus(server), "standby", Standby)
    for uid, node in (("u1", "n2"), ("u2", "n1")):
        await bucket.put(key(uid, "counter"), Standby(node=node))
        await told.on_staged(staged(f"ck-{uid}", node, uid))
    held = {uid: await bucket.get(key(uid, "counter")) for uid in ("u1", "u2")}
    assert {uid: entry.value.checkpoint_id for uid, entry in held.items() if entry} == {"u1": "ck-u1", "u2": "ck-u2"}
    refused = StandbyRefused(node="n2", workload=WORKLOAD, target=TARGET, reason="DiskFull", message="full", remedy="-")
    await told.on_refused(refused)
    other = await bucket.get(key("u2", "counter"))
    assert other
    assert (other.value.holds("n1", "ck-u2"), other.value.refused) == (True, {})


@pytest.mark.asyncio
async def test_what_is_staged_meanwhile_does_not_make_it_forget_what_a_failover_waits_for() -> None:
    """An interval's checkpoint, whose id is newer, was on its way when the last one before a move was asked for."""
    told, server, _ = standbys(Placement())
    bucket, name = Bucket(MemoryBus(server), "standby", Standby), key("u1", "counter")
    await bucket.put(name, Standby(node="n2", checkpoint_id="ck1", warm=True, asked="ck2"))
    for checkpoint_id in ("ck3", "ck2"):
        await told.on_staged(staged(checkpoint_id))
    entry = await bucket.get(name)
    assert entry and entry.value.holds("n2", "ck2")


@pytest.mark.asyncio
async def test_a_rollback_waits_for_its_own_checkpoint_on_its_pods_own_node() -> None:
    told, server, _ = standbys(Placement())
    bucket = Bucket(MemoryBus(server), "wanted", RollbackRecord)
    name = container_key(WORKLOAD, "counter")
    await told.on_live(staged("ck2", "n1"))
    assert await bucket.get(name) is None
    await bucket.put(name, RollbackRecord(failover_id="rs-1", node="n1", checkpoint_id="ck2"))
    for checkpoint_id, node, ready in (("ck3", "n1", False), ("ck2", "n2", False), ("ck2", "n1", True)):
        await told.on_live(staged(checkpoint_id, node))
        entry = await bucket.get(name)
        assert entry
        assert entry.value.ready is ready
