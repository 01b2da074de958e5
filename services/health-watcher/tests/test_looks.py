"""What a look at the runtime's containers sets off: a start is asked for, an end is declared once, a held blank's is not."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload
from reprise.health_watcher.deaths import Deaths
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod

WORKLOAD = Workload(namespace="default", name="counter")
RUNS = RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "counter:1", "", 0, "running", 0)
ENDED = replace(RUNS, state="exited")
BLANK = replace(RUNS, id="c2", attempt=1)


class Node:
    """Its runtime, and whoever listens."""

    def __init__(self) -> None:
        self.containers: list[RunningContainer] = [RUNS]
        self.told: list[str] = []
        container = ProtectedContainer("counter", "counter:1", "c1", running=True)
        pod = ProtectedPod(WORKLOAD, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False,
                           (container,), "u1")  # fmt: skip
        here: Any = self
        pods: Any = SimpleNamespace(pods={"u1": pod}, synced=True)
        self.pods = pods.pods
        self.deaths = Deaths(here, pods, here, here)
        self.deaths.on_started, self.deaths.on_died, self.deaths.on_ended = self.started, self.died, self.ended

    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        return self.containers

    async def remove_container(self, container_id: str) -> None:
        self.told.append(f"removed {container_id}")

    async def started(self) -> None:
        self.told.append("started")

    def died(self, target: Target) -> None:
        self.told.append(f"died {target.container_id}")

    def ended(self, target: Target) -> None:
        self.told.append(f"ended {target.container_id}")

    def announce(self, event: Any, dedup_id: str) -> None:
        self.told.append(f"declared {event.target.container_id}")

    async def look(self, *containers: RunningContainer) -> list[str]:
        self.containers, self.told = list(containers), []
        await self.deaths.relist()
        return self.told


@pytest.mark.asyncio
async def test_a_start_is_told_once_also_where_the_runtime_streams_no_events() -> None:
    node = Node()
    assert await node.look(RUNS) == ["started"]
    assert await node.look(RUNS) == []
    assert await node.look(RUNS, BLANK) == ["started"]


@pytest.mark.asyncio
async def test_an_unarmed_end_is_waited_for_and_declared_once() -> None:
    node = Node()
    await node.look(RUNS)
    assert await node.look(ENDED) == ["ended c1", "died c1", "declared c1"]
    assert await node.look(ENDED) == []


@pytest.mark.asyncio
async def test_an_armed_one_is_removed_and_nothing_waits_for_it() -> None:
    node = Node()
    image = live_reference("default", "u1", "counter")
    node.pods["u1"] = replace(node.pods["u1"], containers=(ProtectedContainer("counter", image, "c1", running=True),))
    await node.look(replace(RUNS, image=image))
    assert await node.look(replace(ENDED, image=image)) == ["ended c1", "removed c1", "declared c1"]


@pytest.mark.asyncio
async def test_the_end_of_a_blank_that_was_held_is_no_crash() -> None:
    node = Node()
    node.deaths.expected_ends = {"c2"}
    await node.look(RUNS)
    await node.look(ENDED, BLANK)
    assert await node.look(ENDED, replace(BLANK, state="exited")) == ["ended c2"]
