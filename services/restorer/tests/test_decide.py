"""The planner: which path, which checkpoint, which node, or none and why."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.events import Cause
from reprise.contracts.model import Target, Workload, checkpoint_id
from reprise.contracts.records import CRASH_LOOP, HoldRecord, StartRecord
from reprise.restorer.choosing import going_back, ours, rejecting, usable
from reprise.restorer.decide import MOVE_ATTEMPTS, after, later, misplaced, plan, prestage
from reprise.restorer.model import Attempt, Good, Need, NodeView, Plan, PodView, Recovery, Saga, Snapshot, Stop
from reprise.restorer.nodes import Choice, choose_node, limitation, missing_features
from reprise.restorer.outcomes import came_back_cold, not_held, not_restored
from reprise.restorer.placement import Placement, Volume

Outcome = Literal["refused", "blank", "cold"]
AT = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
POD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", "counter-abc")
GOOD = (Good("ck2", Need(), pod_uid="u1"), Good("ck1", Need(), pod_uid="u1"))
N1 = NodeView("n1", ready=True, schedulable=True, architecture="amd64", protected_pods=1)
N2 = replace(N1, name="n2", protected_pods=0)
WORKLOAD = Workload(namespace="default", name="counter")
CRASH = Snapshot("crash", TARGET, POD)
LOST = Snapshot("node-loss", TARGET, POD, GOOD, (N1, N2))


def with_need(need: Need) -> tuple[Good, ...]:
    return (replace(GOOD[0], need=need),)


@pytest.mark.parametrize("cause", ["crash", "hang"])
def test_a_crash_or_hang_is_the_kubelets_own_restart_whatever_it_is_restored_from(cause: Cause) -> None:
    decision = plan(replace(CRASH, cause=cause))
    assert isinstance(decision, Plan)
    assert (decision.path, decision.checkpoint_id, decision.standby) == ("in-place", "", "n1")


def test_a_lost_node_moves_its_workload_to_the_emptiest_ready_node() -> None:
    n3 = replace(N2, name="n3", protected_pods=5)
    decision = plan(replace(LOST, nodes=(N1, n3, N2)))
    assert isinstance(decision, Plan)
    assert (decision.path, decision.standby, decision.checkpoint_id, decision.owner) == ("shadow", "n2", "ck2", "counter-abc")


def test_no_standby_names_each_node_and_why_not() -> None:
    cordoned, unready = replace(N2, schedulable=False), replace(N2, name="n3", ready=False)
    decision = plan(replace(LOST, nodes=(N1, cordoned, unready)))
    assert isinstance(decision, Stop)
    assert decision.reason == "NoStandby"
    assert "n2 is cordoned" in decision.message
    assert "n3 is not ready" in decision.message


def test_another_architecture_is_refused_and_names_both_sides() -> None:
    arm = replace(N2, architecture="arm64")
    decision = plan(replace(LOST, nodes=(arm,), good=with_need(Need(architecture="amd64"))))
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
    decision = plan(replace(LOST, good=()))
    assert isinstance(decision, Stop)
    assert decision.reason == "NoCheckpoint"
    assert decision.remedy


def test_arming_is_nothing_to_do_any_more() -> None:
    decision = plan(replace(CRASH, cause="arm"))
    assert isinstance(decision, Stop)
    assert decision.harmless


def test_a_lost_pod_of_which_several_containers_are_protected_starts_cold_and_says_so() -> None:
    """One of them would come back, and the others start blank beside it (I7)."""
    decision = plan(replace(LOST, pod=replace(POD, protected=2)))
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.outcome, decision.later) == ("SeveralContainers", "cold", False)
    assert "reprise.dev/containers" in decision.remedy
    assert isinstance(plan(replace(CRASH, pod=replace(POD, protected=2))), Plan), "where it is, each comes back by itself"


def test_one_further_back_is_the_next_that_was_not_tried() -> None:
    decision = plan(replace(LOST, tried=("ck2",)))
    assert isinstance(decision, Plan)
    assert decision.checkpoint_id == "ck1"
    assert "ck2 did not come back" in decision.why
    nothing = plan(replace(LOST, tried=("ck2", "ck1")))
    assert isinstance(nothing, Stop)
    assert nothing.reason == "RestoreFailed"
    why = Stop("FileChanged", "File data/wal has bad size", "keep it elsewhere", poisoned=True)
    nothing = plan(replace(LOST, tried=("ck2", "ck1"), failed=why))
    assert isinstance(nothing, Stop)
    assert (nothing.reason, nothing.remedy, nothing.poisoned) == ("FileChanged", "keep it elsewhere", False)
    assert "File data/wal has bad size" in nothing.message


@pytest.mark.parametrize("cause", ["node-loss", "move"])
@pytest.mark.parametrize(
    ("owner", "route"),
    [("ReplicaSet", "shadow"), ("StatefulSet", "same-name"), ("", "same-name"), ("Job", ""), ("DaemonSet", "")],
)
def test_what_owns_a_pod_says_how_it_leaves_its_node(cause: Cause, owner: str, route: str) -> None:
    decision = plan(replace(LOST, cause=cause, pod=replace(POD, owner_kind=owner)))
    if route:
        assert isinstance(decision, Plan)
        assert decision.route == route
    else:
        assert isinstance(decision, Stop)
        assert (decision.reason, decision.harmless) == ("OwnerNotSupported", cause == "move")


def test_what_is_deleted_for_good_is_checked_for_its_place_before_it_stands_still() -> None:
    held = replace(POD, owner_kind="StatefulSet", asks=Placement(volumes=(Volume("data", tied="hostPath /srv"),)))
    decision = plan(replace(LOST, cause="move", pod=held))
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.harmless) == ("NotMovable", True)
    decision = plan(replace(LOST, cause="move", pod=replace(POD, owner_kind="StatefulSet", finalizer="shop.dev/bill")))
    assert isinstance(decision, Stop)
    assert (decision.reason, decision.harmless) == ("NotMovable", True)
    picky = replace(POD, owner_kind="StatefulSet", asks=Placement(selector=(("zone", "b"),)))
    decision = plan(replace(LOST, cause="move", pod=picky))
    assert isinstance(decision, Stop)
    assert decision.reason == "NoStandby"


def test_a_next_pod_is_misplaced_where_the_old_one_was_or_not_where_it_was_asked_for() -> None:
    saga = Saga(failover_id="f", workload=WORKLOAD, target=TARGET, cause="move", declared_at=AT)
    on = {node: replace(POD, node=node) for node in ("", "n1", "n2")}
    assert [misplaced(pod, saga) for pod in on.values()] == [False, True, False]
    assert [misplaced(pod, saga.model_copy(update={"to": "n3"})) for pod in on.values()] == [False, True, True]


def test_a_replica_never_becomes_another_replica() -> None:
    """Its own checkpoints first, then those of the pod that it was restored from; a sibling's not at all."""
    mine, before, sibling = (Good(f"ck{n}", Need(), pod_uid=uid) for n, uid in ((1, "u1"), (2, "u0"), (3, "u9")))
    good, pod = (sibling, before, mine), replace(POD, restored_from="u0", wanted=3)
    assert ours(good, pod) == (mine, before)
    assert ours(good, replace(pod, restored_from="")) == (mine,)
    assert ours((sibling,), replace(pod, restored_from="", wanted=1)) == (), "nor one that was there before it"


