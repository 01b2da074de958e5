"""A large process lies ready on both nodes, on the standby by what changed, and comes back from what lies there."""

import signal
import time
from typing import Any

import pytest
from reprise_lab import counter, faults
from reprise_lab.shell import poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e

BALLOON_MIB = 256


def staged(namespace: str, role: str) -> list[dict[str, Any]]:
    rows = counter.console(f"events?namespace={namespace}&type=checkpoint.staged&limit=200")
    return [row["data"] for row in reversed(rows) if row["data"]["role"] == role]


@pytest.mark.alone
def test_a_large_process_is_staged_by_what_changed_and_comes_back_on_either_node(namespace: str) -> None:
    counter.deploy(namespace, annotations={"reprise.dev/interval": "6s"}, env={"BALLOON_MIB": str(BALLOON_MIB)})
    counter.wait_protected(namespace, 120)
    poll(120, lambda: len(staged(namespace, "standby")) >= 5, "stagings on the standby", 0.5)
    late = staged(namespace, "standby")[2:]
    assert all(event["bytes_fetched"] < (BALLOON_MIB << 20) / 4 for event in late), [e["bytes_fetched"] for e in late]
    assert {event["node"] for event in staged(namespace, "own")} == {"n1"}
    assert {event["node"] for event in staged(namespace, "standby")} == {"n2"}
    with Witness(namespace) as witness:
        before, killed_at = witness.last(), time.monotonic()
        faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
        witness.wait(before.run, killed_at + 0.15, 20)
        counter.wait_failover(namespace, "crash")
        time.sleep(8)
        before = witness.last()
        faults.cut("n1", "all")
        cut_at = time.monotonic()
        try:
            after = witness.wait(before.run, cut_at + 0.3, 60)
            row = counter.wait_failover(namespace, "node-loss")
        finally:
            faults.heal("n1")
        assert after.address != before.address
        assert (row["state"], row["standby"]) == ("completed", "n2"), row
        assert witness.runs(killed_at) == {before.run}, "a blank instance answered"
    first = counter.wait_checkpoint(namespace, seconds=60)["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=first, seconds=60)
