"""`make demo`: a counter that lives in memory survives a crash, a hang and a lost node, live in this terminal.

Every number is measured from outside the cluster by a witness that asks the counter each 10 ms.
"""

import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from reprise_lab import counter, faults
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import Answer, Witness
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

NAMESPACE = "demo"


@dataclass(frozen=True)
class Result:
    """One fault and what became of the counter."""

    fault: str
    before: Answer
    after: Answer
    blank: int
    noticed_s: float
    serving_s: float
    node: str
    failover: str

    @property
    def lost(self) -> int:
        return self.before.count - self.after.count


class Screen:
    """The live part: what the counter says now, its checkpoints, and what is being done to it."""

    def __init__(self, witness: Witness, console: Console) -> None:
        self._witness, self._console = witness, console
        self._told: list[str] = []
        self._checkpoint, self._asked_at = "", 0.0
        self.live = Live(get_renderable=self._render, console=console, refresh_per_second=8)

    def say(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')}  {text}"
        self._told.append(line)
        if not self._console.is_terminal:
            print(Text.from_markup(line).plain, flush=True)

    def _render(self) -> Group:
        if time.monotonic() - self._asked_at > 1:
            self._asked_at = time.monotonic()
            self._checkpoint = newest_checkpoint()
        last = self._witness.history[-1] if self._witness.history else None
        quiet = time.monotonic() - last.at if last else 0.0
        if last is None:
            state = Text("waiting for the counter", style="dim")
        elif quiet > 0.3:
            state = Text(f"no answer for {quiet:.1f} s (last count {last.count})", style="bold red")
        else:
            state = Text.assemble(("count ", "dim"), (str(last.count), "bold green"), f"   run {last.run} at {last.address}")
        panel = Panel(Group(state, Text(self._checkpoint, style="dim")), title="examples/counter", width=96)
        return Group(panel, *(Text.from_markup(line) for line in self._told[-18:]))


def newest_checkpoint() -> str:
    try:
        rows = counter.console(f"checkpoints?namespace={NAMESPACE}&state=stored&limit=1", seconds=0)
    except LabError:
        return ""
    if not rows:
        return "no checkpoint yet"
    row = rows[0]
    size_mb, pause_ms, criu_ms = (row["size_bytes"] or 0) / 1e6, (row["pause_s"] or 0) * 1000, (row["frozen_time_us"] or 0) / 1000
    return f"newest checkpoint {row['checkpoint_id']}: {size_mb:.1f} MB, the app paused {pause_ms:.0f} ms (CRIU {criu_ms:.0f})"


def act(screen: Screen, witness: Witness, fault: str, cause: str, do: Callable[[], object], seconds: float) -> Result:
    """Break something, and wait until the same run answers again."""
    newest = counter.console(f"checkpoints?namespace={NAMESPACE}&limit=1")
    counter.wait_checkpoint(NAMESPACE, after=newest[0]["checkpoint_id"] if newest else "")
    time.sleep(1.5)
    before = witness.last()
    screen.say(f"[bold]{fault}[/bold] at count {before.count}")
    began = time.monotonic()
    do()
    done = time.monotonic()
    before = next((a for a in reversed(witness.history) if a.at <= done), before)
    after = witness.after_gap(before.run, began, seconds)
    before = next(a for a in reversed(witness.history) if a.at < after.at)
    blank = len(witness.runs(began) - {before.run})
    row = counter.wait_failover(NAMESPACE, cause)
    if row["state"] != "completed":
        raise LabError(f"{row['reason']}: {row['message']}. {row['remedy']}")
    where = counter.pod(NAMESPACE) if cause != "node-loss" else wait_single()
    place = f"{where['spec']['nodeName']}/{where['metadata']['name']}"
    noticed_s = noticed(row, began)
    screen.say(f"  back with count [green]{after.count}[/green] after {after.at - began:.2f} s on {place} ({row['path']})")
    return Result(fault, before, after, blank, noticed_s, after.at - began, where["spec"]["nodeName"], row["failover_id"])


def noticed(row: dict[str, object], began: float) -> float:
    """From the fault to failover.declared, by this machine's clock, which the nodes share."""
    declared = datetime.fromisoformat(str(row["declared_at"])).timestamp()
    return declared - (time.time() - (time.monotonic() - began))


def wait_single() -> dict[str, object]:
    poll(20, lambda: len(counter.pods(NAMESPACE)) == 1, "one counter to be left")
    return counter.pod(NAMESPACE)


def send(number: int) -> None:
    faults.process_signal(NAMESPACE, counter.pod(NAMESPACE)["metadata"]["name"], "counter", number)


def power_off() -> None:
    faults.power_off(str(counter.pod(NAMESPACE)["spec"]["nodeName"]))


def table(results: list[Result]) -> Table:
    """It fits into 80 columns."""
    shown = Table("fault", title="The same process, three times back", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("count", "after", "lost", "blanks", "noticed", "serves after"):
        shown.add_column(name, justify="right")
    shown.add_column("on")
    for r in results:
        shown.add_row(r.fault, str(r.before.count), str(r.after.count), str(max(r.lost, 0)), str(r.blank),
                      f"{r.noticed_s:.2f} s", f"{r.serving_s:.2f} s", r.node)  # fmt: skip
    return shown


def address(service: str) -> str:
    return kubectl("-n", "reprise-system", "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")


def main() -> int:
    console = Console()
    console.print("Deploying examples/counter, protected by two annotations", style="dim")
    counter.deploy(NAMESPACE)
    results: list[Result] = []
    with Witness(NAMESPACE) as witness:
        screen = Screen(witness, console)
        if console.is_terminal:
            screen.live.start()
        try:
            screen.say("counting; waiting for its first checkpoint, for which it is not restarted")
            counter.wait_protected(NAMESPACE)
            counter.wait_checkpoint(NAMESPACE)
            screen.say("protected: from now on its kubelet's own restart is a restore of its newest checkpoint")
            for fault, cause, do, seconds in (
                ("killed (SIGKILL)", "crash", lambda: send(signal.SIGKILL), 30),
                ("hung (SIGSTOP)", "hang", lambda: send(signal.SIGSTOP), 40),
                ("node powered off", "node-loss", power_off, 60),
            ):
                results.append(act(screen, witness, fault, cause, do, seconds))
            time.sleep(1)
        finally:
            if console.is_terminal:
                screen.live.stop()
    console.print(table(results))
    pages = f"http://{address('console')}:8080"
    console.print(f"What happened, why that checkpoint and that node, and the trace, in the console: {pages}", soft_wrap=True)
    for result in results:
        console.print(f"  {result.fault:18} {pages}/failovers/{result.failover}", soft_wrap=True)
    console.print(
        "These addresses are of this machine alone. `make down` ends the lab; `.venv/bin/reprise-lab node start n1` gives the "
        "lost node its power back", style="dim", soft_wrap=True,
    )  # fmt: skip
    return 0 if len(results) == 3 and all(r.blank == 0 for r in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f"error: the demo failed: {error}")
