"""What is done about an end: whose failover it is, and whether the dead container has to go."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.health_watcher.rules.early_exits import EarlyExits, after_end, early_s
from reprise.health_watcher.rules.log_tail import LIMIT, log_tail
from reprise.health_watcher.rules.on_end import BACKOFF_S, MOST_DELAY_S, Death, on_end, removal_delay_s

CRASH = Death(restart_policy="Always", exit_code=1)


def probe(
    *, initial: int | None = None, failures: int | None = None, period: int | None = None, timeout: int | None = None
) -> SimpleNamespace:
    """As the API's client has it."""
    return SimpleNamespace(
        initial_delay_seconds=initial, failure_threshold=failures, period_seconds=period, timeout_seconds=timeout
    )


def test_the_first_crash_is_left_to_the_kubelet_which_restarts_it_at_once() -> None:
    verdict = on_end(CRASH)
    assert (verdict.declare, verdict.remove_after_s) == (True, None)


def test_from_the_second_crash_on_the_dead_container_is_removed_which_ends_the_back_off() -> None:
    assert on_end(replace(CRASH, since_last_end_s=BACKOFF_S - 1)).remove_after_s == 0.0
    assert on_end(replace(CRASH, since_last_end_s=BACKOFF_S + 1)).remove_after_s is None


def test_a_fast_crash_loop_is_damped() -> None:
    assert on_end(replace(CRASH, since_last_end_s=2.0, soon_in_a_row=5)).remove_after_s == 4.0


@pytest.mark.parametrize(
    ("policy", "code", "final"),
    [("Always", 0, False), ("Always", 1, False), ("OnFailure", 0, True), ("OnFailure", 1, False), ("Never", 0, True),
     ("Never", 1, True)],
)  # fmt: skip
def test_an_end_that_is_final_is_no_failover(policy: str, code: int, final: bool) -> None:
    verdict = on_end(Death(policy, code))
    assert (verdict.final, verdict.declare) == (final, not final)


@given(
    st.builds(Death, st.sampled_from(["Always", "OnFailure", "Never"]), st.integers(0, 255), st.booleans(), st.booleans(),
              st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.none() | st.floats(0, 1e4), st.integers(0, 9))
)  # fmt: skip
def test_nobodys_container_is_removed_and_what_we_ended_is_no_crash(death: Death) -> None:
    verdict = on_end(death)
    if death.pod_deleting or death.fenced or death.superseded or (verdict.final and not death.expected):
        assert verdict.remove_after_s == (0.0 if death.unnoticed and death.pod_deleting else None)
    if death.pod_deleting or death.fenced or death.expected or verdict.final:
        assert not verdict.declare


def test_an_end_that_was_told_of_before_is_over_once_its_successor_runs() -> None:
    assert not on_end(replace(CRASH, superseded=True, told=True)).declare
    assert on_end(replace(CRASH, superseded=True)).declare, "the kubelet was faster than we"
    assert on_end(replace(CRASH, told=True)).declare, "whoever told of it may not have got through"


@given(st.integers(1, 200))
def test_the_damping_grows_to_a_limit(ends: int) -> None:
    assert 0.0 <= removal_delay_s(ends) <= removal_delay_s(ends + 1) <= MOST_DELAY_S


class TestEarlyExits:
    def test_a_checkpoint_of_which_what_is_restored_ends_soon_twice_in_a_row_is_rejected(self) -> None:
        once = after_end(EarlyExits(), "ck1", 2.0)
        assert not once.rejected
        assert after_end(once, "ck1", 2.0).rejected == ("ck1",)

    @pytest.mark.parametrize(("restored_from", "lived_s"), [("ck2", 2.0), ("", 2.0), ("ck1", 60.0), ("ck1", None)])
    def test_one_that_lived_or_came_of_another_is_no_second_time(self, restored_from: str, lived_s: float | None) -> None:
        between = after_end(after_end(EarlyExits(), "ck1", 2.0), restored_from, lived_s)
        assert not after_end(between, "ck1", 2.0).rejected

    def test_both_checkpoints_can_be_rejected_one_after_the_other(self) -> None:
        known = EarlyExits()
        for checkpoint_id in ("ck2", "ck2", "ck1", "ck1"):
            known = after_end(known, checkpoint_id, 1.0)
        assert known.rejected == ("ck2", "ck1")

    @pytest.mark.parametrize(
        ("liveness", "startup", "within_s"),
        [
            (None, None, 10.0),
            (probe(), None, 36.0),
            (probe(initial=20, failures=2, period=5, timeout=4), None, 39.0),
            (probe(failures=1, period=1), None, 10.0),
            (probe(failures=1, period=1), probe(failures=30, period=2), 67.0),
        ],
    )
    def test_an_end_is_early_up_to_the_time_in_which_its_livenessprobe_ends_one_that_never_serves(
        self, liveness: Any, startup: Any, within_s: float
    ) -> None:
        assert early_s(liveness, startup) == within_s


class TestLogTail:
    def test_what_the_runtime_writes_before_each_line_is_left_out(self) -> None:
        written = "2026-11-29T10:00:00Z stdout F one\n2026-11-29T10:00:00Z stderr P tw\n2026-11-29T10:00:00Z stderr F o\n"
        assert log_tail(written) == "one\ntwo"

    def test_an_empty_line_and_a_line_that_was_cut_do_no_harm(self) -> None:
        assert log_tail("rest of a line\nt stdout F \nt stdout F end\n") == "\nend"

    @given(st.text(max_size=9000))
    def test_it_is_never_longer_than_its_limit(self, text: str) -> None:
        assert len(log_tail("\n".join(f"t stdout F {line}" for line in text.splitlines()))) <= LIMIT
