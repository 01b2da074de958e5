"""`make bench`: what was promised, measured on the lab. A table, and build/bench.json.

Baselines are run in turn with what they are compared to, in the same run: the machine is shared and noisy.
"""

import argparse
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import any_node
import history
import large
import many
import memory
import moves
import overhead
import pauses
import recovery
import starts
import store
from reprise_lab.paths import CHECKOUT
from reprise_lab.shell import LabError, poll
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rows import Row, daemons_ready

OUT = CHECKOUT / "build/bench.json"


def store_figures(progress: Progress) -> list[Row]:
    """Beside restic and borg, which Debian has."""
    missing = [name for name in ("restic", "borg") if not shutil.which(name)]
    if missing:
        raise LabError(f"{' and '.join(missing)} missing: apt-get install restic borgbackup")
    task = progress.add_task("the store, beside restic and borg", total=None)
    found = store.measure()
    progress.remove_task(task)
    return found


def console_figures(progress: Progress) -> list[Row]:
    """With a PostgreSQL of its own."""
    task = progress.add_task("the console, with a million events behind it", total=None)
    found = history.measure()
    progress.remove_task(task)
    return found


PARTS: dict[str, Callable[[Progress], list[Row]]] = {
    "pause.small_ms": pauses.small, "pause.gib_s pause.gib_vs_criu": pauses.large,
    "recovery.crash detect.crash": recovery.crashes, "recovery.bad_restore": recovery.bad_restores,
    "recovery.http": recovery.pull_state,
    "detect.hang": recovery.hangs, "checkpoint": recovery.latency,
    "recovery.node_loss": recovery.node_loss, "recovery.many": many.many, "move": moves.moves,
    "overhead": overhead.overhead, "interval_1s": overhead.each_second,
    "recovery.large staging": large.large, "engine": starts.starts, "memory": memory.memory, "store": store_figures,
    "console": console_figures, "recovery.any_node": any_node.any_of_three,
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="run the parts that measure figures with this prefix")
    only = options.parse_args().only
    rows: list[Row] = []
    failed = False
    poll(60, daemons_ready, "Reprise on every node", 0.5)
    with Progress(transient=True) as progress:
        for names, part in PARTS.items():
            if any(name.startswith(only) or only.startswith(name) for name in names.split()):
                try:
                    found = [row for row in part(progress) if row.name.startswith(only)]
                except (LabError, OSError) as error:  # one part that fails must not cost the others' figures
                    failed = True
                    found = [Row(names.split()[0], None, "", "", "", f"NOT MEASURED: {error}")]
                for row in found:
                    progress.console.print(
                        f"{row.name}: {told(row)} (goal {row.goal or 'none'}; beside it: {row.baseline or 'none'})"
                    )
                rows += found
                keep(rows)
    table = Table("figure", "value", "goal", "beside it", "how")
    for row in rows:
        table.add_row(row.name, told(row), row.goal, row.baseline, row.how)
    Console().print(table)
    print(f"written to {OUT.relative_to(CHECKOUT)}")
    if failed:
        raise SystemExit("a part of the bench failed: see NOT MEASURED above")


def told(row: Row) -> str:
    return "-" if row.value is None else f"{row.value:.3g} {row.unit}"


def keep(rows: list[Row]) -> None:
    """After each part: a bench that is interrupted has measured what it has."""
    OUT.parent.mkdir(exist_ok=True)
    machine = {
        "cores": os.cpu_count(), "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "kernel": platform.release(), "python": platform.python_version(), "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    OUT.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
