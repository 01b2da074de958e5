"""The one rule: what may start, and what must stand still (I1, I9)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.health_watcher.rules.verdict import Decision, Origin, Snapshot, decide

CALM = Snapshot(slots="shop/u1", lease_held=True, fence="ours")
MADE = replace(CALM, origin=Origin("shop/u0", "ck7"))

reasons: Any = st.frozensets(st.sampled_from(["isolated", "fenced", "held", "unreleased"]))
origins = st.builds(Origin, st.just("shop/u0"), st.just("ck7"), st.booleans(), st.sampled_from(["", "of another"]))
snapshots = st.builds(
    Snapshot,
    slots=st.just("shop/u1"),
    lease_held=st.booleans(),
    fence=st.sampled_from(["unknown", "assumed", "ours", "theirs", "gone"]),
    failover_id=st.sampled_from(["", "fo-1"]),
    hold=st.sampled_from(["", "begun", "standing"]),
    next=st.sampled_from(["", "unknown", "expected"]),
    origin=st.none() | origins,
    released=st.booleans(),
    restored_frozen=st.booleans(),
    cold=st.sampled_from(["", "NoCheckpoint: none fits"]),
    rejected=st.sampled_from([(), ("ck1",), ("ck1", "ck2")]),
    kept=st.sampled_from([(), ("ck1",), ("ck1", "ck2")]),
    stands=reasons,
    deleting=st.booleans(),
)


@given(snapshots)
def test_nothing_starts_without_a_lease_or_while_another_may_have_the_pod(of: Snapshot) -> None:
    if not of.lease_held or of.fence in ("unknown", "theirs", "gone") or of.hold or of.deleting or of.next:
        assert decide(of).verdict.verdict in ("wait", "refuse")


@given(snapshots)
def test_what_waits_or_is_refused_says_why(of: Snapshot) -> None:
    verdict = decide(of).verdict
    assert bool(verdict.reason) == (verdict.verdict != "restore")


@given(snapshots)
def test_without_a_lease_or_fenced_it_stands_still(of: Snapshot) -> None:
    if not of.lease_held or of.fence in ("theirs", "gone"):
        assert decide(of).frozen


@given(snapshots)
def test_each_reason_holds_for_what_it_says(of: Snapshot) -> None:
    frozen = decide(of).frozen
    assert ("held" in frozen) == (of.hold == "standing")
    assert ("unreleased" in frozen) == (of.restored_frozen and of.origin is not None and not of.released)
    if "isolated" in frozen:
        assert not of.lease_held or (of.fence == "unknown" and of.stands)


@given(snapshots)
def test_a_pod_of_this_node_that_nothing_speaks_against_runs(of: Snapshot) -> None:
    """Whatever it stood still for before."""
    calm = replace(of, lease_held=True, fence="ours", hold="", next="", released=True, deleting=False)
    assert not decide(calm).frozen
    assert decide(calm).verdict.verdict in ("restore", "blank")


@given(snapshots)
def test_a_released_shadow_is_never_frozen_for_that_again(of: Snapshot) -> None:
    assert "unreleased" not in decide(replace(of, released=True)).frozen
    assert not decide(replace(of, released=True)).verdict.frozen


@given(snapshots)
def test_nothing_is_thawed_before_its_fence_was_asked(of: Snapshot) -> None:
    if of.fence == "unknown" and of.stands:
        assert decide(of).frozen


@given(snapshots)
def test_only_what_stands_still_is_killed_and_only_if_its_pod_is_deleted(of: Snapshot) -> None:
    decision = decide(of)
    if decision.end:
        assert decision.frozen
        assert of.lease_held
        assert of.fence == "gone" or of.deleting


def test_an_ordinary_start_restores_the_newest_of_its_own_pod() -> None:
    verdict = decide(replace(CALM, rejected=("ck1",), kept=("ck2", "ck1"))).verdict
    assert (verdict.verdict, verdict.slots, verdict.checkpoint_id, verdict.rejected) == ("restore", ("shop/u1",), "", ("ck1",))


def test_a_shadow_is_restored_from_the_checkpoint_that_it_was_made_of_and_does_not_run() -> None:
    verdict = decide(MADE).verdict
    assert (verdict.slots, verdict.checkpoint_id, verdict.frozen) == (("shop/u1", "shop/u0"), "ck7", True)


def test_a_released_shadow_prefers_its_own_checkpoints() -> None:
    verdict = decide(replace(MADE, released=True)).verdict
    assert (verdict.slots, verdict.checkpoint_id, verdict.frozen) == (("shop/u1", "shop/u0"), "", False)


def test_a_checkpoint_that_is_not_there_yet_is_waited_for_and_anothers_is_refused() -> None:
    assert decide(replace(MADE, origin=Origin("shop/u0", "ck7", missing=True))).verdict.verdict == "wait"
    assert decide(replace(MADE, origin=Origin("shop/u0", "ck7", distrust="of redis"))).verdict.verdict == "refuse"


def test_what_was_made_ahead_is_restored_and_does_not_start_before_a_failover_takes_it() -> None:
    ahead = Origin("shop/u0", "ck7", ahead=True)
    verdict = decide(replace(MADE, origin=ahead)).verdict
    assert (verdict.verdict, verdict.checkpoint_id, verdict.frozen, verdict.ahead) == ("restore", "ck7", True, True)
    assert not decide(MADE).verdict.ahead
    assert decide(replace(MADE, origin=ahead, hands_out=True)).verdict.verdict == "wait", "its engine would start it plainly"
    assert decide(replace(MADE, origin=replace(ahead, distrust="of redis"))).verdict.verdict == "refuse"


@pytest.mark.parametrize(
    ("rejected", "kept", "verdict"),
    [(("ck1",), ("ck2", "ck1"), "restore"), (("ck1", "ck2"), ("ck2", "ck1"), "blank"), (("ck1",), (), "restore")],
    ids=["the one before lives", "neither lives", "there is none: the engine starts it blank by itself"],
)
def test_a_container_whose_checkpoints_did_not_live_starts_blank(
    rejected: tuple[str, ...], kept: tuple[str, ...], verdict: str
) -> None:
    assert decide(replace(CALM, rejected=rejected, kept=kept)).verdict.verdict == verdict


def test_the_reasons_name_who_has_the_pod() -> None:
    assert "fo-1" in decide(replace(CALM, fence="theirs", failover_id="fo-1")).verdict.reason
    assert decide(replace(CALM, lease_held=False)) == Decision(
        decide(replace(CALM, lease_held=False)).verdict, frozenset({"isolated"})
    )


def test_a_shadow_that_is_discarded_is_killed_before_it_ran() -> None:
    decision = decide(replace(MADE, restored_frozen=True, deleting=True))
    assert decision.end
    assert decision.frozen == {"unreleased"}
