"""A planned move loses nothing: the process stands still from its last checkpoint on, and goes on elsewhere."""

import itertools
import json
import secrets
import time

import pytest
from reprise_lab import counter
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Answer, Witness

pytestmark = pytest.mark.e2e


def ask_for_a_move(namespace: str, to: str = "any") -> str:
    request = secrets.token_hex(4)
    wanted = (f"reprise.dev/move-id={request}", f"reprise.dev/move-to={to}")
    kubectl("-n", namespace, "annotate", "deployment", "counter", *wanted, "--overwrite")
    return request


def history_since(witness: Witness, since: float) -> list[Answer]:
    return sorted((a for a in witness.history if a.at > since), key=lambda a: a.at)


def lost_increments(witness: Witness, since: float) -> int:
    """The most that the count ever went back by."""
    pairs = itertools.pairwise(history_since(witness, since))
    return max((earlier.count - later.count for earlier, later in pairs), default=0)


def longest_silence_s(witness: Witness, since: float) -> float:
    return max(later.at - earlier.at for earlier, later in itertools.pairwise(history_since(witness, since)))


def wait_moved(namespace: str, seconds: float = 60) -> dict[str, object]:
    return counter.wait_failover(namespace, "move", seconds)


def overlap(witness: Witness, since: float) -> bool:
    """Whether an address answered again after another one had."""
    order = [address for address, _ in itertools.groupby(a.address for a in history_since(witness, since))]
    return len(order) != len(set(order))


def test_a_move_loses_no_increment_and_nobody_answers_beside_it(armed_counter: Witness) -> None:
    namespace = armed_counter.namespace
    before, asked_at = armed_counter.last(), time.monotonic()
    ask_for_a_move(namespace)
    row = wait_moved(namespace)
    assert (row["state"], row["path"], row["standby"]) == ("completed", "shadow", "n2"), row
    after = armed_counter.wait(before.run, time.monotonic(), 10)
    assert after.address != before.address
    print(f"lost {lost_increments(armed_counter, asked_at)}, unavailable {longest_silence_s(armed_counter, asked_at):.2f} s")
    assert lost_increments(armed_counter, asked_at) <= 0
    assert not overlap(armed_counter, asked_at)
    assert armed_counter.runs(asked_at) == {before.run}
    assert longest_silence_s(armed_counter, asked_at) < 4
    poll(10, lambda: counter_pods(namespace) == 1, "the old pod to be gone")
    back_at = time.monotonic()
    ask_for_a_move(namespace, to="n1")
    poll(60, lambda: counter.pod(namespace)["spec"]["nodeName"] == "n1", "it to be back on n1")
    time.sleep(2)
    assert lost_increments(armed_counter, back_at) <= 0
    assert armed_counter.runs(asked_at) == {before.run}


def counter_pods(namespace: str) -> int:
    return len(json.loads(kubectl("-n", namespace, "get", "pods", "-l", "app=counter", "-o", "json"))["items"])
