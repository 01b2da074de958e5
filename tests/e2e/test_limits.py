"""What a crash without a usable checkpoint costs: no more than it costs without Reprise. And a Service is led to no blank one."""

import json
import signal
import time
from collections.abc import Iterator

import pytest
from reprise_lab import counter, faults, listing
from reprise_lab.shell import kill, kubectl, poll, reprise
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

GATE = "reprise.dev/restored"
OVERHEAD_S, NOISE_S = 0.5, 0.7
"""What a crash may cost more than the kubelet's own restart; and what two restarts on a busy machine differ by anyway."""


def condition(namespace: str) -> tuple[str, str]:
    """The gate's status and reason."""
    found = [c for c in counter.pod(namespace)["status"].get("conditions", []) if c["type"] == GATE]
    return (found[0]["status"], found[0].get("reason", "")) if found else ("", "")


@pytest.fixture
def beside(namespace: str) -> Iterator[str]:
    """The namespace of the same app without Reprise, on the same node."""
    plain = f"{namespace}-plain"
    yield plain
    counter.remove(plain, wait=False)


def crash_both(witnesses: tuple[Witness, Witness]) -> tuple[float, float]:
    """Kill both in the same moment; when a new run of each answers, in seconds."""
    uids = [counter.pod(witness.namespace)["metadata"]["uid"] for witness in witnesses]
    runs = [witness.last().run for witness in witnesses]
    killed_at = time.monotonic()
    for uid in uids:
        faults.pod_signal(uid, signal.SIGKILL)
    for witness, run in zip(witnesses, runs, strict=True):
        poll(60, lambda witness=witness, run=run: bool(witness.runs(killed_at + 0.15) - {run}), "a new run", 0.02)  # type: ignore[misc]
    first, second = (
        next(a.at for a in witness.answers(killed_at) if a.run != run) - killed_at
        for witness, run in zip(witnesses, runs, strict=True)
    )
    print(f"blank again after {first:.2f} s, without Reprise {second:.2f} s")
    return first, second


@pytest.fixture
def no_checkpoints() -> Iterator[None]:
    """The checkpointer of n1 stands still."""
    pids = faults.service_pids("checkpointer", "n1")
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        kill(pid, signal.SIGCONT)


@pytest.mark.alone
def test_a_crash_before_the_first_checkpoint_starts_blank_at_once(namespace: str, beside: str, no_checkpoints: None) -> None:
    counter.deploy(namespace)
    counter.deploy(beside, annotations=counter.PLAIN)
    with Witness(namespace) as ours, Witness(beside) as plain:
        with_us, without = crash_both((ours, plain))
    assert with_us < without + OVERHEAD_S + NOISE_S


def test_a_file_that_has_grown_costs_a_cold_start_and_no_outage(namespace: str, beside: str) -> None:
    """CRIU does not restore a process whose open file is longer than at its checkpoint. (It was an outage of 272 s.) Its owner
    knows before, and that it is not moved: on another node its emptyDir is empty.
    """
    counter.deploy(namespace, env=counter.GROWS)
    counter.deploy(beside, env=counter.GROWS, annotations=counter.PLAIN)
    counter.wait_protected(namespace)
    counter.wait_checkpoint(namespace)
    poll(20, lambda: bool(listing.told(namespace, "MayStartCold")), "the Event MayStartCold", 0.5)
    assert "volume at /data" in listing.told(namespace, "MayStartCold")[0]
    moved = reprise("move", f"{namespace}/counter")
    assert (moved.returncode, "NotMovable" in moved.stderr) == (1, True), moved.stderr
    with Witness(namespace) as ours, Witness(beside) as plain:
        with_us, without = crash_both((ours, plain))
    assert with_us < without + OVERHEAD_S + NOISE_S
    row = counter.wait_failover(namespace, "crash")
    assert (row["state"], bool(row["message"]), bool(row["remedy"])) == ("abandoned", True, True), row


def test_an_unprotected_workload_is_plain_kubernetes_at_once(namespace: str, beside: str) -> None:
    """Nothing of Reprise has to be undone: its next crash starts it blank, without delay."""
    counter.deploy(namespace)
    counter.deploy(beside, annotations=counter.PLAIN)
    counter.wait_protected(namespace)
    kubectl("-n", namespace, "annotate", "deployment", "counter", "reprise.dev/mode=off", "--overwrite")
    time.sleep(3)
    with Witness(namespace) as ours, Witness(beside) as plain:
        with_us, without = crash_both((ours, plain))
    assert with_us < without + NOISE_S
    assert not counter.console(f"failovers?namespace={namespace}")
    uid = counter.pod(namespace)["metadata"]["uid"]
    kubectl("-n", namespace, "rollout", "restart", "deployment/counter")
    kubectl("-n", namespace, "rollout", "status", "deployment/counter", "--timeout=60s")
    assert counter.pod(namespace)["metadata"]["uid"] != uid


def test_a_readiness_gate_is_open_for_a_first_start_and_for_a_restored_instance(namespace: str) -> None:
    counter.deploy(namespace)
    gated = {"spec": {"template": {"spec": {"readinessGates": [{"conditionType": GATE}]}}}}
    kubectl("-n", namespace, "patch", "deployment", "counter", "-p", json.dumps(gated))
    kubectl("-n", namespace, "rollout", "status", "deployment/counter", "--timeout=60s")
    poll(20, lambda: len(counter.pods(namespace)) == 1, "the old pod to be gone")
    assert condition(namespace) == ("True", "FirstStart")
    counter.wait_protected(namespace)
    with Witness(namespace) as witness:
        before, killed_at = witness.last(), time.monotonic()
        faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
        witness.wait(before.run, killed_at + 0.15, 30)
    poll(20, lambda: condition(namespace) == ("True", "Restored"), "the gate to open for the restored instance", 0.1)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "-l", "app=counter", "--timeout=20s")
