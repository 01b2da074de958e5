"""What Reprise is for: a counter survives a crash, a hang and a lost node, with its count, exactly once."""

import signal
import time
from typing import Any

import pytest
from reprise_lab import counter, faults
from reprise_lab.shell import poll
from reprise_lab.witness import Answer, Witness

pytestmark = pytest.mark.e2e

INTERVAL_S = 5
TICKS_PER_S = 10
# A checkpoint is at most one interval old, plus the time that it took to become restorable, plus the noise of a busy lab.
MAX_LOST = (INTERVAL_S + 4) * TICKS_PER_S


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


def test_three_crashes_in_a_row_come_back_in_the_same_pod(armed_counter: Witness) -> None:
    """A second's work apart, then several: the kubelet's own restart restores the newest state each time."""
    namespace = armed_counter.namespace
    uid, started = counter.pod(namespace)["metadata"]["uid"], time.monotonic()
    for number, pause_s in enumerate((1.0, 8.0, 1.0), start=1):
        before, after = crash(armed_counter)
        assert after.count >= before.count - MAX_LOST
        assert after.at - before.at < 10
        row = counter.wait_failover(namespace, "crash", count=number)
        assert row["state"] == "completed", row
        time.sleep(pause_s)
    poll(10, lambda: len(restores(namespace, "n1")) >= 3, "what CRIU said of the restores")
    assert all(row["pages_restored"] > 0 and 0 < row["restore_time_us"] < 10e6 for row in restores(namespace, "n1"))
    assert counter.pod(namespace)["metadata"]["uid"] == uid
    assert armed_counter.runs(started) == {before.run}, "a blank instance answered"


def test_a_hang_comes_back_with_its_count_also_right_after_a_restore(armed_counter: Witness) -> None:
    namespace = armed_counter.namespace
    counter.wait_checkpoint(namespace, after=counter.wait_checkpoint(namespace)["checkpoint_id"])  # else it counts as poisoned
    for number in (1, 2):
        before = armed_counter.last()
        signal_counter(namespace, signal.SIGSTOP)
        stopped_at = time.monotonic()
        after = armed_counter.wait(before.run, stopped_at + 0.3, 30)
        assert after.count >= before.count - MAX_LOST
        assert armed_counter.runs(stopped_at) == {before.run}
        if number == 1:
            continue  # nobody has probed the restored container yet
        rows = [counter.wait_failover(namespace, "hang", count=count) for count in (1, 2)]
        assert {(row["state"], row["path"]) for row in rows} == {("completed", "in-place-armed")}
        assert all(1.5 < row["noticed_after_s"] < 10 for row in rows), "since the first of three probes that failed"


def test_a_lost_node_moves_it_and_the_old_one_never_runs_again(armed_counter: Witness, node_comes_back: object) -> None:
    namespace = armed_counter.namespace
    old = counter.pod(namespace)
    assert old["spec"]["nodeName"] == "n1"
    before, off_at = armed_counter.last(), time.monotonic()
    faults.power_off("n1")
    after = armed_counter.wait(before.run, off_at + 0.3, 40)
    assert after.address != before.address
    assert after.count >= before.count - MAX_LOST
    row = counter.wait_failover(namespace, "node-loss")
    assert (row["state"], row["path"], row["standby"]) == ("completed", "shadow", "n2")
    poll(10, lambda: len(counter.pods(namespace)) == 1, "one pod to be left")
    poll(20, lambda: bool(restores(namespace, "n2")), "what CRIU said of the restore on n2")

    returned_at = time.monotonic()
    faults.power_on("n1")
    time.sleep(15)
    late = [a for a in armed_counter.history if a.at > returned_at]
    assert {a.address for a in late} == {after.address}, "the old instance answered after its node came back"
    assert armed_counter.runs(off_at) == {before.run}
    counts = [a.count for a in late]
    assert counts == sorted(counts)

    first = counter.wait_checkpoint(namespace)["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=first)
    moved_before, moved_after = crash(armed_counter)
    assert moved_after.count >= moved_before.count - MAX_LOST, "what was moved must be protected where it is now"
