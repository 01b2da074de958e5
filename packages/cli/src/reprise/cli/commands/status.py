"""`reprise status`: what would happen if something failed now."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from reprise.cli.options import Everywhere, Selector
from reprise.cli.output import TABLE, Format, Output, named, print_data, say, stdout, table
from reprise.cli.ports import Session
from reprise.cli.rendering import address, reasons, workload_columns, workload_row
from reprise.cli.scope import Scope, scope
from reprise.contracts.errors import RepriseError
from rich.console import Group
from rich.live import Live
from rich.text import Text

REFRESH_S = 2.0

Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on showing, every two seconds; Ctrl-C ends it.")]


def status(
    context: typer.Context, everywhere: Everywhere = False, selector: Selector = "", watch: Watch = False, output: Output = TABLE
) -> None:
    """Every protected workload: health, age of its recovery point, standby, expected recovery time, last failover."""
    session: Session = context.obj
    if watch and (output.is_data or output.named):
        raise typer.BadParameter("--watch shows a table: leave -o out, or use -o wide")
    chosen = scope(session, everywhere=everywhere, selector=selector)
    if watch:
        _watch(session, chosen, output)
        return
    with session.console() as console:
        rows = chosen.rows(console.workloads(chosen.namespace))
    if output.is_data:
        print_data(rows, output)
    elif output.named:
        named(dict.fromkeys(address(row) for row in rows))
    elif not rows:
        say(_nothing(chosen))
    else:
        stdout().print(_view(rows, chosen, output))


def _view(rows: list[dict[str, Any]], chosen: Scope, output: Format, note: str = "") -> Group:
    """The table, below it what is not well and why."""
    shape = {"namespace": chosen.namespace is None, "wide": output.wide}
    now = datetime.now(UTC)
    lines = [Text(line, style="yellow") for line in (*reasons(rows), note) if line]
    body = table(workload_columns(**shape), [workload_row(row, now, **shape) for row in rows])
    return Group(body, *([Text("")] if lines else []), *lines)


def _nothing(chosen: Scope) -> str:
    where = "in any namespace" if chosen.namespace is None else f"in namespace {chosen.namespace} (-A shows all)"
    labels = " with these labels" if chosen.chosen is not None else ""
    return f"No protected workload{labels} {where}. `reprise protect NAME` protects one."


def _watch(session: Session, chosen: Scope, output: Format) -> None:
    with Live(console=stdout(), auto_refresh=False) as live:
        for rows, trouble in _polled(session, chosen):
            note = trouble or ("" if rows else _nothing(chosen))
            live.update(_view(rows, chosen, output, note), refresh=True)
            time.sleep(REFRESH_S)


def _polled(session: Session, chosen: Scope) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """The newest rows; while the console is away the last ones, and why. A connection that broke is made anew.

    Raises what is so from the start.
    """
    rows: list[dict[str, Any]] | None = None
    while True:
        try:
            with session.console() as console:
                while True:
                    rows = chosen.rows(console.workloads(chosen.namespace))
                    yield rows, ""
        except RepriseError as error:
            if rows is None:
                raise
            yield rows, f"as of before: {error}"
