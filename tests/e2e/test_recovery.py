"""What Reprise is for: a counter survives a crash, a hang and a lost node, with its count, exactly once."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest
from reprise_lab import counter, faults, listing
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import Answer, Witness

pytestmark = pytest.mark.e2e

TICKS_PER_S = 10
# A checkpoint is at most one interval old, plus the time that it took to become restorable, plus the noise of a busy lab.
MAX_LOST = (counter.INTERVAL_S + 4) * TICKS_PER_S


def signal_counter(namespace: str, number: int) -> None:
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", number)


def crash(witness: Witness) -> tuple[Answer, Answer]:
    """Kill it; the last answer before and the first after."""
    before, killed_at = witness.last(), time.monotonic()
    signal_counter(witness.namespace, signal.SIGKILL)
    # An answer that was on its way may still come: the dead do not answer 0.15 s later.
    return before, witness.wait(before.run, killed_at + 0.15, 20)


def restores(namespace: str, node: str) -> list[dict[str, Any]]:
    return counter.console(f"restores?namespace={namespace}&workload=counter&node={node}")


def test_two_crashes_at_once_come_back_without_a_back_off(protected_counter: Witness) -> None:
    """The second one comes as soon as the first is over: the kubelet alone would wait 10 s by then."""
    namespace, started = protected_counter.namespace, time.monotonic()
    for _ in (1, 2):
        before, after = crash(protected_counter)
        assert after.at - before.at < 8
    counter.wait_failover(namespace, "crash", count=2)
    assert protected_counter.runs(started) == {before.run}, "a blank instance answered"


def test_three_crashes_in_a_row_come_back_in_the_same_pod(protected_counter: Witness) -> None:
    """A second's work apart, then several: the kubelet's own restart restores the newest state each time."""
    namespace = protected_counter.namespace
    uid, started = counter.pod(namespace)["metadata"]["uid"], time.monotonic()
    for number, pause_s in enumerate((1.0, 8.0, 1.0), start=1):
        before, after = crash(protected_counter)
        assert after.count >= before.count - MAX_LOST
        assert after.at - before.at < 10
        row = counter.wait_failover(namespace, "crash", count=number)
        assert row["state"] == "completed", row
        time.sleep(pause_s)
    poll(10, lambda: len(restores(namespace, "n1")) >= 3, "what CRIU said of the restores")
    assert all(row["pages_restored"] > 0 and 0 < row["restore_time_us"] < 10e6 for row in restores(namespace, "n1"))
    assert counter.pod(namespace)["metadata"]["uid"] == uid
    assert protected_counter.runs(started) == {before.run}, "a blank instance answered"


def test_protection_leaves_the_pod_as_its_user_made_it(namespace: str) -> None:
    """Same image, no restart, nothing in its spec: neither when it is protected, nor after a crash."""
    counter.deploy(namespace, annotations=counter.PLAIN)
    before = counter.pod(namespace)
    kubectl("-n", namespace, "annotate", "deployment", "counter", "reprise.dev/mode=criu", "--overwrite")
    counter.wait_protected(namespace)
    protected = counter.pod(namespace)
    assert protected["spec"] == before["spec"]
    assert container(protected)["containerID"] == container(before)["containerID"]
    with Witness(namespace) as witness:
        crash(witness)
        assert counter.wait_failover(namespace, "crash")["path"] == "in-place"
    poll(20, lambda: container(counter.pod(namespace))["restartCount"] == 1, "the restart to be told", 0.2)
    assert counter.pod(namespace)["spec"] == before["spec"]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(pod["status"]["containerStatuses"][0])


UNPRIVILEGED = {
    "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": True, "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip


def test_a_process_without_any_privilege_comes_back_with_its_memory(namespace: str) -> None:
    counter.deploy(namespace, container={"securityContext": UNPRIVILEGED})
    counter.wait_protected(namespace)
    with Witness(namespace) as witness:
        before, killed_at = witness.last(), time.monotonic()
        crash(witness)
        assert counter.wait_failover(namespace, "crash")["state"] == "completed"
        assert witness.runs(killed_at) == {before.run}
        pid = faults.living_pids(counter.pod(namespace)["metadata"]["uid"])[0]
        assert Path(f"/proc/{pid}").stat().st_uid == 1000


@pytest.mark.parametrize("kind", ["StatefulSet", "Pod"])
def test_a_pod_of_any_owner_comes_back_where_it_is(namespace: str, kind: counter.Kind) -> None:
    counter.deploy(namespace, kind=kind)
    counter.wait_protected(namespace)
    with Witness(namespace) as witness:
        uid, before, killed_at = counter.pod(namespace)["metadata"]["uid"], witness.last(), time.monotonic()
        crash(witness)
        assert counter.wait_failover(namespace, "crash")["path"] == "in-place"
        assert witness.runs(killed_at) == {before.run}
        assert counter.pod(namespace)["metadata"]["uid"] == uid


def test_how_it_ended_is_told_before_anything_is_removed(protected_counter: Witness) -> None:
    """Exit code and the end of the log: in the console, on the command line, as a Kubernetes Event, and by kubectl itself."""
    namespace, pod = protected_counter.namespace, counter.pod(protected_counter.namespace)["metadata"]["name"]
    ended = container(counter.pod(namespace))["containerID"].rpartition("/")[2]
    crash(protected_counter)
    counter.wait_failover(namespace, "crash")
    poll(10, lambda: bool(counter.console(f"exits?namespace={namespace}")), "its end to be told")
    (row,) = counter.console(f"exits?namespace={namespace}")
    assert (row["container_id"], row["exit_code"], row["reason"], row["final"]) == (ended, 137, "Error", False)
    assert f"run={protected_counter.last().run}" in row["log_tail"]
    told = reprise("history", f"{namespace}/counter").stdout
    assert "exit code 137 (SIGKILL)" in told
    listed = [event["message"] for event in listing.events(namespace)]
    assert any("137" in message for message in listed), listed
    assert "started run=" in kubectl("-n", namespace, "logs", pod, "--previous"), "the first end removes nothing"


def test_an_end_that_is_final_is_no_crash(namespace: str) -> None:
    """As of a Job: OnFailure, and it ended with 0. It is not restored to end once more."""
    counter.deploy(namespace, kind="Pod", pod={"restartPolicy": "OnFailure"})
    counter.wait_protected(namespace)
    with Witness(namespace):
        signal_counter(namespace, signal.SIGTERM)  # it ends with 0
        poll(20, lambda: counter.pod(namespace)["status"]["phase"] == "Succeeded", "the pod to have succeeded", 0.2)
        time.sleep(5)
    assert counter.pod(namespace)["status"]["phase"] == "Succeeded"
    assert counter.console(f"failovers?namespace={namespace}") == []
    (row,) = counter.console(f"exits?namespace={namespace}")
    assert (row["exit_code"], row["reason"], row["final"]) == (0, "Completed", True)


def test_a_hang_comes_back_with_its_count_and_right_after_a_restore_on_another_node(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    counter.wait_checkpoint(
        namespace, after=counter.wait_checkpoint(namespace)["checkpoint_id"]
    )  # else it counts as an early exit
    for number in (1, 2):
        before = protected_counter.last()
        signal_counter(namespace, signal.SIGSTOP)
        stopped_at = time.monotonic()
        after = protected_counter.wait(before.run, stopped_at + 0.3, 30)
        assert after.count >= before.count - MAX_LOST
        assert protected_counter.runs(stopped_at) == {before.run}
        if number == 1:
            continue  # nobody has probed the restored container yet
        # What hangs again soon after its restore goes to another node (reprise.dev/on-failure).
        again = counter.wait_failover(namespace, "hang", count=2)
        assert (again["state"], again["path"], again["standby"]) == ("completed", "shadow", "n2")
        [first] = [row for row in counter.console(f"failovers?namespace={namespace}") if row["path"] == "in-place"]
        assert 1.5 < first["noticed_after_s"] < 10, "since the first of three probes that failed"


@pytest.mark.alone
def test_a_lost_node_moves_it_and_the_old_one_never_runs_again(protected_counter: Witness, node_comes_back: object) -> None:
    namespace = protected_counter.namespace
    old = counter.pod(namespace)
    assert old["spec"]["nodeName"] == "n1"
    before, off_at = protected_counter.last(), time.monotonic()
    faults.power_off("n1")
    after = protected_counter.wait(before.run, off_at + 0.3, 40)
    assert after.address != before.address
    assert after.count >= before.count - MAX_LOST
    row = counter.wait_failover(namespace, "node-loss")
    assert (row["state"], row["path"], row["standby"]) == ("completed", "shadow", "n2")
    poll(10, lambda: len(counter.pods(namespace)) == 1, "one pod to be left")
    poll(20, lambda: bool(restores(namespace, "n2")), "what CRIU said of the restore on n2")

    returned_at = time.monotonic()
    faults.power_on("n1")
    time.sleep(15)
    late = [a for a in protected_counter.history if a.at > returned_at]
    assert {a.address for a in late} == {after.address}, "the old instance answered after its node came back"
    assert protected_counter.runs(off_at) == {before.run}
    counts = [a.count for a in late]
    assert counts == sorted(counts)

    first = counter.wait_checkpoint(namespace)["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=first)
    moved_before, moved_after = crash(protected_counter)
    assert moved_after.count >= moved_before.count - MAX_LOST, "what was moved must be protected where it is now"
