"""Of mode http: the engine starts it plainly, under the same rule of who may start; the start counts once its state is back."""

from dataclasses import replace
from pathlib import Path

import pytest
from playing import play, runs
from reprise.contracts.annotations import RESTORE_FROM, Policy
from reprise.contracts.events import ContainerRestored
from reprise.contracts.records import HAND_BACK, StartRecord
from reprise.contracts.state import StateApi
from reprise.health_watcher.rules.verdict import Origin, Snapshot, decide
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus

CALM = Snapshot(slots="shop/u1", lease_held=True, fence="ours", hands_out=True)
MADE = replace(CALM, origin=Origin("shop/u0", "ck7"))


def test_it_starts_plainly_and_its_slots_are_what_may_be_given_back() -> None:
    verdict = decide(replace(CALM, rejected=("ck1",))).verdict
    assert (verdict.verdict, verdict.reason, verdict.slots, verdict.rejected) == ("blank", HAND_BACK, ("shop/u1",), ("ck1",))


def test_one_that_a_failover_made_is_given_that_checkpoint_only() -> None:
    verdict = decide(MADE).verdict
    assert (verdict.verdict, verdict.checkpoint_id, verdict.slots) == ("blank", "ck7", ("shop/u1", "shop/u0"))
    assert not verdict.frozen, "a process that stands still takes no state"


def test_what_may_never_start_cold_is_told_so() -> None:
    assert decide(replace(CALM, never_cold=True)).verdict.never_cold


def test_it_waits_for_its_state_to_be_on_the_node_and_is_refused_one_of_another_workload() -> None:
    assert decide(replace(CALM, origin=Origin("shop/u0", "ck7", missing=True))).verdict.verdict == "wait"
    assert decide(replace(CALM, origin=Origin("shop/u0", "ck7", distrust="no"))).verdict.verdict == "refuse"


@pytest.mark.parametrize(
    "of",
    [replace(CALM, lease_held=False), replace(CALM, fence="theirs"), replace(CALM, fence="gone"), replace(MADE, fence="unknown"),
     replace(CALM, hold="standing"), replace(CALM, deleting=True)],
)  # fmt: skip
def test_a_program_that_hands_out_its_state_runs_once_too(of: Snapshot) -> None:
    """I1 does not depend on what a checkpoint is."""
    assert decide(of).verdict.verdict in ("wait", "refuse")


def test_what_was_announced_cold_is_given_nothing() -> None:
    assert decide(replace(CALM, cold="NoCheckpoint: none fits")).verdict.reason == "NoCheckpoint: none fits"
    assert decide(replace(CALM, rejected=("ck1",), kept=("ck1",))).verdict.reason != HAND_BACK


@pytest.fixture
def node(tmp_path: Path) -> MemoryNode:
    here = MemoryNode(tmp_path)
    here.pods.add()
    api = StateApi(path="/state", port=9)
    here.pods.pods["u1"] = replace(here.pods.pods["u1"], policy=Policy(mode="http", state=api))
    return here


async def record(node: MemoryNode, container_id: str) -> StartRecord | None:
    entry = await Bucket(MemoryBus(node.server), "starts", StartRecord).get(key(container_id))
    return entry.value if entry else None


def test_until_its_state_is_back_its_start_is_told_as_starting_only(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c2", reason=HAND_BACK, attempt=1)
        await runs(agent, 1)
        found = await record(node, "c2")
        assert found
        assert found.outcome == "starting"
        assert node.verdict() == "blank"
        start = node.files.read_start("c2")
        assert start
        agent.starts.settle(
            start.model_copy(update={"outcome": "restored", "checkpoint_id": "ck1", "reason": "", "kind": "http"})
        )
        await runs(agent, 1)
        found = await record(node, "c2")
        assert found
        assert (found.outcome, found.checkpoint_id) == ("restored", "ck1")
        (event,) = node.announced(ContainerRestored)
        assert (event.kind, event.checkpoint_id) == ("http", "ck1")

    play(scene())


def test_a_start_that_the_engine_has_deleted_is_not_written_again(node: MemoryNode) -> None:
    node.start("c2", reason=HAND_BACK)
    start = node.files.read_start("c2")
    assert start
    (node.files.root / "starts/c2.json").unlink()
    node.agent(lambda: 1000.0).starts.settle(start)
    assert node.files.read_start("c2") is None


def test_a_shadow_is_known_by_the_checkpoint_that_it_starts_from(node: MemoryNode) -> None:
    """Its workload, and so its mode, is not known before it is adopted."""
    node.slot("ck1")
    slot = node.folder / "state/slots/default/u1/counter/ck1/slot.json"
    slot.write_text('{"version": 1, "kind": "http", "namespace": "default", "pod": "counter-1", "container": "counter"}')
    made_from = {RESTORE_FROM: "u1/ck1", "reprise.dev/failover": "fo-1"}
    node.pods.add("u2", "counter-fo-1", protected=False, annotations=made_from)

    async def scene() -> None:
        await runs(node.agent(), 1)

    play(scene())
    assert node.verdict("u2") == "blank"
    file = node.files.read_pod("u2")
    assert file
    assert file.containers["counter"].reason == HAND_BACK


def test_nobody_is_sent_to_a_first_instance_that_waits_for_its_state(node: MemoryNode) -> None:
    """As the next pod of a name is one: its container was never started before."""
    agent = node.agent(lambda: 1000.0)
    container = node.start("c1", reason=HAND_BACK, attempt=0)
    agent.gates._known[("u1", "counter")] = container
    assert not agent.gates._instance(node.pods.pods["u1"], "counter").first
    start = node.files.read_start("c1")
    assert start
    agent.starts.settle(start.model_copy(update={"reason": "there is no checkpoint"}))
    assert agent.gates._instance(node.pods.pods["u1"], "counter").first
