"""What is told of a node's death is what the failover then does; and telling it does nothing."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.events import FailoverStarted
from reprise.contracts.model import Target, Workload, failover_id
from reprise.contracts.plans import Planned
from reprise.restorer.forecast import Forecast
from reprise.restorer.model import Good, Need, NodeView, PodView, Saga, Standby
from reprise.restorer.room import Room, Timeouts
from reprise.restorer.saga import SagaRunner
from reprise.restorer.starts import Starts
from reprise.restorer.testing import OWNER, MemoryCluster, MemoryStore
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
VIEW = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", OWNER, wanted=1)
NODES = tuple(NodeView(f"n{n}", ready=True, schedulable=True, architecture="amd64", protected_pods=n) for n in (1, 2, 3))
POD = ProtectedPod(
    workload=WORKLOAD, policy=Policy(mode="criu"), namespace="default", name="counter-1", uid="u1", node="n1", ip="", host_ip="",
    phase="Running", deleting=False, containers=(ProtectedContainer("counter", "counter:1", "c1", running=True),),
)  # fmt: skip


class Setting:
    def __init__(self, *, good: bool = True, nodes: tuple[NodeView, ...] = NODES) -> None:
        self.server = MemoryServer()
        self.bus = MemoryBus(self.server)
        store = MemoryStore(tuple(Good(f"ck{n}", Need(), pod_uid="u1") for n in (3, 2) if good))
        cluster = MemoryCluster(store, nodes, self.server)
        cluster.add(VIEW, "n1")
        self.sagas = SagaRunner(Room(self.bus, cluster, cluster, store, Starts(self.bus), Timeouts(0.1, 1, 0.05)))
        self.pods = {"u1": POD}

    async def told(self) -> Planned:
        (found,) = await Forecast(self.sagas.planning, self.pods).of("n1")
        return found


@pytest.mark.parametrize("ready_on", ["", "n3"])
async def test_what_is_told_is_what_the_failover_then_does(ready_on: str) -> None:
    setting = Setting()
    if ready_on:
        standbys = Bucket(setting.bus, "standby", Standby)
        await standbys.put(key("u1", "counter"), Standby(node=ready_on, checkpoint_id="ck3"))
    before = {name: dict(rows) for name, rows in setting.server.buckets.items()}
    told = await setting.told()
    assert told.standby == (ready_on or "n2")
    assert not setting.server.events
    assert {name: dict(rows) for name, rows in setting.server.buckets.items() if rows} == before
    saga = Saga(failover_id=failover_id(TARGET, node_lost=True), workload=WORKLOAD, target=TARGET, cause="node-loss",
                declared_at=datetime(2026, 1, 1, tzinfo=UTC))  # fmt: skip
    await setting.sagas.run(saga)
    started = next(event for event in setting.server.events.values() if isinstance(event, FailoverStarted))
    assert (started.standby, started.checkpoint_id, started.why) == (told.standby, told.checkpoint_id, told.why)


async def test_where_nothing_can_take_it_the_reason_is_the_planners() -> None:
    told = await Setting(nodes=(NODES[0], replace(NODES[1], ready=False))).told()
    assert (told.standby, told.reason, told.later) == ("", "NoStandby", True)
    assert "n2" in told.why and told.remedy


async def test_without_a_checkpoint_it_would_start_cold() -> None:
    told = await Setting(good=False).told()
    assert (told.standby, told.reason, told.later) == ("", "NoCheckpoint", False)


async def test_what_runs_elsewhere_or_is_being_deleted_is_not_told_of() -> None:
    setting = Setting()
    assert await Forecast(setting.sagas.planning, setting.pods).of("n2") == []
    setting.pods["u1"] = replace(POD, deleting=True)
    assert await Forecast(setting.sagas.planning, setting.pods).of("n1") == []
