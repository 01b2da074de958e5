"""`reprise doctor` and `preflight`: whether checkpoints can work, and why they did not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from reprise.cli.doctor.causes import BEFORE_INSTALL, Finding, State, Verdict, diagnose
from reprise.cli.doctor.evidence import Evidence
from reprise.cli.doctor.gather import Gatherer
from reprise.cli.output import FINDINGS, TABLE, Format, Output, nameless, print_data, say, stdout, table, titled
from reprise.cli.ports import Session
from reprise.cli.rendering import Cell
from reprise.contracts.causes import error_lines, of_log, of_restore

STYLES: dict[State, str] = {"ok": "green", "problem": "bold red", "warning": "yellow", "unknown": "dim"}
COLUMNS = ("CHECK", "STATE", "SEEN", "WHAT TO DO")
MAX_LOG = 64 << 20

Subject = Annotated[
    str, typer.Argument(metavar="[NODE|WORKLOAD]", help="A node's name or [NAMESPACE/][KIND/]NAME; all nodes if not given.")
]
OneNode = Annotated[str, typer.Argument(metavar="[NODE]", help="All nodes if not given.")]
Deep = Annotated[bool, typer.Option("--deep", help="Read its newest checkpoint too: sockets, locks, CRIU's version.")]
Log = Annotated[
    Path | None,
    typer.Option("--log", exists=True, dir_okay=False, help="Explain this dump.log or restore.log of CRIU's, and nothing else."),
]


def doctor(
    context: typer.Context, subject: Subject = "", deep: Deep = False, log: Log = None,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Whether checkpoints can work, or why they did not: known causes, what is seen, what to do. Exits with 3 on a problem."""
    nameless(output)
    if log:
        found = [("CRIU's log", explained(log.read_bytes()[-MAX_LOG:].decode(errors="replace")))]
    else:
        session: Session = context.obj
        gatherer = Gatherer(session, deep=deep)
        found = [(_title(each), diagnose(each)) for each in gatherer.about(subject)]
        if not subject and (wrong := gatherer.wrong()):
            found.append(("annotations without effect", without_effect(wrong)))
        _hidden(gatherer)
    _told(found, output)


def preflight(context: typer.Context, node: OneNode = "", output: Output = TABLE) -> None:
    """Node by node what Reprise needs and what is missing, before it is installed. Exits with 3 on a problem."""
    nameless(output)
    gatherer = Gatherer(context.obj, deep=False)
    found = [(_title(each), diagnose(each, BEFORE_INSTALL)) for each in gatherer.before_install(node)]
    _hidden(gatherer)
    _told(found, output)
    if not output.is_data:
        say("Every node is fit, as far as it can be seen from here. What is unknown, its remedy tells.", "green")


def _hidden(gatherer: Gatherer) -> None:
    for what, why in gatherer.hidden.items():
        say(f"not seen: {what}: {why}", "dim")


def _told(found: Sequence[tuple[str, Sequence[Finding]]], output: Format) -> None:
    """Raises typer.Exit if there is a problem."""
    if output.is_data:
        print_data([_as_data(title, finding) for title, findings in found for finding in findings], output)
    else:
        for title, findings in found:
            _show(title, findings)
    if any(finding.verdict.state == "problem" for _, findings in found for finding in findings):
        raise typer.Exit(FINDINGS)


def without_effect(rows: Sequence[dict[str, Any]]) -> list[Finding]:
    """Of the console's rows: on an unsupported kind too, which no other check looks at."""
    return [
        Finding(
            f"{str(row['kind']).lower()}/{row['name']} in {row['namespace']}",
            Verdict("warning", f"{row['annotation']}: {row['value']!r}: {row['message']}", "correct it, or remove it"),
        )
        for row in rows
    ]  # fmt: skip


def explained(log: str) -> list[Finding]:
    """Of a dump.log or a restore.log: its cause if it is known, else what CRIU complained of last."""
    errors = error_lines(log)
    restore = "Restoring" in log or "Restore finished" in log
    cause = of_restore("\n".join(errors)) if restore else of_log(log)
    if cause:
        return [Finding(cause.reason, Verdict("problem", cause.what, cause.remedy))]
    what = "restore" if restore else "dump"
    if "Dumping finished successfully" in log or "Restore finished successfully" in log:
        return [Finding(what, Verdict("ok", "it succeeded"))]
    last = "; ".join(errors[-3:]) or "no error is in it"
    return [Finding(what, Verdict("problem", last, "see https://criu.org/What_cannot_be_checkpointed"))]


def _title(evidence: Evidence) -> str:
    parts = [str(evidence.workload.workload)] if evidence.workload else []
    return " on ".join([*parts, *([f"node {evidence.node.name}"] if evidence.node else [])])


def _as_data(title: str, finding: Finding) -> dict[str, str]:
    told = finding.verdict
    return {"subject": title, "check": finding.check, "state": told.state, "seen": told.seen, "remedy": told.remedy}


def _show(title: str, findings: Sequence[Finding]) -> None:
    told = [(each.check, each.verdict) for each in findings]
    rows = [[Cell(name, "bold"), Cell(v.state, STYLES[v.state]), Cell(v.seen), Cell(v.remedy)] for name, v in told]
    stdout().print(titled(title, table(COLUMNS, rows)))
