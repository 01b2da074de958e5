"""The words that pages show for figures."""

from typing import Any

import pytest
from reprise.contracts.events import BY_TYPE
from reprise.contracts.examples import example
from reprise.contracts.words import Said, event_summary, exited, kind, outcome, pause, restored

KNOWN = ("pause_s", "frozen_time_us")


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ((0.12, 90_000), "0.12 s (CRIU 90 ms)"),
        ((0.12, None), "0.12 s"),
        ((None, 90_000), "CRIU 90 ms"),
        ((0.09, 90_000), "CRIU 90 ms"),
        ((None, None), "–"),
    ],
)
def test_a_pause_is_the_real_one_with_crius_beside_it(told: tuple[float | None, int | None], text: str) -> None:
    row: dict[str, Any] = dict(zip(KNOWN, told, strict=True))
    assert pause(row) == text


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (0, "Completed", "exit code 0, Completed"),
        (1, "Error", "exit code 1"),
        (137, "OOMKilled", "exit code 137 (SIGKILL), OOMKilled"),
        (255, "Error", "exit code 255"),
    ],
)
def test_an_exit_code_names_its_signal(code: int, reason: str, text: str) -> None:
    assert exited(code, reason) == text


def test_every_event_can_be_told_in_a_line() -> None:
    for name, model in BY_TYPE.items():
        assert "None" not in event_summary(name, example(model).model_dump(mode="json")), name


def test_a_state_that_was_posted_back_says_nothing_of_criu() -> None:
    assert restored({"restore_time_us": None, "took_s": 0.42}) == "its state was posted back to it, 0.42 s after its start"
    told = event_summary(
        "container.restored", {"kind": "http", "took_s": 0.42, "stats": {"restore_time_us": 0, "pages_restored": 0}}
    )
    assert told == "its state was posted back to it, 0.42 s after its start"


def test_a_move_that_lost_work_is_told_apart_from_one_that_did_not() -> None:
    assert outcome({"state": "completed", "lost_work": None}) == Said("restored", "ok")
    assert outcome({"state": "completed", "lost_work": "bad size of /log"}) == Said("restored, work lost", "warn")
    assert event_summary("failover.completed", {"checkpoint_id": "c3", "lost_work": ""}) == "from c3"
    told = event_summary("failover.completed", {"checkpoint_id": "c3", "lost_work": "bad size of /log"})
    assert told == "from c3; what it did since is lost: bad size of /log"


def test_the_kind_of_a_checkpoint_is_named_where_it_is_known() -> None:
    assert [kind(None), kind({"kind": None}), kind({"kind": "http"})] == ["", "", "http, "]
