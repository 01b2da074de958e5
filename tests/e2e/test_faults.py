"""Reprise's own parts fail: nothing is lost, nothing is doubled, and the workload is not harmed."""

import asyncio
import json
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from reprise.contracts import envelope, subjects
from reprise.contracts.annotations import AHEAD
from reprise.contracts.events import Event, NodeSuspected, node_subject
from reprise_lab import counter, faults, nats
from reprise_lab.shell import LabError, kubectl, poll, reprise
from reprise_lab.witness import Answer, Witness

pytestmark = pytest.mark.e2e


def kill_counter(namespace: str) -> float:
    faults.process_signal(namespace, counter.pod(namespace)["metadata"]["name"], "counter", signal.SIGKILL)
    return time.monotonic()


@pytest.mark.alone
def test_a_killed_restorer_finishes_the_failover_when_it_is_back(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    before = protected_counter.last()
    killed_at = kill_counter(namespace)
    faults.kill_service("restorer")
    protected_counter.wait(before.run, killed_at + 0.15, 20)
    row = counter.wait_failover(namespace, "crash", seconds=60)
    assert row["state"] == "completed"
    assert protected_counter.runs(killed_at) == {before.run}


@pytest.mark.alone
def test_a_crash_comes_back_while_nats_and_the_store_are_away(protected_counter: Witness) -> None:
    """I6: nothing but the node itself is needed."""
    namespace = protected_counter.namespace
    for server in ("nats", "minio"):
        kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=0")
    try:
        time.sleep(6)  # longer than a node's lease: it must not freeze for the store's absence
        before = protected_counter.last()
        assert time.monotonic() - before.at < 1, "the workload was harmed by an outage of NATS"
        killed_at = kill_counter(namespace)
        after = protected_counter.wait(before.run, killed_at + 0.15, 20)
        assert after.at - killed_at < 10
    finally:
        for server in ("nats", "minio"):
            kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=1")
            kubectl("-n", "reprise-system", "rollout", "status", f"deployment/{server}", "--timeout=60s")
    counter.wait_failover(namespace, "crash", seconds=60)
    last = counter.console(f"checkpoints?namespace={namespace}&limit=1")[0]["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=last, seconds=60)


@pytest.mark.alone
def test_a_crash_comes_back_while_every_service_of_ours_on_its_node_is_dead(
    protected_counter: Witness,
) -> None:
    uid = counter.pod(protected_counter.namespace)["metadata"]["uid"]
    with faults.agents_away("n1"):
        before, killed_at = protected_counter.last(), time.monotonic()
        faults.pod_signal(uid, signal.SIGKILL)
        after = protected_counter.wait(before.run, killed_at + 0.15, 20)
        assert after.at - killed_at < 10
    assert protected_counter.runs(killed_at) == {before.run}


@dataclass
class CutOff:
    """A counter whose node was cut off and healed, under the eyes of its witness. Times are monotonic seconds."""

    witness: Witness
    pod: str
    """The one that was on the node."""
    before: Answer
    cut_at: float = 0.0
    healed_at: float = 0.0


@pytest.fixture(scope="module")
def cut_off() -> Iterator[dict[str, CutOff]]:
    """Of n1, cut off once with both: a counter in its `first` pod, and one that was `moved` away and back."""
    names = {kind: f"cut-off-{kind}-{secrets.token_hex(3)}" for kind in ("first", "moved")}
    with ExitStack() as stack:
        for namespace in names.values():
            stack.callback(counter.remove, namespace, wait=False)
            counter.protect(namespace)
        moved = names["moved"]
        for to in ("n2", "n1"):
            done = reprise("move", f"{moved}/counter", "--to", to)
            assert done.returncode == 0, done.stderr
        counter.ask_checkpoint(moved)
        counter.wait_checkpoint(moved, after=counter.wait_checkpoint(moved)["checkpoint_id"])
        found = {}
        for kind, namespace in names.items():
            witness = stack.enter_context(Witness(namespace))
            found[kind] = CutOff(witness, counter.pod(namespace)["metadata"]["name"], witness.last())
        faults.cut("n1", "all")
        try:
            for each in found.values():
                each.cut_at = time.monotonic()
            for each in found.values():
                with suppress(LabError):  # its own test is told
                    counter.wait_failover(each.witness.namespace, "node-loss")
        finally:
            faults.heal("n1")
        for each in found.values():
            each.healed_at = time.monotonic()
        yield found


@pytest.mark.alone
def test_a_node_cut_off_freezes_and_is_never_a_second_instance(cut_off: dict[str, CutOff]) -> None:
    """The witness reaches the cut node's pods no more; so the app's own count is what tells, once it is healed."""
    went_on_elsewhere_only(cut_off["first"])


@pytest.mark.alone
def test_a_node_that_was_cut_off_does_not_start_again_what_its_kubelet_was_ending(cut_off: dict[str, CutOff]) -> None:
    """Its livenessProbe fails while it stands still; a kubelet that was ending it for that starts it again once it has ended,
    deleted or not. In a pod that a move made its first container is at work: the name of the next is free, so nothing else is
    in the way.
    """
    went_on_elsewhere_only(cut_off["moved"])


def went_on_elsewhere_only(cut: CutOff) -> None:
    namespace = cut.witness.namespace
    after = cut.witness.wait(cut.before.run, cut.cut_at + 0.3, 1)
    assert after.at - cut.cut_at < 40
    assert after.address != cut.before.address
    counter.wait_failover(namespace, "node-loss")
    poll(60, lambda: not kubectl("-n", namespace, "get", "pod", cut.pod, "-o", "name", check=False), "the old pod to go", 0.5)
    late = {a.address for a in cut.witness.history if a.at > cut.healed_at}
    assert cut.before.address not in late, "the old instance answered after the cut was healed"


def test_a_node_that_is_only_suspected_and_renews_leaves_nothing(protected_counter: Witness) -> None:
    """The pod that its loss would need is made meanwhile; it starts nothing, and goes again."""
    namespace, began = protected_counter.namespace, time.monotonic()
    original = counter.pod(namespace)["metadata"]
    poll(60, lambda: counter.console(f"events?namespace={namespace}&type=checkpoint.staged&limit=1"), "a standby to hold it")
    seen: list[dict[str, Any]] = []

    def is_seen() -> bool:
        """Each time anew: nothing is made while the newest checkpoint is still on its way to the standby."""
        if not seen:
            asyncio.run(publish(NodeSuspected(node="n1", workload=node_subject("n1"), detail="a test says so")))
            time.sleep(0.5)
        seen.extend(pod for pod in made(namespace) if AHEAD in pod["metadata"].get("annotations", {}))
        return bool(seen)

    poll(20, is_seen, "a pod to be made", 0.05)
    assert seen[0]["spec"]["nodeName"] != "n1"
    poll(30, lambda: [p["metadata"]["uid"] for p in made(namespace)] == [original["uid"]], "it to go again", 0.2)
    assert protected_counter.runs(began) == {protected_counter.last().run}
    assert not protected_counter.overlaps(began)
    assert not counter.console(f"failovers?namespace={namespace}&limit=1")


def made(namespace: str) -> list[dict[str, Any]]:
    """Those that are being deleted too."""
    return json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]


async def publish(event: Event) -> None:
    client = await nats.connect()
    await client.jetstream().publish(subjects.of(event), envelope.encode(event, source="test")[1])
    await client.close()


def test_a_pod_deleted_by_its_user_is_not_brought_back(protected_counter: Witness) -> None:
    """A deletion wins: the owner starts a new pod, blank, and no failover claims it."""
    namespace = protected_counter.namespace
    old, run = counter.pod(namespace)["metadata"]["name"], protected_counter.last().run
    kubectl("-n", namespace, "delete", "pod", old, "--wait=true", "--timeout=60s")
    poll(30, lambda: len(counter.pods(namespace)) == 1 and bool(protected_counter.runs() - {run}), "a new pod", 0.2)
    rows = counter.console(f"failovers?namespace={namespace}")
    assert all(r["state"] == "stepped-aside" for r in rows), rows