pods = st.sampled_from(["u0", "u1", "u2", "u3"])


@given(st.lists(st.tuples(pods, st.integers(0, 99)), max_size=12), st.sampled_from(["", "u0"]), st.sampled_from([None, 1, 2, 3]))
def test_whatever_is_stored_a_replica_is_restored_from_its_own_newest_checkpoint(
    stored: list[tuple[str, int]], came_from: str, replicas: int | None
) -> None:
    good = tuple(Good(f"ck{n:02d}-{uid}", Need(), pod_uid=uid) for uid, n in sorted(set(stored), key=lambda each: -each[1]))
    decision = plan(replace(LOST, good=ours(good, replace(POD, restored_from=came_from, wanted=replicas))))
    mine = [each for each in good if each.pod_uid == "u1"] or [each for each in good if came_from and each.pod_uid == came_from]
    if isinstance(decision, Plan):
        assert (decision.checkpoint_id, decision.source_uid) == (mine[0].checkpoint_id, mine[0].pod_uid)
    else:
        assert (decision.reason, mine) == ("NoCheckpoint", [])


def test_what_was_rejected_or_is_of_a_container_that_was_given_up_is_not_used() -> None:
    good = (Good("ck3", Need(), container_id="c2"), Good("ck2", Need(), container_id="c1"), Good("ck1", Need()))
    assert usable(good, Recovery(rejected=("ck3",), dead=("c1",))) == (good[2],)
    assert going_back(Recovery(rejected=("ck1",)), good, "ck1", "c9") == Recovery(rejected=("ck2", "ck3"), dead=("c9",))
    assert len(rejecting(Recovery(), (f"ck{n}" for n in range(99))).rejected) < 99, "the record does not grow for ever"


