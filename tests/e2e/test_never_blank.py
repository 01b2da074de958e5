"""A start of what has a good checkpoint is its restore, whatever else is missing or broken at that moment."""

import signal
import time
from collections.abc import Iterator

import pytest
from reprise_lab import counter, faults
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e


@pytest.fixture
def two_checkpoints(namespace: str) -> Iterator[Witness]:
    """On n1, and none taken for a minute: what is damaged is not replaced meanwhile."""
    counter.deploy(namespace, annotations={"reprise.dev/interval": "60s"})
    counter.wait_protected(namespace)
    first = counter.wait_checkpoint(namespace)["checkpoint_id"]
    counter.ask_checkpoint(namespace)
    counter.wait_checkpoint(namespace, after=first)
    with Witness(namespace) as witness:
        yield witness


def crash(namespace: str) -> float:
    at = time.monotonic()
    faults.pod_signal(counter.pod(namespace)["metadata"]["uid"], signal.SIGKILL)
    return at


def test_a_crash_right_after_the_first_checkpoint_brings_it_back(namespace: str) -> None:
    counter.deploy(namespace)
    with Witness(namespace) as witness:
        run, pod = witness.last().run, counter.pod(namespace)["metadata"]
        while not counter.console(f"events?namespace={namespace}&type=checkpoint.staged&limit=1"):
            time.sleep(0.02)
        witness.after_gap(run, crash(namespace), 40)
        assert witness.runs(0) == {run}
        assert counter.pod(namespace)["metadata"]["uid"] == pod["uid"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_within_the_same_start(two_checkpoints: Witness) -> None:
    namespace, run = two_checkpoints.namespace, two_checkpoints.last().run
    damaged, before = counter.damage(namespace), counter.slot(namespace, "previous").name
    at = crash(namespace)
    after = two_checkpoints.after_gap(run, at, 30)
    assert after.at - at < 10
    assert two_checkpoints.runs(0) == {run}
    row = counter.wait_failover(namespace, "crash")
    assert (row["state"], row["checkpoint_id"]) == ("completed", before), (row, damaged)


def test_with_no_whole_checkpoint_it_starts_cold_says_so_and_is_protected_again(two_checkpoints: Witness) -> None:
    namespace, run = two_checkpoints.namespace, two_checkpoints.last().run
    for name in ("live", "previous"):
        counter.damage(namespace, name)
    at = crash(namespace)
    poll(20, lambda: bool(two_checkpoints.runs(at + 0.15) - {run}), "a blank instance", 0.05)
    row = counter.wait_failover(namespace, "crash")
    assert (row["state"], bool(row["reason"]), bool(row["remedy"])) == ("abandoned", True, True), row
    newest = max(each["checkpoint_id"] for each in counter.console(f"checkpoints?namespace={namespace}&state=stored"))
    fresh = two_checkpoints.last().run
    counter.ask_checkpoint(namespace)
    counter.wait_checkpoint(namespace, after=newest)
    two_checkpoints.after_gap(fresh, crash(namespace), 40)
    assert two_checkpoints.runs(at + 0.15) == {fresh}


@pytest.fixture
def nowhere_else() -> Iterator[None]:
    kubectl("cordon", "n2")
    yield
    kubectl("uncordon", "n2")


@pytest.mark.alone
def test_a_node_that_reboots_brings_it_back_if_nobody_else_could(
    protected_counter: Witness, nowhere_else: None, node_comes_back: None
) -> None:
    namespace, run = protected_counter.namespace, protected_counter.last().run
    off_at = time.monotonic()
    faults.power_off("n1")
    time.sleep(8)
    faults.power_on("n1")
    protected_counter.after_gap(run, off_at, 90)
    time.sleep(3)
    assert protected_counter.runs(0) == {run}
    assert [pod["spec"]["nodeName"] for pod in counter.pods(namespace)] == ["n1"]
