"""`reprise plan NODE`: what would happen to each protected workload if that node were lost or drained."""

from typing import Annotated, Any

import typer
from reprise.cli.options import Everywhere, Selector
from reprise.cli.output import TABLE, Output, named, print_data, say, stdout, table
from reprise.cli.ports import Session
from reprise.cli.rendering import Cell, address, said
from reprise.cli.scope import scope
from reprise.contracts.humane import NONE, plural, seconds
from reprise.contracts.words import FATE

COLUMNS = ("WORKLOAD", "IF LOST", "ON", "SERVES AGAIN IN", "WORK LOST", "IF DRAINED", "BECAUSE")
Node = Annotated[str, typer.Argument(metavar="NODE", help="The node to do without.")]


def plan(
    context: typer.Context, node: Node, everywhere: Everywhere = False, selector: Selector = "", output: Output = TABLE
) -> None:
    """What would happen to each protected workload on a node if it were lost or drained now, worst first."""
    session: Session = context.obj
    chosen = scope(session, everywhere=everywhere, selector=selector, default_all=True)
    with session.console() as console:
        told = console.forecast(node)
    rows = chosen.rows(told["workloads"])
    if output.is_data:
        print_data(told | {"workloads": rows}, output)
        return
    if output.named:
        named(dict.fromkeys(address(row) for row in rows))
        return
    if not rows:
        say(f"Nothing that is protected runs on {node}.")
        return
    columns = [*COLUMNS, *(["CONTAINER", "CHECKPOINT"] if output.wide else [])]
    stdout().print(table(columns, [_row(row, wide=output.wide) for row in rows]))
    how = "The restorer's own decision from what is so now; the times are estimates."
    guess = "Estimated from what the events told: the restorer does not answer. It decides then, from what is so then."
    say(how if told["decided"] else guess, "dim")
    stays = sum(row["outcome"] == "stays" for row in rows)
    if stays:
        say(f"{plural(stays, 'container')} would not come back: correct that before you drain {node}.", "yellow")


def _row(row: dict[str, Any], *, wide: bool) -> list[Cell]:
    stays = row["outcome"] == "stays"
    where = row["to"] or (NONE if stays else "a node chosen then")
    lost = NONE if stays and row["checkpoint_id"] else "all" if stays else seconds(row["lost_s"])
    drained = (
        Cell("stays and runs on", "yellow") if stays else Cell(f"moves{' to ' + row['to'] if row['to'] else ''}, loses nothing")
    )
    cells = [
        Cell(address(row), "bold"), said(FATE[row["outcome"]]), Cell(where), Cell(seconds(row["back_s"])), Cell(lost), drained,
        Cell(row["because"]),
    ]  # fmt: skip
    return [*cells, Cell(row["container"]), Cell(row["checkpoint_id"] or NONE)] if wide else cells
