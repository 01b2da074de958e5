"""A node's agent says whether a container is healthy, by its own probes, whatever their kind."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import client
from reprise.contracts.annotations import Policy
from reprise.contracts.model import Workload
from reprise.contracts.records import Checkup, Question
from reprise.health_watcher.checkups import Checkups
from reprise.runtime.bus import Bus
from reprise.runtime.checkup import ask, subject
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.testing import MemoryBus, MemoryServer

EXEC = client.V1Probe(_exec=client.V1ExecAction(command=["pg_isready"]), timeout_seconds=2, period_seconds=5, failure_threshold=3)
RUNS = RunningContainer("c2", "s", "default", "counter-1", "u1", "counter", "", "", 1, "running", 2)
BEFORE = replace(RUNS, id="c1", created_at_ns=1)


class Node:
    """Its only container has an exec probe that ends with this code."""

    def __init__(self, code: int = 0, **probes: Any) -> None:
        self.code, self.ran, self.frozen, self.seen_healthy = code, list[str](), False, set[str]()
        self.container = ProtectedContainer("counter", "counter:1", "c2", running=True, **(probes or {"liveness": EXEC}))
        self.look = SimpleNamespace(containers=(BEFORE, RUNS))

    async def exec_sync(self, container_id: str, command: list[str], _timeout_s: float) -> tuple[int, str]:
        self.ran.append(f"{container_id} {' '.join(command)}")
        return self.code, "as it says"

    def with_container(self, uid: str, container: str) -> ProtectedPod | None:
        workload = Workload(namespace="default", name="counter")
        pod = ProtectedPod(
            workload, Policy(mode="criu"), "default", "counter-1", "u1", "n1", "", "", "Running", False, (self.container,)
        )
        return pod if (uid, container) == ("u1", "counter") else None

    def is_frozen(self, _container_id: str) -> bool:
        return self.frozen

    def left_s(self, _container: ProtectedContainer) -> float:
        return 7.0

    async def asked(self, container_id: str = "c2") -> Checkup:
        """Over NATS."""
        here: Any = self
        server = MemoryServer()
        MemoryBus(server).answer(subject("n1"), Checkups(here, here, here, here, here, here).answer)
        bus: Bus = MemoryBus(server)
        return await ask(bus, "n1", Question(pod_uid="u1", container="counter", container_id=container_id))


@pytest.mark.parametrize(("code", "healthy"), [(0, True), (1, False)])
async def test_an_exec_probe_is_run_in_the_container_that_is_meant(code: int, healthy: bool) -> None:
    node = Node(code)
    found = await node.asked()
    assert (found.healthy, found.detail) == (healthy, f"exit {code}: as it says")
    assert node.ran == ["c2 pg_isready"]


@pytest.mark.parametrize(("code", "seen"), [(0, {"c2"}), (1, set())])
async def test_who_was_found_healthy_may_hang_from_then_on(code: int, seen: set[str]) -> None:
    """It may be checkpointed, and hang, before its livenessProbe is first run here."""
    node = Node(code)
    await node.asked()
    assert node.seen_healthy == seen


async def test_it_says_what_its_spec_gives_it_and_what_its_kubelet_tolerates() -> None:
    found = await Node(1).asked()
    assert (found.grace_s, found.tolerated_s) == (7.0, 15.0)


async def test_one_that_was_replaced_is_not_asked() -> None:
    node = Node()
    found = await node.asked("c1")
    assert (found.runs, found.healthy, node.ran) == (False, False, [])


async def test_nothing_is_run_in_what_stands_still() -> None:
    node = Node()
    node.frozen = True
    assert not (await node.asked()).healthy
    assert node.ran == []


async def test_without_a_probe_running_is_all_that_can_be_known() -> None:
    assert (await Node(startup=EXEC).asked()).healthy


async def test_an_agent_that_is_away_is_told_from_one_that_says_no() -> None:
    found = await ask(MemoryBus(MemoryServer()), "n1", Question(pod_uid="u1", container="counter"))
    assert (found.told, found.healthy) == (False, False)


@pytest.mark.parametrize(("answer", "liveness", "healthy"), [(503, False, True), (0, False, False), (503, True, False)])
async def test_a_passive_replica_that_answers_is_alive_and_silence_is_no_answer(
    answer: int, liveness: bool, healthy: bool
) -> None:
    """Its readinessProbe says no on purpose; its livenessProbe would not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer:
            writer.write(f"HTTP/1.1 {answer} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        else:
            await asyncio.sleep(2)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        get = client.V1HTTPGetAction(port=server.sockets[0].getsockname()[1], host="127.0.0.1")
        probe = client.V1Probe(http_get=get, timeout_seconds=1)
        node = Node(**({"liveness": probe} if liveness else {"readiness": probe}))
        assert (await node.asked()).healthy is healthy
