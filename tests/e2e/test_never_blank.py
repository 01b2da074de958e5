"""A blank instance answers nobody, whatever is missing at the moment of the crash."""

import asyncio
import signal
import time
from collections.abc import Iterator

import pytest
from reprise.runtime.cri.client import Cri
from reprise_lab import counter, faults
from reprise_lab.node import Node
from reprise_lab.shell import kill, kubectl
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e


@pytest.fixture
def armed_once(namespace: str) -> Iterator[Witness]:
    """Armed on n1, and not checkpointed again for a minute: what is taken away is not put back meanwhile."""
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"}, env=counter.LINGERS)
    with Witness(namespace) as witness:
        counter.wait_armed(namespace)
        yield witness


def take_the_image(namespace: str) -> None:
    """As the kubelet's garbage collection does: no container is known to use it."""
    reference = counter.pod(namespace)["spec"]["containers"][0]["image"]
    assert reference.startswith(counter.LIVE)

    async def remove() -> None:
        cri = Cri(str(Node("n1").root / "run/crio/crio.sock"))
        assert await cri.image_id(reference), "it lies ready"
        await cri.remove_image(reference)
        assert await cri.image_id(reference) is None
        await cri.close()

    asyncio.run(remove())


def crash(namespace: str) -> float:
    at = time.monotonic()
    faults.pod_signal(counter.pod(namespace)["metadata"]["uid"], signal.SIGKILL)
    return at


def test_a_live_image_that_garbage_collection_took_is_fetched_again(armed_once: Witness) -> None:
    namespace, run = armed_once.namespace, armed_once.last().run
    take_the_image(namespace)
    armed_once.after_gap(run, crash(namespace), 30)
    assert armed_once.runs(0) == {run}
    assert counter.wait_failover(namespace, "crash")["path"] == "in-place-armed"


@pytest.fixture
def silent_registry() -> Iterator[list[int]]:
    """Of n1: transfer's processes stand still."""
    pids = faults.service_pids("transfer", "n1")
    assert pids
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    yield pids
    for pid in pids:
        kill(pid, signal.SIGCONT)


def test_with_its_image_gone_and_the_registry_silent_it_waits_and_starts_no_blank(
    armed_once: Witness, silent_registry: list[int]
) -> None:
    namespace, run = armed_once.namespace, armed_once.last().run
    take_the_image(namespace)
    crashed_at = crash(namespace)
    time.sleep(8)
    assert not armed_once.runs(crashed_at + 0.15), "nothing can answer yet"
    for pid in silent_registry:
        kill(pid, signal.SIGCONT)
    armed_once.after_gap(run, crashed_at, 60)
    assert armed_once.runs(0) == {run}


@pytest.mark.parametrize("later_s", [0.0, 0.3, 0.8])
def test_one_that_crashes_while_it_is_being_armed_comes_back_with_its_memory(namespace: str, later_s: float) -> None:
    counter.deploy(namespace, env=counter.LINGERS)
    with Witness(namespace) as witness:
        run, pod = witness.last().run, counter.pod(namespace)["metadata"]
        while not counter.console(f"failovers?namespace={namespace}"):
            time.sleep(0.02)
        time.sleep(later_s)
        at = time.monotonic()
        faults.pod_signal(pod["uid"], signal.SIGKILL)
        witness.after_gap(run, at, 40)
        counter.wait_armed(namespace)
        assert witness.runs(0) == {run}
        assert counter.pod(namespace)["metadata"]["uid"] == pod["uid"]


@pytest.fixture
def nowhere_else() -> Iterator[None]:
    kubectl("cordon", "n2")
    yield
    kubectl("uncordon", "n2")


def test_a_node_that_reboots_brings_it_back_if_nobody_else_could(
    armed_counter: Witness, nowhere_else: None, node_comes_back: None
) -> None:
    namespace, run = armed_counter.namespace, armed_counter.last().run
    off_at = time.monotonic()
    faults.power_off("n1")
    time.sleep(8)
    faults.power_on("n1")
    armed_counter.after_gap(run, off_at, 90)
    time.sleep(3)
    assert armed_counter.runs(0) == {run}
    assert [pod["spec"]["nodeName"] for pod in counter.pods(namespace)] == ["n1"]
