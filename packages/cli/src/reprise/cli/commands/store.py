"""`reprise store`: is what is stored whole, what does it take, and what can go."""

from dataclasses import asdict
from typing import Annotated, Any

import typer
from reprise.archive.damage import Finding
from reprise.archive.repository import Repository, Stats
from reprise.cli.findings import HEALABLE, as_data
from reprise.cli.output import FINDINGS, TABLE, Format, Output, nameless, print_data, say, stdout, table
from reprise.cli.ports import Session
from reprise.cli.progress import watching
from reprise.cli.rendering import Cell
from reprise.contracts.humane import size

app = typer.Typer(no_args_is_help=True, help="Look after the checkpoint store.")

ReadData = Annotated[bool, typer.Option("--read-data", help="Read and decrypt every chunk too: all that is stored.")]
Repair = Annotated[
    bool, typer.Option("--repair", help="Upload again what a node still holds undamaged; later checkpoints do without the rest.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


def check(
    context: typer.Context, read_data: ReadData = False, repair: Repair = False,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Find damage, and the checkpoints that it touches. Exits with 3 if there is any that is not repaired."""
    nameless(output)
    session: Session = context.obj
    with session.repository(keys=True) as repository:
        with watching(repository, "checking", by_bytes=read_data):
            findings = list(repository.check(read_data=read_data, namespace=session.named_namespace))
        healed = _repaired(session, repository, findings) if repair else []
    told = [as_data(finding, healed) for finding in findings]
    if output.is_data:
        print_data({"findings": told, "healed": healed}, output)
    else:
        _show(told, output, read_data=read_data)
    if not all(finding["healed"] for finding in told):
        raise typer.Exit(FINDINGS)


def _repaired(session: Session, repository: Repository, findings: list[Finding]) -> list[str]:
    if not any(finding.kind in HEALABLE for finding in findings):
        return []
    return repository.repair(findings, session.copies())


def _show(told: list[dict[str, Any]], output: Format, *, read_data: bool) -> None:
    if not told:
        hint = "" if read_data else " Chunks were not read: --read-data does."
        say(f"No damage found.{hint}", "green")
        return
    columns = ["KIND", "OBJECT", "CHECKPOINTS", "WHAT TO DO"] + (["DETAIL"] if output.wide else [])
    stdout().print(table(columns, [_line(finding, wide=output.wide) for finding in told]))
    touched = {checkpoint for finding in told if not finding["healed"] for checkpoint in finding["checkpoints"]}
    healed = len({finding["object"] for finding in told if finding["healed"]})
    say(f"{len(told)} found, {healed} objects healed; {len(touched)} checkpoints damaged.", "red" if touched else "")


def _line(finding: dict[str, Any], *, wide: bool) -> list[Cell]:
    chunk = f" chunk {finding['chunk']}" if finding["chunk"] is not None else ""
    cells = [
        Cell(finding["kind"], "green" if finding["healed"] else "red"), Cell(finding["object"] + chunk),
        Cell(", ".join(finding["checkpoints"]) or "none"),
        Cell("healed from a node's copy" if finding["healed"] else finding["remedy"]),
    ]  # fmt: skip
    return [*cells, Cell(finding["detail"])] if wide else cells


def stats(context: typer.Context, output: Output = TABLE) -> None:
    """What there is and what it takes: checkpoints, the bytes of their archives, the bytes stored, and the ratio."""
    nameless(output)
    session: Session = context.obj
    with session.repository() as repository, watching(repository, "reading manifests"):
        found = repository.stats()
    if output.is_data:
        print_data(asdict(found) | {"ratio": ratio(found)}, output)
        return
    columns = ["CHECKPOINTS", "ARCHIVES", "STORED", "RATIO"] + (["PACKS"] if output.wide else [])
    told = ratio(found)
    cells = [
        Cell(str(found.checkpoints)), Cell(size(found.archives)), Cell(size(found.stored)),
        Cell(f"{told:.1f} : 1" if told is not None else "-"),
    ]  # fmt: skip
    stdout().print(table(columns, [[*cells, Cell(str(found.packs))] if output.wide else cells]))


def ratio(found: Stats) -> float | None:
    """How many times larger the archives are than what they take; None if there is nothing."""
    return round(found.archives / found.stored, 3) if found.stored and found.archives else None


def gc(context: typer.Context, dry_run: DryRun = False, output: Output = TABLE) -> None:
    """Remove what no checkpoint refers to. Safe at any time. Exits with 3 if damage kept it from a workload."""
    nameless(output)
    session: Session = context.obj
    with session.repository() as repository, watching(repository, "looking for what nothing refers to"):
        done = repository.gc(dry_run=dry_run)
    if output.is_data:
        print_data(asdict(done) | {"dry_run": dry_run}, output)
    else:
        told = [("packs", len(done.packs)), ("recipes", len(done.recipes)), ("uploads given up", len(done.given_up))]
        what = ", ".join(f"{count} {name}" for name, count in told)
        verb = "Would free" if dry_run else "Freed"
        stdout().print(f"{verb} {size(done.freed)} ({what}); {size(done.kept)} in use.")
        if output.wide and done.packs + done.recipes:
            stdout().print(table(["KIND", "OBJECT"], [*_objects("pack", done.packs), *_objects("recipe", done.recipes)]))
        for lineage, why in done.skipped.items():
            say(f"{lineage}: left alone: {why}; `reprise store check` tells more", "yellow")
    if done.skipped:
        raise typer.Exit(FINDINGS)


def _objects(kind: str, names: list[str]) -> list[list[Cell]]:
    return [[Cell(kind), Cell(name)] for name in names]
