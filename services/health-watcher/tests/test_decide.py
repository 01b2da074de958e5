"""The rules by which nodes freeze, and are given up, and by which what hangs is told."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.records import Fence
from reprise.health_watcher.decide import (
    FIRST_RENEWAL_S,
    FREEZE_AFTER_S,
    LEAST_MARGIN_S,
    cause_of_death,
    count_probe,
    first_count,
    hangs,
    judge,
    lost_after_s,
    margin_s,
    may_pet,
    may_thaw,
    must_freeze,
    needed_s,
    patience_s,
    repeat_after_s,
    sees,
)
from reprise.health_watcher.model import LeaseView, ProbeCount
from reprise.health_watcher.rules.on_end import MOST_DELAY_S, removal_delay_s


class TestCauseOfDeath:
    def test_a_process_that_just_ended_crashed(self) -> None:
        assert cause_of_death(0, 3) == "crash"
        assert cause_of_death(1, 3) == "crash"

    def test_one_that_the_kubelet_was_first_to_end_for_its_probe_hung(self) -> None:
        assert cause_of_death(2, 3) == "hang"
        assert cause_of_death(3, 3) == "hang"
        assert cause_of_death(1, 1) == "hang"
        assert cause_of_death(0, 1) == "crash"


class TestFlapping:
    def test_two_restarts_are_free_and_then_each_waits_longer_up_to_a_minute(self) -> None:
        """Removing the dead container ends the kubelet's own back-off, so this one is all there is."""
        assert [removal_delay_s(n) for n in range(6)] == [0, 0, 0, 1, 2, 4]
        assert removal_delay_s(1000) == MOST_DELAY_S


class TestHang:
    def test_needs_the_pods_own_threshold_of_failures_in_a_row(self) -> None:
        count = count_probe(ProbeCount(), healthy=True, frozen=False)
        for _ in range(2):
            count = count_probe(count, healthy=False, frozen=False)
        assert not hangs(count, 3)
        assert hangs(count_probe(count, healthy=False, frozen=False), 3)

    def test_is_never_seen_in_a_container_that_is_still_starting(self) -> None:
        count = first_count(restored=False)
        for _ in range(10):
            count = count_probe(count, healthy=False, frozen=False)
        assert not hangs(count, 3)

    def test_is_seen_in_a_restored_container_that_never_answered(self) -> None:
        count = first_count(restored=True)
        for _ in range(3):
            count = count_probe(count, healthy=False, frozen=False)
        assert hangs(count, 3)

    @given(st.lists(st.sampled_from(["ok", "fail", "frozen"])))
    def test_failures_during_a_checkpoint_never_count(self, history: list[str]) -> None:
        count, failed_in_a_row = ProbeCount(was_healthy=True), 0
        for what in history:
            count = count_probe(count, healthy=what == "ok", frozen=what == "frozen")
            failed_in_a_row = 0 if what == "ok" else failed_in_a_row + (what == "fail")
        assert count.failures == failed_in_a_row


