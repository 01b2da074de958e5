"""`reprise status`: what would happen if something failed now."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from reprise.cli.output import Format, Output, print_data, say, stdout, table
from reprise.cli.ports import Session
from reprise.cli.rendering import reasons, workload_columns, workload_row
from reprise.contracts.errors import RepriseError
from rich.console import Group
from rich.live import Live
from rich.text import Text

REFRESH_S = 2.0

Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Whose workloads; your context's if not given.")]
Everywhere = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")]
Watch = Annotated[bool, typer.Option("-w", "--watch", help="Go on showing, every two seconds; Ctrl-C ends it.")]


def status(
    context: typer.Context, namespace: Namespace = "", everywhere: Everywhere = False, watch: Watch = False,
    output: Output = Format.table,
) -> None:  # fmt: skip
    """Every protected workload: health, age of its recovery point, standby, expected recovery time, last failover."""
    session: Session = context.obj
    if namespace and everywhere:
        raise typer.BadParameter("-n and -A exclude each other")
    if watch and output.is_data:
        raise typer.BadParameter("--watch shows a table: leave -o out, or use -o wide")
    chosen = None if everywhere else namespace or session.namespace()
    if namespace:
        session.require_namespace(namespace)
    if watch:
        _watch(session, chosen, output)
        return
    with session.console() as console:
        rows = console.workloads(chosen)
    if output.is_data:
        print_data(rows, output)
    elif not rows:
        say(_nothing(chosen))
    else:
        stdout().print(_view(rows, chosen, output))


def _view(rows: list[dict[str, Any]], namespace: str | None, output: Format, note: str = "") -> Group:
    """The table, below it what is not well and why."""
    shape = {"namespace": namespace is None, "wide": output is Format.wide}
    now = datetime.now(UTC)
    lines = [Text(line, style="yellow") for line in (*reasons(rows), note) if line]
    body = table(workload_columns(**shape), [workload_row(row, now, **shape) for row in rows])
    return Group(body, *([Text("")] if lines else []), *lines)


def _nothing(namespace: str | None) -> str:
    where = "in any namespace" if namespace is None else f"in namespace {namespace} (-A shows all)"
    return f"No protected workload {where}. `reprise protect NAME` protects one."


def _watch(session: Session, namespace: str | None, output: Format) -> None:
    with Live(console=stdout(), auto_refresh=False) as live:
        for rows, trouble in _polled(session, namespace):
            note = trouble or ("" if rows else _nothing(namespace))
            live.update(_view(rows, namespace, output, note), refresh=True)
            time.sleep(REFRESH_S)


def _polled(session: Session, namespace: str | None) -> Iterator[tuple[list[dict[str, Any]], str]]:
    """The newest rows; while the console is away the last ones, and why. A connection that broke is made anew.

    Raises what is so from the start.
    """
    rows: list[dict[str, Any]] | None = None
    while True:
        try:
            with session.console() as console:
                while True:
                    rows = console.workloads(namespace)
                    yield rows, ""
        except RepriseError as error:
            if rows is None:
                raise
            yield rows, f"as of before: {error}"
