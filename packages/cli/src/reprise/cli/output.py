"""Data to standard output as the user wants it; all else to standard error, so that pipes get data only."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
import yaml
from reprise.cli import jsonpath
from reprise.cli.jsonpath import Piece
from reprise.cli.rendering import Cell, plain
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

OK, ERROR, USAGE, FINDINGS = 0, 1, 2, 3
PIPE_WIDTH = 1000


FORMS = ("table", "wide", "name", "json", "yaml")


@dataclass(frozen=True)
class Format:
    """form: one of FORMS, or jsonpath with its template, parsed."""

    form: str = "table"
    template: tuple[Piece, ...] = ()

    @property
    def wide(self) -> bool:
        return self.form == "wide"

    @property
    def named(self) -> bool:
        return self.form == "name"

    @property
    def is_data(self) -> bool:
        return self.form in ("json", "yaml", "jsonpath")


def parse_format(text: "str | Format") -> Format:
    """Raises typer.BadParameter."""
    if isinstance(text, Format):
        return text
    form, _, template = text.partition("=")
    if form in FORMS and not template:
        return Format(form)
    if form != "jsonpath" or not template:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(FORMS)} and jsonpath=TEMPLATE")
    try:
        return Format(form, tuple(jsonpath.parse(template)))
    except jsonpath.BadTemplate as error:
        raise typer.BadParameter(f"jsonpath: {error}") from error


TABLE = Format()
Output = Annotated[
    Format,
    typer.Option(
        "-o",
        "--output",
        parser=parse_format,
        metavar="FORMAT",
        show_default=False,
        help="table, wide, name, json, yaml or jsonpath=TEMPLATE.",
        autocompletion=lambda: [*FORMS, "jsonpath="],
    ),
]


def named(names: Iterable[str]) -> None:
    """-o name: one a line, as other commands take them."""
    for name in names:
        typer.echo(name)


def nameless(output: Format) -> None:
    """For what has no names. Raises typer.BadParameter."""
    if output.named:
        raise typer.BadParameter("-o name: nothing here has a name")


def stdout() -> Console:
    """In a pipe no line is broken or cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH, soft_wrap=True)


def stderr() -> Console:
    return Console(stderr=True, highlight=False)


def answers() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty()


def print_data(data: Any, form: Format) -> None:
    """As JSON, YAML, or by a template, which ends the line itself if it wants to."""
    plainly = json.loads(json.dumps(data, default=str))
    if form.form == "json":
        typer.echo(json.dumps(plainly, indent=2))
    elif form.form == "yaml":
        typer.echo(yaml.safe_dump(plainly, sort_keys=False, allow_unicode=True), nl=False)
    else:
        text = jsonpath.render(list(form.template), plainly)
        typer.echo(text, nl=not text.endswith("\n"))


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Table:
    """Without lines, as kubectl's. Names from the cluster are text, never markup."""
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(plain(cell.text), style=cell.style) for cell in row))
    return made


def unheaded(rows: Iterable[Sequence[Cell]]) -> Table:
    """Names and values."""
    made = table(("", ""), rows)
    made.show_header = False
    return made


def say(text: str, style: str = "") -> None:
    """One remark to standard error."""
    stderr().print(Text(plain(text), style=style), soft_wrap=True)


def titled(title: str, body: Table, note: str = "") -> Group:
    """A table under its title; note: below it."""
    below = [Text(plain(note), style="dim")] if note else []
    return Group(Text(""), Text(title, style="bold"), body, *below)
