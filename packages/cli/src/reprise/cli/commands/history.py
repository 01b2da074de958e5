"""`reprise history` and `reprise trace`: what happened to a workload, and where a failover's time went."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from reprise.cli.archives import workload_name
from reprise.cli.event_view import HISTORY_COLUMNS, history_rows, steps, waterfall
from reprise.cli.names import WorkloadName, suggestion
from reprise.cli.output import TABLE, Output, named, print_data, say, stdout, table, titled, unheaded
from reprise.cli.ports import Console, ConsoleError, Session
from reprise.cli.rendering import Cell
from reprise.cli.when import moment
from reprise.contracts.humane import seconds
from reprise.contracts.words import CAUSE, outcome

SEARCHED = 20_000
"""Failovers that are looked through for an id, the newest."""

Name = Annotated[str, typer.Argument(metavar="WORKLOAD", help="[NAMESPACE/][KIND/]NAME; your context's namespace if not named.")]
Since = Annotated[str, typer.Option("--since", help="An age (90s, 2h, 3d) or a moment (2026-11-24T20:14:33Z).")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Checkpoints, failovers and ends, at most, each.")]


def history(context: typer.Context, workload: Name, since: Since = "", limit: Limit = 20, output: Output = TABLE) -> None:
    """A workload's checkpoints, failovers and how its containers ended, newest first."""
    session: Session = context.obj
    name = workload_name(workload)
    namespace = name.namespace or session.namespace()
    filters = {"namespace": namespace, "workload": name.name, "kind": name.kind, "since": since_filter(since)}
    with session.console() as console:
        checkpoints, failovers, exits = (console.rows(each, filters, limit) for each in ("checkpoints", "failovers", "exits"))
        if not (checkpoints or failovers or exits or since):
            raise unknown(console, name, namespace)
    if output.is_data:
        print_data({"checkpoints": checkpoints, "failovers": failovers, "exits": exits}, output)
        return
    if output.named:
        named([f"checkpoint/{row['checkpoint_id']}" for row in checkpoints])
        named([f"failover/{row['failover_id']}" for row in failovers])
        return
    rows = history_rows(checkpoints, failovers, exits)
    if not rows:
        say(f"Nothing happened to {namespace}/{name.name} since {since}.")
        return
    stdout().print(table(HISTORY_COLUMNS, rows))
    if limit in (len(checkpoints), len(failovers), len(exits)):
        say(f"There may be more: --limit shows more than {limit} of each.", "dim")


def since_filter(text: str) -> str:
    """As the console wants it; empty for none."""
    if not text:
        return ""
    try:
        return moment(text, datetime.now(UTC)).isoformat(timespec="milliseconds")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def unknown(console: Console, name: WorkloadName, namespace: str) -> ConsoleError:
    """Nothing is known of it: which names are near."""
    known = [row["workload"] for row in console.workloads(namespace)]
    near = suggestion(name.name, known) or f"nothing in {namespace} is protected yet: `reprise protect {name.name}`"
    return ConsoleError(
        "nothing is known of it: it never was protected", subject=f"{namespace}/{name.name}",
        remedy=f"{near}; `reprise status -A` shows all",
    )  # fmt: skip


Which = Annotated[
    str, typer.Argument(metavar="FAILOVER", help="A failover's id, as `reprise history` shows it; or a workload: its newest one.")
]


def trace(context: typer.Context, failover: Which, output: Output = TABLE) -> None:
    """Where a failover's time went, step by step, and where its trace is."""
    session: Session = context.obj
    with session.console() as console:
        row = _find(session, console, failover)
    found = steps(row)
    if output.is_data:
        told = [{"step": step.name, "begin_s": step.begin, "end_s": step.end, "note": step.note} for step in found]
        print_data(row | {"steps": told}, output)
        return
    if output.named:
        named([f"failover/{row['failover_id']}"])
        return
    out = stdout()
    out.print(unheaded(_facts(row)))
    out.print(titled("Steps, from the moment it failed", table(("STEP", "", "TOOK", ""), waterfall(found))))
    _tell_trace(row)


def _find(session: Session, console: Console, wanted: str) -> dict[str, Any]:
    if not wanted.startswith("fo-"):
        name = workload_name(wanted)
        namespace = name.namespace or session.namespace()
        filters = {"namespace": namespace, "workload": name.name, "kind": name.kind}
        newest = console.rows("failovers", filters, 1)
        if newest:
            return newest[0]
        raise ConsoleError(
            "it never failed over", subject=f"{namespace}/{name.name}", remedy=f"`reprise history {wanted}` shows its checkpoints"
        )
    found = [row for row in console.rows("failovers", {}, SEARCHED) if str(row["failover_id"]).startswith(wanted)]
    if not found:
        raise ConsoleError("it is not known", subject=f"failover {wanted}", remedy="`reprise history WORKLOAD` shows their ids")
    if len({row["failover_id"] for row in found}) > 1:
        raise ConsoleError(f"{len(found)} failovers begin so", subject=f"failover {wanted}", remedy="write more of the id")
    return found[0]


def _facts(row: dict[str, Any]) -> list[list[Cell]]:
    total = f" in {seconds(row['total_s'])}" if row.get("total_s") is not None else ""
    lines = (
        ("failover", row["failover_id"]), ("workload", f"{row['namespace']}/{str(row['kind']).lower()}/{row['workload']}"),
        ("cause", f"{CAUSE.get(row.get('cause') or '', row.get('cause') or '?')}: {row.get('detail') or ''}"),
        ("state", f"{outcome({'lost_work': None} | row).text}{total}"),
        ("path", row.get("path")), ("checkpoint", row.get("checkpoint_id")),
        ("work lost", row.get("lost_work")),
        ("from, to", f"{row.get('node') or '?'}, {row.get('standby') or '?'}"),
        ("reason", f"{row['reason']}: {row.get('message')}; {row.get('remedy')}" if row.get("reason") else ""),
    )  # fmt: skip
    return [[Cell(name, "dim"), Cell(str(value))] for name, value in lines if value]


def _tell_trace(row: dict[str, Any]) -> None:
    trace_id = row.get("trace_id")
    if not trace_id:
        say("No trace was recorded of it.", "dim")
        return
    stdout().print(f"\nTrace {trace_id}: http://localhost:16686/trace/{trace_id}", soft_wrap=True)
    say("after `kubectl -n reprise-system port-forward deploy/jaeger 16686`", "dim")
