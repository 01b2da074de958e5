"""Data to standard output as the user wants it; all else to standard error, so that pipes get data only."""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
import yaml
from reprise.cli.rendering import Cell, plain
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

OK, ERROR, USAGE, FINDINGS = 0, 1, 2, 3
PIPE_WIDTH = 1000


class Format(StrEnum):
    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"

    @property
    def is_data(self) -> bool:
        return self in (Format.json, Format.yaml)


Output = Annotated[Format, typer.Option("-o", "--output", help="How to print: for people or for programs.")]


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
    """As JSON or YAML."""
    if form is Format.json:
        typer.echo(json.dumps(data, indent=2, default=str))
    else:
        typer.echo(yaml.safe_dump(json.loads(json.dumps(data, default=str)), sort_keys=False, allow_unicode=True), nl=False)


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
