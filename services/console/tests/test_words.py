"""The words that pages show for figures."""

from typing import Any

import pytest
from reprise.console.web.words import event_summary, exited, pause, restored
from reprise.contracts.events import BY_TYPE
from reprise.contracts.examples import example

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
    for kind, model in BY_TYPE.items():
        assert "None" not in event_summary(kind, example(model).model_dump(mode="json")), kind


def test_a_state_that_was_posted_back_says_nothing_of_criu() -> None:
    assert restored({"restore_time_us": None, "took_s": 0.42}) == "its state was posted back to it, 0.42 s after its start"
    told = event_summary(
        "container.restored", {"kind": "http", "took_s": 0.42, "stats": {"restore_time_us": 0, "pages_restored": 0}}
    )
    assert told == "its state was posted back to it, 0.42 s after its start"
