"""Of mode http: whether a process that ran without its state and without its node's agent keeps what it has done since."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.health_watcher.rules.keeps import Unwatched, may_keep

SERVED = Unwatched(alone_s=60.0, interval_s=10.0)


def test_what_may_have_served_for_longer_than_an_interval_keeps_it() -> None:
    assert may_keep(SERVED)
    assert not may_keep(replace(SERVED, interval_s=60.0)), "a crash costs as much at any time"


@pytest.mark.parametrize("of", [replace(SERVED, gate_closed=True), replace(SERVED, must_have_it=True)])
def test_what_nobody_was_sent_to_and_what_may_not_run_without_its_state_does_not(of: Unwatched) -> None:
    assert not may_keep(of)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.booleans(), st.booleans())
def test_what_an_agent_saw_from_its_start_on_is_always_given_its_state(
    alone_s: float, interval_s: float, closed: bool, must: bool
) -> None:
    assert not may_keep(Unwatched(0.0, interval_s, closed, must))
    assert may_keep(Unwatched(alone_s, interval_s, closed, must)) <= (alone_s > interval_s)
