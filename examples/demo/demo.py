"""`make demo`: a counter that lives in memory survives a crash, a hang and a lost node, live in this terminal. `make
demo-pull-state`: so does one that hands out its state, without CRIU.

Every number is measured from outside the cluster by a witness that asks the app each 10 ms.
"""

import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise_lab import counter, faults, listing
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import Answer, Witness
from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

Send = Callable[["Demo"], object]


@dataclass(frozen=True)
class Fault:
    """shown: as the table has it; cause: of the failover that it makes; seconds: in which it has to be over."""

    shown: str
    cause: str
    do: Send
    seconds: float


@dataclass(frozen=True)
class Demo:
    """app: the example. by_service: the witness asks its Service, as its users do: a process without its state is not Ready."""

    app: str
    title: str
    faults: tuple[Fault, ...]
    protects: str
    deploys: str
    by_service: bool = False

    @property
    def namespace(self) -> str:
        return "demo" if self.app == counter.APP else f"demo-{self.app}"

    def witness(self) -> Witness:
        service = listing.service_address(self.app, self.namespace) if self.by_service else ""
        return Witness(self.namespace, f"app={self.app}", service=service)

    def pod(self) -> dict[str, Any]:
        return counter.pod(self.namespace, self.app)


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

    def __init__(self, demo: Demo, witness: Witness, console: Console) -> None:
        self._demo, self._witness, self._console = demo, witness, console
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
            self._checkpoint = newest_checkpoint(self._demo.namespace)
        last = self._witness.history[-1] if self._witness.history else None
        quiet = time.monotonic() - last.at if last else 0.0
        if last is None:
            state = Text(f"waiting for {self._demo.app}", style="dim")
        elif quiet > 0.3:
            state = Text(f"no answer for {quiet:.1f} s (last count {last.count})", style="bold red")
        else:
            state = Text.assemble(("count ", "dim"), (str(last.count), "bold green"), f"   run {last.run} at {last.address}")
        panel = Panel(Group(state, Text(self._checkpoint, style="dim")), title=f"examples/{self._demo.app}", width=96)
        return Group(panel, *(Text.from_markup(line) for line in self._told[-18:]))


def newest_checkpoint(namespace: str) -> str:
    try:
        rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=1", seconds=0)
    except LabError:
        return ""
    if not rows:
        return "no checkpoint yet"
    row = rows[0]
    return f"newest checkpoint {row['checkpoint_id']}: {size(row['size_bytes'] or 0)}, {paused(row)}"


def size(amount: int) -> str:
    return f"{amount / 1e6:.1f} MB" if amount >= 100_000 else f"{amount} bytes"


def paused(row: Mapping[str, Any]) -> str:
    if row["pause_s"] is None and not row["frozen_time_us"]:
        return "the app did not pause for it"
    return f"the app paused {(row['pause_s'] or 0) * 1000:.0f} ms (CRIU {(row['frozen_time_us'] or 0) / 1000:.0f})"


def act(demo: Demo, screen: Screen, witness: Witness, fault: Fault) -> Result:
    """Break something, and wait until the same run answers again."""
    namespace = demo.namespace
    newest = counter.console(f"checkpoints?namespace={namespace}&limit=1")
    counter.wait_checkpoint(namespace, after=newest[0]["checkpoint_id"] if newest else "")
    time.sleep(1.5)
    before = witness.last()
    screen.say(f"[bold]{fault.shown}[/bold] at count {before.count}")
    began = time.monotonic()
    fault.do(demo)
    done = time.monotonic()
    before = next((a for a in reversed(witness.history) if a.at <= done), before)
    after = witness.after_gap(before.run, began, fault.seconds)
    before = next(a for a in reversed(witness.history) if a.at < after.at)
    blank = len(witness.runs(began) - {before.run})
    row = counter.wait_failover(namespace, fault.cause)
    if row["state"] != "completed":
        raise LabError(f"{row['reason']}: {row['message']}. {row['remedy']}")
    where = demo.pod() if fault.cause != "node-loss" else wait_single(demo)
    place = f"{where['spec']['nodeName']}/{where['metadata']['name']}"
    noticed_s = noticed(row, began)
    screen.say(f"  back with count [green]{after.count}[/green] after {after.at - began:.2f} s on {place} ({row['path']})")
    return Result(fault.shown, before, after, blank, noticed_s, after.at - began, where["spec"]["nodeName"], row["failover_id"])


