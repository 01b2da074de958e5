"""What the engine costs where nothing is protected: starts through it beside starts by runc alone, in turn."""

import os
import re

from reprise_lab.paths import CHECKOUT
from reprise_lab.shell import LabError, run
from rich.progress import Progress
from rows import Row

STARTS = 1000
TEST = "TestBenchUnprotectedStarts"
TOLD = re.compile(r"(\d+) pairs, engine (\S+), runc (\S+), each (\S+) more")
UNITS = {"\u00b5s": 0.001, "ms": 1.0, "s": 1000.0}


def starts(progress: Progress) -> list[Row]:
    """The engine's own integration bench, in a throw-away root file system with real runc."""
    task = progress.add_task(f"{STARTS} unprotected starts, in pairs", total=None)
    script = CHECKOUT / "engine/integration/run.sh"
    said = run("bash", script, "v2", f"-test.run=^{TEST}$", "-test.v", env=os.environ | {"STARTS": str(STARTS)}, limit_s=1800)
    found = TOLD.search(said)
    if not found:
        raise LabError(f"{TEST} told no figures: {said[-300:]}")
    progress.remove_task(task)
    pairs, ours, theirs, more = found.groups()
    return [Row("engine.start_ms", _ms(more), "ms", "<= 2", f"runc alone {theirs}, through the engine {ours}",
                f"median difference of {pairs} pairs: create, state and start of an unprotected container")]  # fmt: skip


def _ms(told: str) -> float:
    """Of a duration as Go prints it, below a minute."""
    found = re.fullmatch(r"(-?[\d.]+)(\u00b5s|ms|s)", told)
    if not found:
        raise LabError(f"not a duration: {told}")
    return float(found[1]) * UNITS[found[2]]
