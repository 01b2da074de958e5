"""What a failover may do: a blank instance does not serve meanwhile, and a Service is not led to one."""

import json
import signal
import time

import pytest
from reprise_lab import counter, faults
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

GATE = "reprise.dev/restored"


def condition(namespace: str) -> tuple[str, str]:
    """The gate's status and reason."""
    found = [c for c in counter.pod(namespace)["status"].get("conditions", []) if c["type"] == GATE]
    return (found[0]["status"], found[0].get("reason", "")) if found else ("", "")


def test_an_unarmed_crash_serves_no_blank_instance(namespace: str) -> None:
    """It is armed by its first failure only: the kubelet may start a blank one before its image is changed."""
    counter.deploy(namespace, annotations={"reprise.dev/arm": "on-failure"})
    counter.wait_checkpoint(namespace)
    assert not counter.armed(namespace)
    with Witness(namespace) as witness:
        name = counter.pod(namespace)["metadata"]["name"]
        before, killed_at = witness.last(), time.monotonic()
        faults.process_signal(namespace, name, "counter", signal.SIGKILL)
        after = witness.wait(before.run, killed_at + 0.15, 30)
        row = counter.wait_failover(namespace, "crash")
        assert (row["state"], row["path"]) == ("completed", "in-place-patch")
        assert witness.runs(killed_at) == {before.run}, "a blank instance answered"
        print(f"serving again after {after.at - killed_at:.2f} s")


def test_a_readiness_gate_is_open_for_a_first_start_and_for_a_restored_instance(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/arm": "never"})
    gated = {"spec": {"template": {"spec": {"readinessGates": [{"conditionType": GATE}]}}}}
    kubectl("-n", namespace, "patch", "deployment", "counter", "-p", json.dumps(gated))
    kubectl("-n", namespace, "rollout", "status", "deployment/counter", "--timeout=60s")
    poll(20, lambda: len(counter.pods(namespace)) == 1, "the old pod to be gone")
    assert condition(namespace) == ("True", "FirstStart")
    newest = counter.wait_checkpoint(namespace)["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=newest)  # the newest is of the new pod
    with Witness(namespace) as witness:
        before, killed_at = witness.last(), time.monotonic()
        faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
        witness.wait(before.run, killed_at + 0.15, 30)
    poll(20, lambda: condition(namespace) == ("True", "Restored"), "the gate to open for the restored instance", 0.1)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "pod", "-l", "app=counter", "--timeout=20s")