def noticed(row: dict[str, object], began: float) -> float:
    """From the fault to failover.declared, by this machine's clock, which the nodes share."""
    declared = datetime.fromisoformat(str(row["declared_at"])).timestamp()
    return declared - (time.time() - (time.monotonic() - began))


def wait_single(demo: Demo) -> dict[str, Any]:
    poll(20, lambda: len(counter.pods(demo.namespace, demo.app)) == 1, f"one pod of {demo.app} to be left")
    return demo.pod()


def send(number: int) -> Send:
    return lambda demo: faults.process_signal(demo.namespace, demo.pod()["metadata"]["name"], demo.app, number)


def power_off(demo: Demo) -> None:
    faults.power_off(str(demo.pod()["spec"]["nodeName"]))


KILLED = Fault("killed (SIGKILL)", "crash", send(signal.SIGKILL), 30)
HUNG = Fault("hung (SIGSTOP)", "hang", send(signal.SIGSTOP), 40)
POWERED_OFF = Fault("node powered off", "node-loss", power_off, 60)
DEMOS = (
    Demo(
        "counter", "The same process, three times back", (KILLED, HUNG, POWERED_OFF),
        "from now on its kubelet's own restart is a restore of its newest checkpoint", "protected by two annotations",
    ),
    Demo(
        "pull-state", "A new process, twice with the old one's state", (KILLED, POWERED_OFF),
        "from now on a new process is given the newest state before its Service sends anybody to it",
        "which hands out its state: no CRIU", by_service=True,
    ),
)  # fmt: skip


def table(demo: Demo, results: list[Result]) -> Table:
    """It fits into 80 columns."""
    shown = Table("fault", title=demo.title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("count", "after", "lost", "blanks", "noticed", "serves after"):
        shown.add_column(name, justify="right")
    shown.add_column("on")
    for r in results:
        shown.add_row(r.fault, str(r.before.count), str(r.after.count), str(max(r.lost, 0)), str(r.blank),
                      f"{r.noticed_s:.2f} s", f"{r.serving_s:.2f} s", r.node)  # fmt: skip
    return shown


def address(service: str) -> str:
    return kubectl("-n", "reprise-system", "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")


def main(app: str) -> int:
    demo = next(each for each in DEMOS if each.app == app)
    console = Console()
    console.print(f"Deploying examples/{app}, {demo.deploys}", style="dim")
    counter.deploy(demo.namespace, app=app)
    results: list[Result] = []
    with demo.witness() as witness:
        screen = Screen(demo, witness, console)
        if console.is_terminal:
            screen.live.start()
        try:
            screen.say("counting; waiting for its first checkpoint, for which it is not restarted")
            counter.wait_protected(demo.namespace, app=app)
            counter.wait_checkpoint(demo.namespace)
            screen.say(f"protected: {demo.protects}")
            for fault in demo.faults:
                results.append(act(demo, screen, witness, fault))
            time.sleep(1)
        finally:
            if console.is_terminal:
                screen.live.stop()
    console.print(table(demo, results))
    pages = f"http://{address('console')}:8080"
    console.print(f"What happened, why that checkpoint and that node, and the trace, in the console: {pages}", soft_wrap=True)
    for result in results:
        console.print(f"  {result.fault:18} {pages}/failovers/{result.failover}", soft_wrap=True)
    console.print(
        "These addresses are of this machine alone. `make down` ends the lab; `.venv/bin/reprise-lab node start n1` gives the "
        "lost node its power back", style="dim", soft_wrap=True,
    )  # fmt: skip
    return 0 if len(results) == len(demo.faults) and all(r.blank == 0 for r in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else counter.APP))
    except LabError as error:
        sys.exit(f"error: the demo failed: {error}")
