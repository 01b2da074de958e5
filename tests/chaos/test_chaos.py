"""Faults of ours, times faults of the workload: whatever happens, one instance, with its memory, or told why not.

A cell passes if the witness saw no rule broken (lab/verdict.py) and it ended restored, or cold with an announcement, or
untouched where nothing was wrong. In a row of the matrix a herd of three is harmed at once, each in another way; or their
node is lost. `make chaos SEED=n` tries each row in one of the two ways; `make chaos` tries both.
"""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from cells import HARMS, MOVED, NODE_LOSS, RESUMED, ROWS, WINDOW_S, settle
from herd import NODE, Stall, back, failovers, good
from reprise_lab import counter, faults
from reprise_lab.shell import LabError
from reprise_lab.verdict import judge
from reprise_lab.witness import Witness

pytestmark = pytest.mark.chaos
MEANWHILE_S, MOVED_S = 12, 25
"""So long a fault of ours lasts at most after the harm, or the loss of the node; some come back only after its end."""
UNHARMED_S = 6
NODES_LOST = 2
"""Rows of the bounded form that are tried with the loss of the node."""
Ways = tuple[str, ...]


def chosen(seed: str, most: int = 0) -> list[tuple[str, Ways]]:
    """Rows, and which of their cells are tried at once. most: so many rows, one that loses a node among them; 0: every row."""
    found = _rows(seed)
    if not 0 < most < len(found):
        return found
    pick = random.Random(f"{seed} {most}")
    lost, others = [r for r in found if r[1] == (NODE_LOSS,)], [r for r in found if r[1] != (NODE_LOSS,)]
    kept = [pick.choice(lost), *pick.sample(others, most - 1)]
    return [row for row in found if row in kept]


def _rows(seed: str) -> list[tuple[str, Ways]]:
    herd: Ways = tuple(HARMS)
    if seed == "all":
        return [(row, ways) for row in ROWS for ways in (herd, (NODE_LOSS,))]
    lost = random.Random(seed).sample(list(ROWS), NODES_LOST)
    return [(row, (NODE_LOSS,) if row in lost else herd) for row in ROWS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"row", "ways"} <= set(metafunc.fixturenames):
        config = metafunc.config
        found = chosen(config.getoption("--chaos-seed", "1"), int(config.getoption("--chaos-rows", "0")))
        ids = [f"{row}-{'+'.join(ways)}".replace(" ", "-") for row, ways in found]
        metafunc.parametrize(("row", "ways"), found, ids=ids)


@dataclass(frozen=True)
class Began:
    """When a row began, by the witness's clock and by everybody's."""

    at: float
    wall: datetime


@pytest.fixture
def witnesses(stall: Stall) -> Iterator[list[Witness]]:
    """Of a herd that is protected and has fresh checkpoints."""
    herd = stall.take()
    with ExitStack() as stack:
        yield [stack.enter_context(Witness(namespace)) for namespace in herd.namespaces]


def test_one_instance_with_its_memory_or_told_why_not(
    witnesses: list[Witness],
    row: str,
    ways: Ways,
    stall: Stall,
    matrix: dict[tuple[str, str], str],
    request: pytest.FixtureRequest,
) -> None:
    chance = random.Random(f"{request.config.getoption('--chaos-seed', '1')} {row}")
    namespaces = [witness.namespace for witness in witnesses]
    uids = {namespace: counter.pod(namespace)["metadata"]["uid"] for namespace in namespaces}
    runs = {witness.namespace: witness.last().run for witness in witnesses}
    began = Began(time.monotonic(), datetime.now(UTC))
    RESUMED.clear()
    matrix.update(dict.fromkeys(((row, way) for way in ways), "BROKEN"))
    loses_node = ways == (NODE_LOSS,)
    try:
        with ROWS[row](namespaces, chance):
            settle()
            harmed = harm(uids, loses_node=loses_node)
            if row in MOVED:
                harmed = dict.fromkeys(uids, began.at) | harmed
            wait_meanwhile(witnesses, runs, harmed, MOVED_S if loses_node or row in MOVED else MEANWHILE_S)
        ended = time.monotonic()
        for witness in witnesses:
            back(witness, harmed.get(witness.namespace, ended))
        if loses_node:
            faults.power_on(NODE)
            time.sleep(3)  # what came back there, and should not, would answer now
        counter.wait_reprise()
        told = [
            (way, *verdict_of(witness, began, unharmed=witness.namespace not in harmed and not loses_node))
            for way, witness in zip(cycle(ways), witnesses, strict=False)
        ]
    except BaseException:
        faults.power_on(NODE)  # it may be off: nothing can be removed from there then
        stall.clear()
        raise
    if loses_node:
        stall.clear()
    outcomes: dict[str, list[str]] = {}
    for way, outcome, broken in told:
        outcomes.setdefault(way, []).append("BROKEN" if broken else outcome)
    matrix.update({(row, way): max(found, key=lambda o: ("BROKEN" in o, o)) for way, found in outcomes.items()})
    all_broken = [f"{way}: {rule}" for way, _, broken in told for rule in broken]
    if all_broken:
        stall.clear()
    assert not all_broken, "\n".join(all_broken)


def cycle(ways: Ways) -> Ways:
    """A way for each of the herd."""
    return ways * (len(HARMS) // len(ways))


def harm(uids: dict[str, str], *, loses_node: bool) -> dict[str, float]:
    """Harm each by its pod's uid; when, by namespace of what was harmed."""
    if loses_node:
        at = time.monotonic()
        faults.power_off(NODE)
        return dict.fromkeys(uids, at)
    harmed = {}
    for number, (namespace, uid) in zip(HARMS.values(), uids.items(), strict=True):
        if number is not None:
            harmed[namespace] = time.monotonic()
            faults.pod_signal(uid, number)
    return harmed


def wait_meanwhile(witnesses: list[Witness], runs: dict[str, str], harmed: dict[str, float], most_s: float) -> None:
    """Until all that was harmed is back, or most_s; what needs the fault's end to come back is looked at after that."""
    began = time.monotonic()
    for witness in witnesses:
        if at := harmed.get(witness.namespace):
            with suppress(LabError):
                witness.after_gap(runs[witness.namespace], at, max(0.0, began + most_s - time.monotonic()))
    time.sleep(max(0.0, began + UNHARMED_S - time.monotonic()))


def verdict_of(witness: Witness, began: Began, *, unharmed: bool) -> tuple[str, tuple[str, ...]]:
    """How it ended, and which rules were broken."""
    declared = failovers(witness.namespace, began.wall)
    cold = any(r["state"] == "abandoned" for r in declared)
    resumed = (RESUMED[-1], RESUMED[-1] + WINDOW_S) if RESUMED else None
    verdict = judge(witness.history, since=began.at, checkpoints=good(witness.namespace), cold=cold, resumed=resumed)
    broken = list(verdict.broken)
    if unharmed and declared:
        broken.append(f"nothing was wrong with it, and a failover was declared: {declared[0]['detail']}")
    ended = "cold" if cold else "untouched" if unharmed else "restored"
    beside = f", {verdict.beside_s:.2f} s beside its successor" if verdict.beside_s else ""
    return f"{ended} {verdict.silent_s:.1f} s{beside}", tuple(f"{witness.namespace}: {rule}" for rule in broken)