@pytest.mark.parametrize("outcome", ["refused", "blank", "cold"])
def test_a_shadow_that_did_not_come_back_is_undone_with_the_engines_own_reason(outcome: Outcome) -> None:
    saga = Saga(failover_id="f", workload=WORKLOAD, target=TARGET, cause="node-loss", declared_at=AT,
                attempt=Attempt(plan=Plan("shadow", "n2", "", "ck2")))  # fmt: skip
    start = StartRecord(container_id="c2", pod_uid="u2", container="counter", outcome=outcome, reason="bad size of /log")
    stop = not_restored(saga, start)
    assert stop
    assert stop.poisoned
    assert "bad size of /log" in stop.message
    again = after(saga.undone(stop), stop)
    assert again
    assert not again.later
    fine = StartRecord(container_id="c2", pod_uid="u2", container="counter", outcome="restored", checkpoint_id="ck2", frozen=True)
    assert not_restored(saga, fine) is None
    assert not_restored(saga, fine.model_copy(update={"checkpoint_id": "ck1"})), "another one than was asked for"
    if outcome != "refused":
        assert "bad size of /log" in came_back_cold(saga, start).message


def test_a_restore_that_failed_has_the_name_and_the_remedy_of_its_cause() -> None:
    saga = Saga(failover_id="f", workload=WORKLOAD, target=TARGET, cause="node-loss", declared_at=AT,
                attempt=Attempt(plan=Plan("shadow", "n2", "", "ck2")))  # fmt: skip
    why = "File data/wal has bad size 122880 (expect 1355776)"
    start = StartRecord(container_id="c2", pod_uid="u2", container="counter", outcome="cold", reason=why)
    for stop in (not_restored(saga, start), came_back_cold(saga, start)):
        assert stop
        assert (stop.reason, why in stop.message) == ("FileChanged", True)
        assert "own file system" in stop.remedy
    odd = came_back_cold(saga, start.model_copy(update={"reason": "something new"}))
    assert (odd.reason, "CRIU's log" in odd.remedy) == ("RestoreFailed", True)


def test_a_start_that_is_cold_because_of_a_crash_loop_says_so_and_what_to_do() -> None:
    saga = Saga(failover_id="f", workload=WORKLOAD, target=TARGET, cause="crash", declared_at=AT)
    why = f"{CRASH_LOOP}it was restored 3 times and ended each time with OOMKilled; raise its limit"
    start = StartRecord(container_id="c2", pod_uid="u1", container="counter", outcome="blank", reason=why)
    stop = came_back_cold(saga, start)
    assert (stop.reason, stop.remedy, stop.outcome) == ("CrashLoop", "raise its limit", "cold")
    assert stop.message.endswith("ended each time with OOMKilled")
    within = start.model_copy(update={"outcome": "cold", "reason": f"restored and ended again: meanwhile: {start.reason}"})
    assert came_back_cold(saga, within) == stop, "the agent decided while the engine was restoring"
    nothing = start.model_copy(update={"reason": "there is no checkpoint"})
    assert came_back_cold(saga, nothing).reason == "NoCheckpoint"


nodes = st.builds(
    NodeView, st.sampled_from(["n1", "n2", "n3"]), st.booleans(), st.booleans(), st.just("amd64"), st.integers(0, 3)
)


@given(st.lists(nodes, max_size=4))
def test_a_lost_node_is_never_its_own_standby_nor_is_an_unfit_one(listed: list[NodeView]) -> None:
    decision = plan(replace(LOST, nodes=tuple(listed)))
    if isinstance(decision, Plan):
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
    told = choose_node((N1, N2, small, other), need, "n1", "", {"n2": "says DiskFull: it is full"})
    assert isinstance(told, str)
    assert "n2 says DiskFull" in told
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
    decision = plan(replace(LOST, nodes=(N1, node), good=with_need(need)))
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
    ("reason", "attempt", "again"),
    [("NotHeld", 1, True), ("NotHeld", MOVE_ATTEMPTS, False), ("CannotHold", 1, False), ("HoldEnded", 1, True)],
)
def test_a_move_whose_process_could_not_be_held_is_tried_again_only_if_that_was_bad_luck(
    reason: str, attempt: int, again: bool
) -> None:
    saga = Saga(failover_id="f", workload=WORKLOAD, target=TARGET, cause="move", declared_at=AT, attempt=Attempt(attempt))
    assert bool(after(saga, not_held(HoldRecord(failover_id="f", state="failed", reason=reason)))) is again


@pytest.mark.parametrize("ahead", [timedelta(hours=-1), timedelta(0), timedelta(hours=1)])
def test_what_is_asked_for_now_sorts_after_the_newest_though_its_clock_was_ahead(ahead: timedelta) -> None:
    newest = checkpoint_id("u0", "counter", AT + ahead)
    assert checkpoint_id("u1", "counter", later(AT, newest)) > newest
    assert later(AT, "") == later(AT, "of another form") == AT
