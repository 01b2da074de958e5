"""What an agent does about containers that ended, also before it knows its node's pods: the runtime and the API server are
the few lines below.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from reprise.contracts.annotations import Policy
from reprise.contracts.events import Event, FailoverDeclared
from reprise.contracts.images import live_reference
from reprise.contracts.model import Workload
from reprise.health_watcher.deaths import Deaths
from reprise.health_watcher.model import Exit, Failing
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod

LIVE, BLANK = live_reference("default", "u1", "counter"), "localhost/counter:1"
RESTORED = RunningContainer("c2", "s", "default", "counter-1", "u1", "counter", LIVE, "", 0, "running", 20)
FIRST = replace(RESTORED, id="c1", image=BLANK, created_at_ns=10)


def ended(container: RunningContainer) -> RunningContainer:
    return replace(container, state="exited")


class Node:
    """Its runtime, and what its informer knows."""

    def __init__(self) -> None:
        self.containers: dict[str, RunningContainer] = {}
        self.removed: list[str] = []
        self.exits: list[Exit] = []
        self.pods: dict[str, ProtectedPod] = {}
        self.synced = False

    def has(self, *containers: RunningContainer) -> None:
        self.containers = {c.id: c for c in containers}

    def knows(self, image: str, *, deleting: bool = False) -> None:
        container = ProtectedContainer("counter", image, running=True)
        workload, policy = Workload(namespace="default", name="counter"), Policy(mode="criu")
        pod = ProtectedPod(workload, policy, "default", "counter-1", "u1", "n1", "", "", "Running", deleting, (container,), "u1")
        self.pods, self.synced = {"u1": pod}, True

    async def follow(self) -> AsyncIterator[Exit]:
        """The exit files: as many as there are by now."""
        for found in self.exits:
            yield found
        await asyncio.Event().wait()

    async def list_containers(self, _state: str | None = None) -> list[RunningContainer]:
        return list(self.containers.values())

    async def remove_container(self, container_id: str) -> None:
        self.removed.append(container_id)
        self.containers.pop(container_id, None)


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def announce(self, event: Event, _dedup_id: str) -> None:
        self.events.append(event)

    @property
    def deaths(self) -> list[tuple[str, str, str]]:
        declared = [e for e in self.events if isinstance(e, FailoverDeclared)]
        return [(e.target.container_id, e.cause, e.reference) for e in declared]


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def agent(node: Node, told: Told) -> Callable[[], Deaths]:
    """An agent that has just started."""
    parts: tuple[Any, ...] = (node, node, told, node)
    return lambda: Deaths(*parts)


async def test_an_armed_container_that_died_while_no_agent_ran_is_removed_at_once_and_declared_when_its_pod_is_known(
    node: Node, told: Told, agent: Callable[[], Deaths]
) -> None:
    node.has(ended(RESTORED))
    deaths = agent()
    await deaths.relist()
    assert (node.removed, told.deaths) == (["c2"], []), "the API server may be away; the kubelet must not wait for it"
    node.knows(LIVE)
    await deaths.relist()
    await deaths.relist()
    assert (node.removed, told.deaths) == (["c2"], [("c2", "crash", LIVE)])


async def test_one_whose_image_the_runtime_does_not_tell_is_removed_when_its_pod_is_known(
    node: Node, told: Told, agent: Callable[[], Deaths]
) -> None:
    node.has(ended(replace(RESTORED, image="sha256:abc")))
    deaths = agent()
    await deaths.relist()
    assert node.removed == []
    node.knows(LIVE)
    await deaths.relist()
    assert (node.removed, told.deaths) == (["c2"], [("c2", "crash", "")])


async def test_an_unarmed_container_that_died_while_no_agent_ran_is_declared_too(
    node: Node, told: Told, agent: Callable[[], Deaths]
) -> None:
    node.has(ended(FIRST), replace(RESTORED, image=BLANK))
    deaths = agent()
    await deaths.relist()
    node.knows(BLANK)
    await deaths.relist()
    assert (node.removed, told.deaths) == ([], [("c1", "crash", "")]), "the blank one that runs by now has lost the state"


async def test_a_death_that_an_agent_before_has_declared_is_not_declared_again(
    node: Node, told: Told, agent: Callable[[], Deaths]
) -> None:
    node.has(ended(FIRST), RESTORED)
    deaths = agent()
    await deaths.relist()
    node.knows(LIVE)
    await deaths.relist()
    assert told.deaths == []


async def test_of_two_dead_containers_only_the_newest_is_a_failover(node: Node, told: Told, agent: Callable[[], Deaths]) -> None:
    node.knows(LIVE)
    node.has(ended(FIRST), ended(RESTORED))
    await agent().relist()
    assert sorted(node.removed) == ["c1", "c2"]
    assert told.deaths == [("c2", "crash", LIVE)]


@pytest.mark.parametrize("deleting", [True, False])
async def test_what_turns_out_to_be_nobodys_business_is_forgotten(
    node: Node, told: Told, agent: Callable[[], Deaths], deleting: bool
) -> None:
    node.has(ended(FIRST))
    deaths = agent()
    await deaths.relist()
    node.knows(BLANK, deleting=deleting)
    if not deleting:
        node.pods = {}
    await deaths.relist()
    await deaths.relist()
    assert (node.removed, told.deaths) == ([], [])


async def test_an_exit_file_tells_before_the_runtime_does_and_is_not_told_twice(
    node: Node, told: Told, agent: Callable[[], Deaths]
) -> None:
    node.has(RESTORED)
    node.knows(RESTORED.image)
    deaths = agent()
    await deaths.relist()
    node.exits = [Exit("of a sandbox", 0), Exit(RESTORED.id, time.time_ns())]
    watching = asyncio.create_task(deaths.watch())
    await asyncio.sleep(0.01)
    assert node.removed == [RESTORED.id], "the runtime still lists it as running"
    node.has(ended(RESTORED))
    await deaths.relist()
    watching.cancel()
    assert (node.removed, len(told.deaths)) == ([RESTORED.id], 1)


@pytest.mark.parametrize(("failures", "cause"), [(1, "crash"), (2, "hang")])
async def test_one_that_its_kubelet_ended_hung_since_the_first_probe_that_failed(
    node: Node, told: Told, agent: Callable[[], Deaths], failures: int, cause: str
) -> None:
    node.has(RESTORED)
    node.knows(LIVE)
    deaths = agent()
    await deaths.relist()
    deaths.failing["c2"] = Failing(failures, 3, time.monotonic() - 4.0)
    node.has(ended(RESTORED))
    await deaths.relist()
    [declared] = told.events
    assert isinstance(declared, FailoverDeclared)
    assert (declared.cause, declared.noticed_after_s > 3.9) == (cause, cause == "hang")
