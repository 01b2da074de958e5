"""The planner: which path, which checkpoint, which node, or none and why."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.images import live_reference
from reprise.contracts.model import Target, Workload
from reprise.restorer.decide import plan
from reprise.restorer.model import Go, NodeView, PodView, Snapshot, Stop

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
    decision = plan(replace(CRASH, cause="node-loss", nodes=(arm,), architecture="amd64"))
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