class TestNodeLoss:
    LOST = LeaseView("n1", lost_after_s(0.0), can_freeze=True, kubelet_reachable=False)

    def test_a_partitioned_node_freezes_before_the_arbiter_gives_up(self) -> None:
        assert LEAST_MARGIN_S >= 1.0
        assert must_freeze(lost_after_s(0.0) - LEAST_MARGIN_S, ever_renewed=True)

    @given(st.floats(0, 60), st.floats(0, 10), st.floats(0, 10))
    def test_no_node_is_given_up_that_has_not_had_time_to_freeze(
        self, since_start_s: float, delay_s: float, freeze_s: float
    ) -> None:
        """The arbiter sees a renewal delay_s after it started, never before: its clock runs behind the node's."""
        seen_s = since_start_s - delay_s
        verdict = judge(replace(self.LOST, silent_s=seen_s, freeze_s=freeze_s)).verdict
        if verdict == "lost":
            assert since_start_s >= FREEZE_AFTER_S + margin_s(freeze_s)

    @given(st.floats(0, 60))
    def test_the_margin_is_several_times_what_freezing_took_on_that_node_and_never_short(self, freeze_s: float) -> None:
        assert margin_s(freeze_s) >= LEAST_MARGIN_S
        assert margin_s(freeze_s) >= 3 * freeze_s
        assert margin_s(0.02) == LEAST_MARGIN_S, "what a small container takes costs no time"

    @given(st.floats(0, 120), st.integers(1, 60))
    def test_a_node_with_a_watchdog_is_not_given_up_before_that_has_reset_it(self, silent_s: float, watchdog_s: int) -> None:
        if judge(replace(self.LOST, silent_s=silent_s, watchdog_s=float(watchdog_s))).verdict == "lost":
            assert silent_s >= watchdog_s + 1

    def test_the_watchdog_is_petted_while_nothing_runs_that_must_not(self) -> None:
        assert may_pet(1.0, ever_renewed=True, all_frozen=False), "it holds its lease"
        assert may_pet(1e9, ever_renewed=False, all_frozen=False), "it never held one: it cannot be given up"
        assert may_pet(60.0, ever_renewed=True, all_frozen=True), "it is cut off and all is frozen"
        assert not may_pet(FREEZE_AFTER_S, ever_renewed=True, all_frozen=False), "it is cut off and something would not freeze"

    def test_a_silent_node_whose_kubelet_answers_is_not_lost(self) -> None:
        assert judge(replace(self.LOST, kubelet_reachable=True)).verdict == "spared"

    def test_a_silent_node_is_asked_before_it_is_judged(self) -> None:
        assert judge(replace(self.LOST, kubelet_reachable=None)).verdict == "ask-kubelet"

    def test_a_node_that_cannot_freeze_is_never_given_up_and_says_why(self) -> None:
        judgement = judge(replace(self.LOST, can_freeze=False))
        assert judgement.verdict == "spared"
        assert "cannot freeze" in judgement.why

    def test_a_node_that_never_held_a_lease_does_not_freeze(self) -> None:
        assert not must_freeze(1e9, ever_renewed=False)


class TestReturn:
    @given(st.floats(0, 100), st.floats(0, 10))
    def test_an_agent_that_starts_in_time_freezes_before_its_node_may_be_given_up(self, silent_s: float, freeze_s: float) -> None:
        begins_s = silent_s + patience_s(silent_s, ever_renewed=True, freeze_s=freeze_s)
        if silent_s < FREEZE_AFTER_S:
            assert begins_s <= FREEZE_AFTER_S + 1e-9
        elif silent_s + needed_s(freeze_s) <= lost_after_s(freeze_s):
            assert begins_s + needed_s(freeze_s) <= lost_after_s(freeze_s) + 1e-9
        elif silent_s < lost_after_s(freeze_s):
            assert begins_s == silent_s

    def test_an_agent_that_was_away_for_longer_tries_to_renew_for_a_while_first(self) -> None:
        assert patience_s(lost_after_s(0.1), ever_renewed=True, freeze_s=0.1) == FIRST_RENEWAL_S

    def test_what_a_failover_starts_elsewhere_is_never_thawed(self) -> None:
        thaw = may_thaw(Fence(pod_uid="u1", holder="restorer", failover_id="fo-1"), wanted=True)
        assert not thaw.may
        assert "fo-1" in thaw.why

    def test_what_its_owner_may_have_replaced_is_not_thawed_either(self) -> None:
        assert not may_thaw(None, wanted=False).may

    def test_what_is_being_deleted_is_ended_where_it_stands(self) -> None:
        restorers = Fence(pod_uid="u1", holder="restorer", failover_id="fo-1")
        assert [may_thaw(fence, wanted=False).over for fence in (None, restorers)] == [True, True]
        assert not may_thaw(restorers, wanted=True).over, "its kubelet would start it again"

    def test_what_nobody_took_or_was_let_go_of_runs_on(self) -> None:
        assert may_thaw(None, wanted=True).may
        assert may_thaw(Fence(pod_uid="u1", holder="nobody", failover_id="fo-1"), wanted=True).may
        assert may_thaw(Fence(pod_uid="u1", holder="node"), wanted=True).may

    def test_an_arbiter_that_stood_still_is_blind_until_it_sees_its_own_record_again(self) -> None:
        assert sees(1.0, 1.0)
        assert not sees(60.0, 1.0)
        assert not sees(1.0, 60.0)

    def test_a_lost_node_is_judged_again_with_back_off(self) -> None:
        assert [repeat_after_s(n) for n in range(5)] == [5, 10, 20, 40, 60]
