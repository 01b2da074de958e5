"""A planned move loses nothing: the process stands still from its last checkpoint on, and goes on elsewhere."""

import json
import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from reprise.contracts.annotations import RESTORE_FROM
from reprise_lab import counter
from reprise_lab.paths import NODES
from reprise_lab.shell import kubectl, poll, reprise
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e


def ask_for_a_move(namespace: str, to: str = "any") -> str:
    request = secrets.token_hex(4)
    wanted = (f"reprise.dev/move-id={request}", f"reprise.dev/move-to={to}")
    kubectl("-n", namespace, "annotate", "deployment", "counter", *wanted, "--overwrite")
    return request


def wait_moved(namespace: str, seconds: float = 60) -> dict[str, object]:
    return counter.wait_failover(namespace, "move", seconds)


def test_a_move_loses_no_increment_and_nobody_answers_beside_it(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    image = counter.pod(namespace)["spec"]["containers"][0]["image"]
    before, asked_at = protected_counter.last(), time.monotonic()
    ask_for_a_move(namespace)
    row = wait_moved(namespace)
    assert (row["state"], row["path"], row["standby"]) == ("completed", "shadow", "n2"), row
    after = protected_counter.wait(before.run, time.monotonic(), 10)
    assert after.address != before.address
    print(
        f"lost {protected_counter.lost_increments(asked_at)}, unavailable {protected_counter.longest_silence_s(asked_at):.2f} s"
    )
    assert protected_counter.lost_increments(asked_at) <= 0
    assert not protected_counter.overlaps(asked_at)
    assert protected_counter.runs(asked_at) == {before.run}
    assert protected_counter.longest_silence_s(asked_at) < 15, "how long is the bench's business; not for ever is this test's"
    poll(10, lambda: counter_pods(namespace) == 1, "the old pod to be gone")
    moved = counter.pod(namespace)
    assert moved["spec"]["containers"][0]["image"] == image, "a restored pod runs the user's own image"
    assert moved["metadata"]["annotations"][RESTORE_FROM].endswith(f"/{row['checkpoint_id']}")
    back_at = time.monotonic()
    ask_for_a_move(namespace, to="n1")
    poll(60, lambda: nodes_of(namespace) == ["n1"], "it to be back on n1")
    protected_counter.wait(before.run, time.monotonic(), 10)
    assert protected_counter.lost_increments(back_at) <= 0
    assert protected_counter.runs(asked_at) == {before.run}


def test_what_is_moved_runs_no_instruction_before_the_move_is_final(protected_counter: Witness) -> None:
    """It is restored frozen; up to its release the move could still be undone, and its work would be lost."""
    namespace, before = protected_counter.namespace, protected_counter.last()
    ask_for_a_move(namespace)
    assert wait_moved(namespace)["state"] == "completed"
    after = protected_counter.wait(before.run, time.monotonic(), 10)
    ahead = time.time() - time.monotonic()
    first = next(answer for answer in protected_counter.history if answer.address == after.address)
    (released,) = {row["at"] for row in told_of(namespace, "failover.released")[-1:]}
    (restored,) = [row for row in told_of(namespace, "container.restored") if row["node"] == "n2"]
    assert restored["data"]["frozen"]
    assert first.at + ahead > datetime.fromisoformat(released).timestamp()


def counter_pods(namespace: str) -> int:
    """Those that are being deleted too."""
    return len(json.loads(kubectl("-n", namespace, "get", "pods", "-l", "app=counter", "-o", "json"))["items"])


def nodes_of(namespace: str) -> list[str]:
    return [pod["spec"].get("nodeName", "") for pod in counter.pods(namespace)]


@pytest.fixture
def uncordoned() -> Iterator[None]:
    yield
    for node in NODES:
        kubectl("uncordon", node)


def test_the_cli_moves_and_says_what_became_of_it(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    done = reprise("move", f"{namespace}/counter", "--to", "n2")
    assert (done.returncode, "moved from n1 to n2" in done.stderr) == (0, True), done.stderr
    again = reprise("move", f"{namespace}/counter", "--to", "n2")
    assert (again.returncode, "AlreadyThere" in again.stderr) == (1, True), again.stderr


@pytest.mark.alone
def test_a_cordoned_node_is_left_by_itself_and_kubectl_drain_waits_for_it(protected_counter: Witness, uncordoned: None) -> None:
    """The eviction is held, not refused for ever: the drain ends once what it waits for has gone on elsewhere."""
    namespace, before, asked_at = protected_counter.namespace, protected_counter.last(), time.monotonic()
    poll(20, lambda: guard(namespace) == "0", "its guard")
    kubectl("drain", "n1", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=counter", "--timeout=90s")
    assert wait_moved(namespace)["state"] == "completed"
    protected_counter.wait(before.run, time.monotonic(), 10)
    assert nodes_of(namespace) == ["n2"]
    assert protected_counter.lost_increments(asked_at) <= 0
    assert protected_counter.runs(asked_at) == {before.run}


@pytest.mark.alone
def test_reprise_drain_waits_until_what_is_protected_has_left(protected_counter: Witness, uncordoned: None) -> None:
    namespace, before = protected_counter.namespace, protected_counter.last()
    done = reprise("drain", "n1", "--timeout", "90")
    assert (done.returncode, "protected pods moved off n1" in done.stderr) == (0, True), done.stderr
    assert nodes_of(namespace) == ["n2"]
    assert protected_counter.wait(before.run, time.monotonic(), 10).count > before.count


def guard(namespace: str) -> str:
    jsonpath = "jsonpath={.items[*].spec.maxUnavailable}"
    return kubectl("-n", namespace, "get", "poddisruptionbudgets", "-l", "reprise.dev/guard", "-o", jsonpath)


@pytest.mark.alone
def test_with_no_node_to_go_to_it_runs_on_and_is_let_go_of_with_a_reason(protected_counter: Witness, uncordoned: None) -> None:
    namespace, before, asked_at = protected_counter.namespace, protected_counter.last(), time.monotonic()
    kubectl("cordon", "n2")
    kubectl("cordon", "n1")
    row = wait_moved(namespace)
    assert (row["state"], row["reason"]) == ("stepped-aside", "NoStandby"), row
    poll(60, lambda: guard(namespace) == "100%", "its guard to let go")
    assert "cannot be moved" in told(namespace, "GuardReleased")
    assert protected_counter.longest_silence_s(asked_at) < 5
    assert protected_counter.runs(asked_at) == {before.run}
    kubectl("uncordon", "n1", "n2")
    poll(20, lambda: guard(namespace) == "0", "its guard to hold again")


def told(namespace: str, reason: str) -> str:
    """What Kubernetes Events of that reason say."""
    return kubectl("-n", namespace, "get", "events", "--field-selector", f"reason={reason}", "-o", "jsonpath={.items[*].message}")


def test_a_move_that_does_not_come_to_life_lets_the_original_run_on(protected_counter: Witness) -> None:
    """The shadow is removed as soon as it appears: nothing is lost, and the original counts on."""
    namespace, before, asked_at = protected_counter.namespace, protected_counter.last(), time.monotonic()
    request = ask_for_a_move(namespace)
    deleted = set[str]()

    def is_over() -> bool:
        """An attempt whose checkpoint was overtaken is followed by another, with another pod."""
        if (found := shadow(namespace)) and found not in deleted:
            kubectl("-n", namespace, "delete", "pod", found, "--grace-period=0", "--force", "--ignore-not-found")
            deleted.add(found)
        return any(row["state"] in counter.ENDED for row in counter.console(f"failovers?namespace={namespace}&cause=move"))

    poll(150, is_over, "the move to end", 0.05)
    row = wait_moved(namespace, 10)
    assert deleted
    assert row["state"] == "stepped-aside", (request, row)
    protected_counter.wait(before.run, time.monotonic(), 10)
    assert nodes_of(namespace) == ["n1"]
    assert protected_counter.lost_increments(asked_at) <= 0
    assert protected_counter.runs(asked_at) == {before.run}


def shadow(namespace: str) -> str:
    """The pod that a failover made."""
    made = [p["metadata"] for p in counter.pods(namespace) if RESTORE_FROM in p["metadata"].get("annotations", {})]
    return made[0]["name"] if made else ""


def test_a_scale_down_in_the_middle_of_a_move_wins(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    ask_for_a_move(namespace)
    poll(30, lambda: bool(told_of(namespace, "failover.holding")), "the move to begin", 0.02)
    kubectl("-n", namespace, "scale", "deployment", "counter", "--replicas=0")
    poll(90, lambda: counter_pods(namespace) == 0, "every pod to be gone")
    ended_at = time.monotonic()
    time.sleep(2)
    assert not protected_counter.answers(ended_at)


def test_a_process_that_takes_its_time_to_end_does_not_run_again_once_it_is_moved(namespace: str) -> None:
    """Whoever ends the old pod sends it SIGTERM first, and a runtime may resume it for that."""
    counter.deploy(namespace, env=counter.LINGERS)
    counter.wait_protected(namespace)
    counter.wait_checkpoint(namespace)
    with Witness(namespace) as witness:
        before, asked_at = witness.last(), time.monotonic()
        ask_for_a_move(namespace)
        assert wait_moved(namespace)["state"] == "completed"
        poll(20, lambda: counter_pods(namespace) == 1, "the old pod to be gone")
        time.sleep(1)
        assert not witness.overlaps(asked_at), "the old one answers beside the new one"
        assert witness.lost_increments(asked_at) <= 0
        assert witness.runs(asked_at) == {before.run}


def told_of(namespace: str, kind: str) -> list[dict[str, Any]]:
    return counter.console(f"events?namespace={namespace}&type={kind}")
