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
from reprise.cli.options import Everywhere, Selector
from reprise.cli.output import TABLE, Format, Output, named, print_data, say, stdout, table
from reprise.cli.ports import Sent, Session
from reprise.cli.rendering import Cell, plain
from reprise.cli.scope import Scope, scope
from reprise.cli.when import moment
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import BY_TYPE
from rich.text import Text

app = typer.Typer(no_args_is_help=True, help="What happens, live; what happened; what an event looks like.")
RETRY_S = 2.0
WIDTHS = (18, 20, 28, 14)

Type = Annotated[str, typer.Option("--type", help="Only these, such as failover.completed: `reprise events schema` lists them.")]
Workload = Annotated[str, typer.Option("--workload", help="Only of this workload.")]
Node = Annotated[str, typer.Option("--node", help="Only about this node.")]
Since = Annotated[str, typer.Option("--since", help="An age (90s, 2h, 3d) or a moment (2026-11-24T20:14:33Z).")]


def tail(
    context: typer.Context, type_: Type = "", workload: Workload = "", node: Node = "", everywhere: Everywhere = False,
    selector: Selector = "", output: Output = TABLE,
) -> None:  # fmt: skip
    """Events as they happen; Ctrl-C ends it. -o json: one CloudEvent a line. None is missed while the console is away."""
    chosen = scope(context.obj, everywhere=everywhere, selector=selector, default_all=True)
    wanted = _wanted(type_, chosen, workload, node)
    printer = Printer(output)
    for sent in _live(context.obj, wanted):
        if _takes(chosen, sent.event):
            printer.show(sent.event)


def replay(
    context: typer.Context, since: Since = "1h", type_: Type = "", workload: Workload = "", node: Node = "",
    everywhere: Everywhere = False, selector: Selector = "", output: Output = TABLE,
) -> None:  # fmt: skip
    """What the stream holds since then, oldest first. -o json: one CloudEvent a line. Nothing is published again."""
    chosen = scope(context.obj, everywhere=everywhere, selector=selector, default_all=True)
    wanted = _wanted(type_, chosen, workload, node)
    try:
        begin = moment(since, datetime.now(UTC))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    session: Session = context.obj
    printer, count = Printer(output), 0
    with session.stream() as stream:
        for sent in stream.replay(wanted.subject, begin):
            if wanted.takes(sent.event) and _takes(chosen, sent.event):
                printer.show(sent.event)
                count += 1
    say(f"{count} events since {begin.astimezone().isoformat(sep=' ', timespec='seconds')}.", "dim")


Name = Annotated[str, typer.Argument(metavar="[TYPE]", help="Such as failover.completed; all types are listed if not given.")]


def schema(context: typer.Context, name: Name = "", output: Output = TABLE) -> None:
    """The JSON schema of an event's data, or a list of all events."""
    if not name:
        told = {event: (model.__doc__ or "").strip() for event, model in BY_TYPE.items()}
        if output.is_data:
            print_data(told, output)
        elif output.named:
            named(told)
        else:
            stdout().print(table(("EVENT", "SAYS"), [[Cell(event, "bold"), Cell(text)] for event, text in told.items()]))
        return
    _check_type(name)
    print_data(BY_TYPE[name].model_json_schema(mode="serialization"), output if output.is_data else Format("json"))


def _wanted(type_: str, chosen: Scope, workload: str, node: str) -> Wanted:
    if type_:
        _check_type(type_)
    return Wanted(type_, chosen.namespace or "", workload, node)


def _takes(chosen: Scope, event: dict[str, Any]) -> bool:
    """The namespace was asked for already; the labels are known here alone."""
    return chosen.chosen is None or chosen.event(event)


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
        if self._form.form == "json":
            typer.echo(json.dumps(event))
        elif self._form.named:
            named([f"event/{event.get('id')}"])
        elif self._form.form == "jsonpath":
            print_data(event, self._form)
        elif self._form.form == "yaml":
            typer.echo("---\n" + yaml.safe_dump(event, sort_keys=False, allow_unicode=True), nl=False)
        else:
            self._line(event)

    def _line(self, event: dict[str, Any]) -> None:
        out = stdout()
        if not self._headed:
            self._headed = True
            out.print(_columned([Cell(name, "dim") for name in EVENT_COLUMNS]))
        wide = self._form.wide
        out.print(_columned(event_row(event)), overflow="fold" if wide else "ellipsis", no_wrap=not wide)


def _columned(cells: list[Cell]) -> Text:
    line = Text()
    for cell, width in zip(cells, (*WIDTHS, 0), strict=True):
        line.append(plain(cell.text).ljust(width) + "  ", cell.style or None)
    line.rstrip()
    return line
