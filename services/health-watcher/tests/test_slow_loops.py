"""A process that is restored and ends again in the same way, each time later than at once, is started cold once."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reprise.contracts.records import CRASH_LOOP
from reprise.health_watcher.rules.slow_loops import LIMIT, MOST_S, SlowLoop, after_end, how_it_ended, is_loop, why_cold, within_s

OOM: dict[str, Any] = {"restored": True, "how": "OOMKilled", "lived_s": 45.0, "most_s": MOST_S}


def after(*ends: dict[str, Any]) -> SlowLoop:
    known = SlowLoop()
    for end in ends:
        known = after_end(known, **(OOM | end))
    return known


def test_the_third_restored_instance_in_a_row_that_ends_alike_is_a_loop() -> None:
    assert not is_loop(after({}, {}))
    assert is_loop(after({}, {}, {}))
    assert is_loop(after({}, {}, {}, {})), "and goes on being one, if what came next was restored all the same"


@pytest.mark.parametrize(
    "between",
    [
        pytest.param({"restored": False}, id="was started cold"),
        pytest.param({"how": "exit code 1"}, id="ended in another way"),
        pytest.param({"how": ""}, id="was ended from outside"),
        pytest.param({"lived_s": MOST_S}, id="lived long enough"),
        pytest.param({"lived_s": None}, id="lived nobody knows how long"),
    ],
)
def test_it_begins_anew_after_one_that(between: dict[str, Any]) -> None:
    assert not is_loop(after({}, {}, between, {}, {}))
    assert is_loop(after({}, {}, between, {}, {}, {}))


@pytest.mark.parametrize(
    ("exit_code", "reason", "how"),
    [
        (137, "OOMKilled", "OOMKilled"),
        (137, "Error", ""),
        (143, "Error", ""),
        (137, "Unknown", ""),
        (1, "Error", "exit code 1"),
        (139, "Error", "exit code 139"),
        (0, "Completed", "exit code 0"),
    ],
)
def test_who_is_ended_from_outside_did_not_end_by_itself(exit_code: int, reason: str, how: str) -> None:
    assert how_it_ended(exit_code, reason) == how


def test_a_checkpoint_each_hour_leaves_up_to_an_hour_to_its_end() -> None:
    assert within_s(60.0) == MOST_S
    assert within_s(3600.0) == 7200.0


def test_the_reason_says_how_often_how_and_what_to_do() -> None:
    why = why_cold(after({}, {}, {}))
    assert why.startswith(CRASH_LOOP), "the restorer tells it by that"
    assert "3" in why
    assert "OOMKilled" in why
    assert "memory limit" in why
    assert "memory limit" not in why_cold(after(*[{"how": "exit code 1"}] * 3))


ends = st.fixed_dictionaries(
    {
        "restored": st.booleans(),
        "how": st.sampled_from(["", "OOMKilled", "exit code 1"]),
        "lived_s": st.none() | st.floats(0, 2 * MOST_S),
    }
)


@settings(deadline=None)
@given(st.lists(ends, max_size=12))
def test_it_is_a_loop_only_if_the_last_three_were_restored_and_ended_alike_and_soon(history: list[dict[str, Any]]) -> None:
    last = history[-LIMIT:]
    alike = len(last) == LIMIT and len({end["how"] for end in last}) == 1
    soon = all(end["restored"] and end["how"] and end["lived_s"] is not None and end["lived_s"] < MOST_S for end in last)
    assert is_loop(after(*history)) == (alike and soon)
