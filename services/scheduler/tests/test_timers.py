"""What a due checkpoint is called: its id says which one is the newest, so ids only grow."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.model import checkpoint_id
from reprise.contracts.records import Newest
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.scheduler.decide import Due
from reprise.scheduler.model import Slot
from reprise.scheduler.timers import name_of

NOW = datetime(2026, 11, 24, 10, 11, 12, tzinfo=UTC)
POD = cast(ProtectedPod, type("Pod", (), {"uid": "u1"}))
CONTAINER = ProtectedContainer("c", "image")


def slot(name: str) -> Slot:
    return Slot(pod_uid="u1", container="c", interval_s=10, number=1, checkpoint_id=name)


@given(st.lists(st.timedeltas(timedelta(hours=-2), timedelta(hours=2)), max_size=20))
def test_each_sorts_after_the_one_before_whatever_the_clock_does(jumps: list[timedelta]) -> None:
    at, last = NOW, slot(checkpoint_id("u1", "c", NOW))
    for jump in jumps:
        at += jump
        name = name_of(POD, CONTAINER, Due(1, at, "interval"), last, None)
        assert name > last.checkpoint_id
        last = slot(name)


def test_while_the_clock_goes_on_it_is_named_by_when_it_was_due() -> None:
    due = Due(1, NOW, "interval")
    known: Any
    for known in (None, slot(""), slot(checkpoint_id("u1", "c", NOW - timedelta(seconds=10)))):
        assert name_of(POD, CONTAINER, due, known, None) == checkpoint_id("u1", "c", NOW)


def test_it_sorts_after_the_newest_of_another_pod_whose_clock_was_ahead() -> None:
    ahead = Newest(checkpoint_id=checkpoint_id("u0", "c", NOW + timedelta(hours=1)))
    assert name_of(POD, CONTAINER, Due(1, NOW, "interval"), None, ahead) > ahead.checkpoint_id
