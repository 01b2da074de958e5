"""The planner: which path, which checkpoint, which node, or none and why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload, checkpoint_id
from reprise.contracts.records import HoldRecord
from reprise.restorer.decide import (
    MOVE_ATTEMPTS,
    Choice,
    after,
    choose_node,
    later,
    limitation,
    missing_features,
    not_held,
    plan,
    prestage,
)
from reprise.restorer.model import Go, Need, NodeView, PodView, Saga, Snapshot, Stop

AT = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc", "u1")
LIVE = live_reference("default", "u1", "counter")
N1 = NodeView("n1", ready=True, schedulable=True, architecture="amd64", protected_pods=1)
N2 = replace(N1, name="n2", protected_pods=0)
CRASH = Snapshot("crash", Workload(namespace="default", name="counter"), TARGET, POD, ("ck2", "ck1"), (N1, N2))


def test_an_unarmed_crash_is_restored_in_place_from_the_newest_checkpoint() -> None:
    decision = plan(CRASH)
    assert isinstance(decision, Go)
    assert (decision.path, decision.checkpoint_id, decision.standby) == ("in-place-patch", "ck2", "n1")


def test_an_armed_crash_is_the_kubelets_own_restart() -> None:
    decision = plan(replace(CRASH, pod=replace(POD, image=LIVE)))
    assert isinstance(decision, Go)
    assert decision.path == "in-place-armed"


def test_a_lost_node_moves_its_workload_to_the_emptiest_ready_node() -> None:
    n3 = replace(N2, name="n3", protected_pods=5)
    decision = plan(replace(CRASH, cause="node-loss", nodes=(N1, n3, N2)))
    assert isinstance(decision, Go)
    assert (decision.path, decision.standby) == ("shadow", "n2")


def test_no_standby_names_each_node_and_why_not() -> None:
    cordoned, unready = replace(N2, schedulable=False), replace(N2, name="n3", ready=False)
    decision = plan(replace(CRASH, cause="node-loss", nodes=(N1, cordoned, unready)))
    assert isinstance(decision, Stop)
    assert decision.reason == "NoStandby"
    assert "n2 is cordoned" in decision.message
    assert "n3 is not ready" in decision.message


def test_another_architecture_is_refused_and_names_both_sides() -> None:
    arm = replace(N2, architecture="arm64")
    decision = plan(replace(CRASH, cause="node-loss", nodes=(arm,), need=Need(architecture="amd64")))
    assert isinstance(decision, Stop)
    assert "arm64" in decision.message
    assert "amd64" in decision.message


def test_a_users_deletion_wins() -> None:
    decision = plan(replace(CRASH, pod=replace(POD, deleting=True)))
    assert isinstance(decision, Stop)
    assert decision.harmless


def test_another_pod_of_the_same_name_is_not_touched() -> None:
    decision = plan(replace(CRASH, pod=replace(POD, uid="u2")))
    assert isinstance(decision, Stop)
    assert decision.reason == "PodGone"


def test_without_a_checkpoint_it_starts_cold_and_says_so() -> None:
    decision = plan(replace(CRASH, checkpoints=()))
    assert isinstance(decision, Stop)
    assert decision.reason == "NoCheckpoint"
    assert decision.remedy


def test_an_armed_pod_is_not_armed_again() -> None:
    decision = plan(replace(CRASH, cause="arm", pod=replace(POD, image=LIVE)))
    assert isinstance(decision, Stop)
    assert decision.harmless


nodes = st.builds(
    NodeView, st.sampled_from(["n1", "n2", "n3"]), st.booleans(), st.booleans(), st.just("amd64"), st.integers(0, 3)
)


@given(st.lists(nodes, max_size=4))
def test_a_lost_node_is_never_its_own_standby_nor_is_an_unfit_one(listed: list[NodeView]) -> None:
    decision = plan(replace(CRASH, cause="node-loss", nodes=tuple(listed)))
    if isinstance(decision, Go):
        assert decision.standby != "n1"
        assert any(n.name == decision.standby and n.ready and n.schedulable for n in listed)


def test_the_standby_stays_the_same_as_long_as_it_can() -> None:
    """What it holds already need not be sent again."""
    n3 = replace(N2, name="n3", protected_pods=5)
    chosen = choose_node((N1, N2, n3), Need(), "n1", "n3", {})
    assert isinstance(chosen, Choice)
    assert chosen.node.name == "n3"
    chosen = choose_node((N1, N2, replace(n3, ready=False)), Need(), "n1", "n3", {})
    assert isinstance(chosen, Choice)
    assert chosen.node.name == "n2"


def test_a_node_that_refused_or_has_no_room_or_another_runtime_is_passed_over_with_its_reason() -> None:
    need = Need(runtime="cri-o", memory_bytes=2 << 30)
    small, other = replace(N2, name="n3", free_bytes=1 << 30), replace(N2, name="n4", runtime="containerd")
    told = choose_node((N1, N2, small, other), need, "n1", "", {"n2": "says NoBaseImage: it is gone"})
    assert isinstance(told, str)
    assert "n2 says NoBaseImage" in told
    assert "n3 has 1024 MiB of memory to give, it needs 2048" in told
    assert "n4 runs containerd, the checkpoint is cri-o's" in told


def test_what_is_prestaged_follows_size_and_interval_and_is_explained() -> None:
    assert prestage("auto", 1 << 30, 50 << 20, 10)[0] == "image"
    assert prestage("auto", 1 << 30, 1 << 30, 10)[0] == "chunks"
    assert prestage("auto", 32 << 30, 1 << 20, 10)[0] == "chunks"
    assert prestage("none", 1 << 30, 0, 10) == ("none", "its annotation reprise.dev/prestage says so")
    assert all(prestage("auto", size, 1 << 20, 10)[1] for size in (1 << 20, 32 << 30))


@pytest.mark.parametrize(
    ("need", "node", "said"),
    [
        (Need(criu="4.2.1"), replace(N2, criu="4.1.1"), ("4.1.1", "4.2.1")),
        (Need(kernel="6.18.2-a"), replace(N2, kernel="6.12.90-b"), ("6.12.90-b", "6.18.2-a")),
        (Need(cpu_features=("avx512f", "sse2")), replace(N2, cpu_features=("sse2",)), ("avx512f",)),
        (Need(runtime="cri-o"), replace(N2, runtime="containerd"), ("cri-o", "containerd")),
        (Need(architecture="amd64"), replace(N2, architecture="arm64"), ("amd64", "arm64")),
    ],
)
def test_what_a_node_lacks_is_refused_before_anything_is_fenced_and_names_both_sides(
    need: Need, node: NodeView, said: tuple[str, ...]
) -> None:
    decision = plan(replace(CRASH, cause="node-loss", nodes=(N1, node), need=need))
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.later) == ("NoStandby", True)
    assert all(side in decision.message for side in said), decision.message


def test_a_newer_kernel_or_criu_or_cpu_is_no_limit_and_what_is_unknown_is_none() -> None:
    need = Need(criu="4.1", kernel="6.12.1", cpu_features=("sse2", "ibrs", "tsc_known_freq"))
    newer = replace(N2, criu="4.2.1", kernel="6.18", cpu_features=("avx2", "sse2"))
    assert limitation(newer, need, "n1") == ""
    assert limitation(N2, need, "n1") == ""
    assert missing_features(("ibrs", "retbleed"), ("sse2",)) == [], (
        "what the kernel does about the CPU's faults is no instruction"
    )


@pytest.mark.parametrize(
    ("reason", "attempt", "lossy"),
    [
        ("NotHeld", 1, False),
        ("NotHeld", MOVE_ATTEMPTS, True),
        ("CannotHold", 1, True),
        ("HoldEnded", 1, True),  # it has stood still for long enough
        ("OtherContainer", 1, True),  # it crashed meanwhile: nobody waits for what is gone
    ],
)
def test_what_cannot_be_held_for_its_arming_is_armed_from_its_newest_checkpoint(reason: str, attempt: int, lossy: bool) -> None:
    saga = Saga(failover_id="f", workload=CRASH.workload, target=CRASH.target, cause="arm", declared_at=AT, attempt=attempt)
    again = after(saga, not_held(HoldRecord(failover_id="f", state="failed", reason=reason)))
    assert again
    assert (again.later, again.lossy) == (False, lossy)
    assert saga.holds
    assert not saga.model_copy(update={"lossy": True}).holds


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_what_is_asked_for_now_sorts_after_the_newest_though_its_clock_was_ahead(ahead: timedelta) -> None:
    newest = checkpoint_id("u0", "counter", AT + ahead)
    assert checkpoint_id("u1", "counter", later(AT, newest)) > newest
    assert later(AT, "") == later(AT, "of another form") == AT
