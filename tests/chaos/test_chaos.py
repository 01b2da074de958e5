"""Faults of ours, times faults of the workload: whatever happens, one instance, with its memory, or told why not.

A cell passes if the witness saw no rule broken (lab/verdict.py) and it ended restored, or cold with an announcement, or
untouched where nothing was wrong. `make test` runs each row once, with another column each; `make chaos` runs every cell.
"""

import random
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest
from cells import COLUMNS, ROWS, settle
from reprise_lab import counter, faults
from reprise_lab.shell import LabError, poll
from reprise_lab.verdict import judge
from reprise_lab.witness import Witness

pytestmark = pytest.mark.chaos
BACK_S = 60
UNHARMED_S = 8


IMPOSSIBLE = {
    ("kubelet dead", "crash"), ("kubelet dead", "hang"),  # the kubelet is what starts containers: it waits for it
    ("node cut from NATS", "node loss"), ("node cut from the API", "node loss"), ("kubelet dead", "node loss"),
}  # fmt: skip


def chosen_cells(config: pytest.Config) -> list[tuple[str, str]]:
    every = [(row, column) for row in ROWS for column in COLUMNS if (row, column) not in IMPOSSIBLE]
    seed = config.getoption("--chaos-seed", "1")
    if seed == "all":
        return every
    chance = random.Random(seed)
    names = list(COLUMNS)
    chance.shuffle(names)
    chosen = []
    for number, row in enumerate(ROWS):
        column = next(c for c in (names * 2)[number % len(names) :] if (row, c) not in IMPOSSIBLE)
        chosen.append((row, column))
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"row", "column"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("row", "column"), chosen_cells(metafunc.config), ids=lambda name: name.replace(" ", "-"))


@pytest.fixture
def watched(request: pytest.FixtureRequest) -> Iterator[Witness]:
    namespace = re.sub("[^a-z0-9]+", "-", f"chaos-{request.node.callspec.id}".lower())[:50].strip("-")
    counter.deploy(namespace)
    try:
        counter.wait_armed(namespace, 60)
        first = counter.wait_checkpoint(namespace)
        counter.wait_checkpoint(namespace, after=first["checkpoint_id"])
        with Witness(namespace) as witness:
            yield witness
    finally:
        counter.remove(namespace)


def test_one_instance_with_its_memory_or_told_why_not(watched: Witness, row: str, column: str, matrix: Any) -> None:
    namespace, harm = watched.namespace, COLUMNS[column]
    before, began = watched.last(), time.monotonic()
    outcome = "?"
    try:
        with ROWS[row](namespace):
            settle()
            harmed_at = time.monotonic()
            if harm:
                harm(namespace)
                with suppress(LabError):  # what needs the fault's end to come back is looked at below
                    watched.after_gap(before.run, harmed_at, 20)
            else:
                time.sleep(UNHARMED_S)
        if column == "node loss":
            back(watched, harmed_at)
            faults.power_on("n1")
        cold = back(watched, harmed_at)
        counter.wait_reprise()
        time.sleep(2)
        verdict = judge(watched.history, since=began, checkpoints=taken(namespace), cold=cold)
        assert verdict.kept, "\n".join(verdict.broken)
        if not harm:
            assert not [r for r in counter.console(f"failovers?namespace={namespace}") if r["cause"] != "arm"]
        outcome = "cold" if cold else f"restored {verdict.silent_s:.1f} s" if harm else f"untouched {verdict.silent_s:.1f} s"
    except BaseException:
        outcome = "BROKEN"
        raise
    finally:
        matrix[row, column] = outcome
        if column == "node loss":
            faults.power_on("n1")
            counter.wait_reprise()


def back(witness: Witness, since: float) -> bool:
    """Wait until it answers again; whether a cold start was announced. Raises LabError."""
    poll(BACK_S, lambda: time.monotonic() - witness.last().at < 0.5 and witness.last().at > since + 0.5, "an answer", 0.1)
    rows = counter.console(f"failovers?namespace={witness.namespace}")
    return any(r["state"] == "abandoned" and r["cause"] != "arm" for r in rows)


def taken(namespace: str) -> list[float]:
    """When each good checkpoint began, on the witness's clock."""
    ahead = time.time() - time.monotonic()
    rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=100")
    return [datetime.fromisoformat(r["kubelet_started_at"]).timestamp() - ahead for r in rows if r["kubelet_started_at"]]
