"""A StatefulSet's pod and a bare one leave their node with their memory: deleted for good, and the next of the name goes on."""

import secrets
import time
from typing import Any

import pytest
from reprise.contracts.annotations import RESTORE_FROM
from reprise_lab import counter, faults
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e
MAX_LOST = (counter.INTERVAL_S + 5) * 10
"""Increments since its last checkpoint: at 10 each second, an interval, and what taking and storing one takes."""
NAMES: dict[counter.Kind, str] = {"StatefulSet": "counter-0", "Pod": "counter"}
KINDS = pytest.mark.parametrize("kind", NAMES)


def protect(namespace: str, kind: counter.Kind) -> dict[str, Any]:
    """Its pod, on n1, with a good checkpoint."""
    counter.deploy(namespace, kind=kind, env=counter.LINGERS)
    counter.wait_protected(namespace)
    counter.wait_checkpoint(namespace)
    pod = counter.pod(namespace)
    assert (pod["metadata"]["name"], pod["spec"]["nodeName"]) == (NAMES[kind], "n1")
    return pod


def went_on(namespace: str, old: dict[str, Any], node: str = "n2") -> None:
    """Another pod has the name, on that node, with the user's own image and the same owner."""
    new = counter.pod(namespace)
    assert new["metadata"]["name"] == old["metadata"]["name"]
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"]["nodeName"] == node
    assert new["metadata"]["annotations"][RESTORE_FROM].startswith(f"{old['metadata']['uid']}/")
    assert [c["image"] for c in new["spec"]["containers"]] == [c["image"] for c in old["spec"]["containers"]]
    owners = [{owner["uid"] for owner in pod["metadata"].get("ownerReferences", [])} for pod in (old, new)]
    assert owners[0] == owners[1]


@pytest.mark.alone
@KINDS
def test_a_lost_node_gives_it_up_and_the_next_pod_of_its_name_goes_on(
    namespace: str, kind: counter.Kind, node_comes_back: object
) -> None:
    old = protect(namespace, kind)
    with Witness(namespace) as witness:
        before, off_at = witness.last(), time.monotonic()
        faults.power_off("n1")
        after = witness.wait(before.run, off_at + 0.3, 60)
        print(f"back after {after.at - off_at:.1f} s, lost {before.count - after.count}")
        assert after.address != before.address
        assert after.count >= before.count - MAX_LOST
        row = counter.wait_failover(namespace, "node-loss")
        assert (row["state"], row["path"], row["standby"]) == ("completed", "recreate", "n2"), row
        went_on(namespace, old)

        returned_at = time.monotonic()
        faults.power_on("n1")
        time.sleep(15)
        late = [answer for answer in witness.history if answer.at > returned_at]
        assert {answer.address for answer in late} == {after.address}, "the old instance answered after its node came back"
        assert witness.runs(off_at) == {before.run}, "a blank instance answered"
        assert not witness.overlaps(off_at)
        counter.wait_checkpoint(namespace, after=counter.wait_checkpoint(namespace)["checkpoint_id"])


@pytest.mark.alone
def test_a_node_that_is_cut_off_never_runs_the_old_pod_beside_the_next_one(namespace: str) -> None:
    """The API server has forgotten the old pod; its node has not, and may not thaw it."""
    old = protect(namespace, "StatefulSet")
    with Witness(namespace) as witness:
        before = witness.last()
        faults.cut("n1", "all")
        cut_at = time.monotonic()
        try:
            after = witness.wait(before.run, cut_at + 0.3, 60)
            assert after.address != before.address
            counter.wait_failover(namespace, "node-loss")
            went_on(namespace, old)
        finally:
            faults.heal("n1")
        healed_at = time.monotonic()
        poll(60, lambda: not faults.living_pids(old["metadata"]["uid"]), "the old process to be ended", 0.5)
        time.sleep(3)
        late = {answer.address for answer in witness.history if answer.at > healed_at}
        assert late == {after.address}, "the old instance answered after the cut was healed"
        assert witness.runs(cut_at) == {before.run}
    kubectl("wait", "node", "n1", "--for=condition=Ready", "--timeout=90s")


@KINDS
def test_a_move_loses_no_increment_and_nobody_answers_beside_it(namespace: str, kind: counter.Kind) -> None:
    old = protect(namespace, kind)
    with Witness(namespace) as witness:
        before, asked_at = witness.last(), time.monotonic()
        wanted = (f"reprise.dev/move-id={secrets.token_hex(4)}", "reprise.dev/move-to=n2")
        kubectl("-n", namespace, "annotate", kind.lower(), "counter", *wanted, "--overwrite")
        row = counter.wait_failover(namespace, "move")
        assert (row["state"], row["path"], row["standby"]) == ("completed", "recreate", "n2"), row
        after = witness.wait(before.run, time.monotonic(), 10)
        print(f"lost {witness.lost_increments(asked_at)}, unavailable {witness.longest_silence_s(asked_at):.2f} s")
        assert after.address != before.address
        assert witness.lost_increments(asked_at) <= 0
        assert not witness.overlaps(asked_at)
        assert witness.runs(asked_at) == {before.run}
        went_on(namespace, old)
        poll(20, lambda: not faults.living_pids(old["metadata"]["uid"]), "the old process to be ended", 0.5)


@pytest.mark.alone
def test_a_cordoned_node_is_left_by_a_statefulsets_pod_too(namespace: str) -> None:
    old = protect(namespace, "StatefulSet")
    with Witness(namespace) as witness:
        before, asked_at = witness.last(), time.monotonic()
        try:
            kubectl("cordon", "n1")
            assert counter.wait_failover(namespace, "move")["state"] == "completed"
            witness.wait(before.run, time.monotonic(), 10)
            went_on(namespace, old)
            assert witness.lost_increments(asked_at) <= 0
            assert witness.runs(asked_at) == {before.run}
        finally:
            for node in NODES:
                kubectl("uncordon", node)


def test_a_crash_of_what_was_moved_comes_back_where_it_is(namespace: str) -> None:
    protect(namespace, "StatefulSet")
    with Witness(namespace) as witness:
        before = witness.last()
        wanted = (f"reprise.dev/move-id={secrets.token_hex(4)}", "reprise.dev/move-to=n2")
        kubectl("-n", namespace, "annotate", "statefulset", "counter", *wanted, "--overwrite")
        assert counter.wait_failover(namespace, "move")["state"] == "completed"
        counter.wait_checkpoint(namespace, after=counter.wait_checkpoint(namespace)["checkpoint_id"])
        killed_at = time.monotonic()
        faults.pod_signal(counter.pod(namespace)["metadata"]["uid"], 9)
        witness.wait(before.run, killed_at + 0.15, 20)
        assert counter.wait_failover(namespace, "crash")["state"] == "completed"
        assert witness.runs(killed_at) == {before.run}
    told = reprise("history", f"{namespace}/statefulset/counter").stdout
    assert "n2" in told
