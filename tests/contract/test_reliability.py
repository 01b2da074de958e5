"""docs/reliability.md says what is proven by which test, and how long things take: both are so."""

import re
from pathlib import Path

import pytest
from reprise.health_watcher import arbiter, decide
from reprise.health_watcher.settings import Settings
from reprise.restorer import decide as restorer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", TEXT)))
FOLDERS = ("tests", "packages", "services", "lab", "examples")


def defined() -> set[str]:
    sources = [path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("test_*.py")]
    return {name for source in sources for name in re.findall(r"^\s*(?:async )?def (test_\w+)", source, re.MULTILINE)}


def test_every_promise_names_tests_that_exist() -> None:
    assert not set(NAMED) - defined()
    table = TEXT.partition("## Promised")[2].partition("## Time")[0]
    promises = [line for line in table.splitlines() if line.startswith("| **") or line.startswith("| A ")]
    assert len(promises) >= 8
    assert all(re.search(r"`test_\w+`", line) for line in promises)


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("a node renews its lease each", decide.RENEW_EVERY_S),
        ("freezes what it protects after", decide.FREEZE_AFTER_S),
        ("the margin", decide.LEAST_MARGIN_S),
        ("the margin", decide.BEGIN_S),
        ("the arbiter gives it up after", decide.lost_after_s(0.0)),
        ("the arbiter gives it up after", arbiter.KUBELET_TIMEOUT_S),
        ("with a hardware watchdog", decide.lost_after_s(0.0, Settings.model_fields["watchdog_timeout_s"].default)),
    ],
)
def test_the_times_are_the_codes(row: str, seconds: float) -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("| ") and row in line)
    assert f"{seconds:g} s" in line


@pytest.mark.parametrize(
    ("row", "clock_sees"), [("or its processes stopped", True), ("a hypervisor that stops its clocks", False)]
)
def test_the_window_of_a_paused_node_is_the_codes(row: str, clock_sees: bool) -> None:
    line = next(line for line in TEXT.splitlines() if line.startswith("| ") and row in line)
    assert f"**{decide.window_s(0.02, clock_sees=clock_sees):.1f} s**" in line


def test_the_factors_are_the_codes() -> None:
    assert f"{decide.BEGIN_S:g} s and {decide.SLOWER:g} times" in TEXT
    assert f"{restorer.DELAYS} times" in TEXT
    assert ", ".join(f"{decide.repeat_after_s(n):g}" for n in range(5)) in TEXT
