"""`reprise inspect` and `reprise diff`: what a checkpoint holds, and what is different between two."""

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from reprise.archive import inspection
from reprise.archive.inspection import Inspection
from reprise.archive.inspector import inspect_file
from reprise.archive.manifest import Manifest
from reprise.cli import archive_view as view
from reprise.cli.archives import opened
from reprise.cli.output import TABLE, Output, nameless, print_data, say, stdout, table, titled, unheaded
from reprise.cli.progress import counting
from reprise.cli.rendering import plain
from rich.text import Text

if TYPE_CHECKING:
    from reprise.archive.comparison import Memory

MOST = 25
"""Rows of a table; -o wide shows all."""


class Section(StrEnum):
    facts = "facts"
    processes = "processes"
    memory = "memory"
    files = "files"
    sockets = "sockets"
    locks = "locks"
    log = "log"
    members = "members"


Target = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="A tar on this machine, or [NAMESPACE/]WORKLOAD[@CHECKPOINT] in the store.")
]
Container = Annotated[str, typer.Option("-c", "--container", help="Which, where checkpoints of several are stored.")]
Only = Annotated[list[Section] | None, typer.Option("--only", help="Show these parts alone; may be given again.")]


def inspect(context: typer.Context, target: Target, container: Container = "", only: Only = None, output: Output = TABLE) -> None:
    """What a checkpoint holds: processes, memory, open files, sockets, statistics, CRIU's log."""
    nameless(output)
    with opened(context.obj, target, container) as archive:
        found = inspect_file(archive.file, archive.name)
    if output.is_data:
        told = {"manifest": archive.manifest.model_dump(mode="json")} if archive.manifest else {}
        print_data(inspection.as_data(found) | told, output)
    else:
        _show(found, archive.manifest, only or list(Section), everything=output.wide)


def _show(found: Inspection, manifest: Manifest | None, only: Collection[Section], *, everything: bool) -> None:
    out = stdout()
    if Section.facts in only:
        out.print(unheaded(view.facts(found, manifest)))
    tables: Sequence[tuple[Section, Sequence[str], Callable[[], view.Rows]]] = (
        (Section.processes, view.PROCESS_COLUMNS, lambda: view.processes(found)),
        (Section.memory, view.MEMORY_COLUMNS, lambda: view.memory(found, 1000 if everything else 8)),
        (Section.files, view.FILE_COLUMNS, lambda: view.files(found)),
        (Section.sockets, view.SOCKET_COLUMNS, lambda: view.sockets(found)),
        (Section.locks, view.LOCK_COLUMNS, lambda: view.locks(found)),
        (Section.members, view.MEMBER_COLUMNS, lambda: view.members(found)),
    )
    for section, columns, make in tables:
        rows = make() if section in only else []
        if rows:
            shown = rows if everything else rows[: 8 if section is Section.members else MOST]
            note = f"{len(rows) - len(shown)} more: -o wide shows all" if len(shown) < len(rows) else ""
            out.print(titled(section.value.capitalize(), table(columns, shown), note))
    if Section.log in only:
        lines = [Text(plain(cell.text), style=cell.style) for cell in view.log(found)]
        out.print(Text(""), Text("CRIU's log", style="bold"), *lines, sep="\n")


First = Annotated[str, typer.Argument(metavar="BEFORE", help="As for `inspect`.")]
Second = Annotated[str, typer.Argument(metavar="AFTER", help="As for `inspect`.")]


def diff(context: typer.Context, before: First, after: Second, container: Container = "", output: Output = TABLE) -> None:
    """What is different between two checkpoints: pages by their contents, processes, files and sockets."""
    from reprise.archive import comparison

    nameless(output)
    (old, first), (new, second) = (_read(context, each, container) for each in (before, after))
    found = comparison.compare(old, new, first, second)
    if output.is_data:
        print_data(comparison.as_data(found), output)
        return
    out, changes = stdout(), view.changes(found)
    out.print(titled(f"Pages, from {found.before} to {found.after}", table(view.PAGE_COLUMNS, view.pages(found))))
    if changes:
        out.print(titled("Came and gone", table(view.CHANGE_COLUMNS, changes)))
    else:
        say("The same processes, files and sockets.")


def _read(context: typer.Context, target: str, container: str) -> tuple[Inspection, "Memory"]:
    from reprise.archive.comparison import read_memory

    with opened(context.obj, target, container) as archive:
        found = inspect_file(archive.file, archive.name)
        with counting(f"reading the pages of {archive.name}", found.stored) as on_read:
            return found, read_memory(archive.file, archive.name, [process.pid for process in found.processes], on_read)
