"""`reprise events`: what happens, what happened, and what an event looks like."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
import yaml
from reprise.cli.event_view import EVENT_COLUMNS, Wanted, event_row
from reprise.cli.names import suggestion
from reprise.cli.output import Format, Output, print_data, say, stdout, table
from reprise.cli.ports import Sent, Session
from reprise.cli.rendering import Cell, plain
from reprise.cli.when import moment
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import BY_TYPE
from rich.text import Text

app = typer.Typer(no_args_is_help=True, help="What happens, live; what happened; what an event looks like.")
RETRY_S = 2.0
WIDTHS = (18, 20, 28, 14)

Type = Annotated[str, typer.Option("--type", help="Only these, such as failover.completed: `reprise events schema` lists them.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Only of this namespace.")]
Workload = Annotated[str, typer.Option("--workload", help="Only of this workload.")]
Node = Annotated[str, typer.Option("--node", help="Only about this node.")]
Since = Annotated[str, typer.Option("--since", help="An age (90s, 2h, 3d) or a moment (2026-11-24T20:14:33Z).")]


@app.command()
def tail(
    context: typer.Context, type_: Type = "", namespace: Namespace = "", workload: Workload = "", node: Node = "",
    output: Output = Format.table,
) -> None:  # fmt: skip
    """Events as they happen; Ctrl-C ends it. -o json: one CloudEvent a line. None is missed while the console is away."""
    wanted = _wanted(type_, namespace, workload, node)
    printer = Printer(output)
    for sent in _live(context.obj, wanted):
        printer.show(sent.event)


@app.command()
def replay(
    context: typer.Context, since: Since = "1h", type_: Type = "", namespace: Namespace = "", workload: Workload = "",
    node: Node = "", output: Output = Format.table,
) -> None:  # fmt: skip
    """What the stream holds since then, oldest first. -o json: one CloudEvent a line. Nothing is published again."""
    wanted = _wanted(type_, namespace, workload, node)
    try:
        begin = moment(since, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    session: Session = context.obj
    printer, count = Printer(output), 0
    with session.stream() as stream:
        for sent in stream.replay(wanted.subject, begin):
            if wanted.takes(sent.event):
                printer.show(sent.event)
                count += 1
    say(f"{count} events since {begin.astimezone().isoformat(sep=' ', timespec='seconds')}.", "dim")


Name = Annotated[str, typer.Argument(metavar="[TYPE]", help="Such as failover.completed; all types are listed if not given.")]


@app.command()
def schema(name: Name = "", output: Output = Format.table) -> None:
    """The JSON schema of an event's data, or a list of all events."""
    if not name:
        told = {event: (model.__doc__ or "").strip() for event, model in BY_TYPE.items()}
        if output.is_data:
            print_data(told, output)
        else:
            stdout().print(table(("EVENT", "SAYS"), [[Cell(event, "bold"), Cell(text)] for event, text in told.items()]))
        return
    _check_type(name)
    print_data(BY_TYPE[name].model_json_schema(mode="serialization"), output if output.is_data else Format.json)


def _wanted(type_: str, namespace: str, workload: str, node: str) -> Wanted:
    if type_:
        _check_type(type_)
    return Wanted(type_, namespace, workload, node)


def _check_type(name: str) -> None:
    if name not in BY_TYPE:
        near = suggestion(name, BY_TYPE)
        raise typer.BadParameter(f"there is no event {name!r}; {near or 'see `reprise events schema`'}")


def _live(session: Session, wanted: Wanted) -> Iterator[Sent]:
    """Goes on after the last event that was seen when the connection breaks. Raises what is so from the start."""
    place, begun = "", False
    while True:
        try:
            with session.console() as console:
                for sent in console.tail(wanted.filters, place):
                    begun, place = True, sent.place or place
                    yield sent
        except RepriseError as error:
            if not (begun and error.retryable):
                raise
            say(f"{error}; trying again", "yellow")
        time.sleep(RETRY_S)


class Printer:
    """One event at once, as the user wants it: a stream has no end that a table could be fitted to."""

    def __init__(self, form: Format) -> None:
        self._form, self._headed = form, False

    def show(self, event: dict[str, Any]) -> None:
        if self._form is Format.json:
            typer.echo(json.dumps(event))
        elif self._form is Format.yaml:
            typer.echo("---\n" + yaml.safe_dump(event, sort_keys=False, allow_unicode=True), nl=False)
        else:
            self._line(event)

    def _line(self, event: dict[str, Any]) -> None:
        out = stdout()
        if not self._headed:
            self._headed = True
            out.print(_columned([Cell(name, "dim") for name in EVENT_COLUMNS]))
        wide = self._form is Format.wide
        out.print(_columned(event_row(event)), overflow="fold" if wide else "ellipsis", no_wrap=not wide)


def _columned(cells: list[Cell]) -> Text:
    line = Text()
    for cell, width in zip(cells, (*WIDTHS, 0), strict=True):
        line.append(plain(cell.text).ljust(width) + "  ", cell.style or None)
    line.rstrip()
    return line
