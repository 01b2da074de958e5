"""`reprise restore --to`: a workload goes on from one of its checkpoints, in its place."""

import secrets
import time
from typing import Annotated, Any

import typer
from reprise.cli.claims import claimed
from reprise.cli.commands.checkpoint import ask_checkpoint, outcomes
from reprise.cli.commands.protect import Name
from reprise.cli.options import wait_option
from reprise.cli.output import TABLE, Output, named, print_data, say
from reprise.cli.ports import Claimed, ClusterError, Session
from reprise.cli.progress import waiting
from reprise.contracts.annotations import RESTORE_ID, RESTORE_TO
from reprise.contracts.humane import seconds
from reprise.contracts.model import restore_id

POLL_S = 0.3
ENDED = ("completed", "abandoned", "stepped-aside")
SEARCHED = 1000

To = Annotated[str, typer.Option("--to", help="A checkpoint's id, or how it begins: `reprise checkpoint list` lists them.")]
Discard = Annotated[bool, typer.Option("--discard", help="Do not take a checkpoint of what it is now first.")]
Timeout = Annotated[float, wait_option("How long to wait for the end.")]


def restore(
    context: typer.Context, workload: Name, to: To, discard: Discard = False, timeout: Timeout = 120,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Have a protected workload go on from a checkpoint. What it is now is checkpointed first, so that one can come back."""
    session: Session = context.obj
    found = claimed(session, workload)
    chosen = _chosen(session, found, to)
    if not discard:
        _keep(session, found, timeout)
    request = secrets.token_hex(4)
    name = restore_id(found.workload, chosen["container"], request)
    to = chosen["checkpoint_id"]
    session.objects().annotate(found.workload, {RESTORE_ID: request, RESTORE_TO: to})
    with waiting(f"restoring {found.workload} from {to}"):
        row = _end(session, found, name, timeout)
    if output.is_data:
        print_data(row, output)
    elif output.named:
        named([f"failover/{row['failover_id']}"])
    if row["state"] != "completed":
        told = f"{row['state']}: {row['reason']}: {row['message']}"
        raise ClusterError(told, subject=f"restore of {found.workload}", remedy=row["remedy"] or "")
    if row["checkpoint_id"] != to:
        raise ClusterError(
            f"{to} did not come back; it goes on from {row['checkpoint_id']}", subject=str(found.workload),
            remedy=f"`reprise trace {name}`, and the workload's events, tell why",
        )  # fmt: skip
    say(f"{found.workload}: goes on from {to}, after {seconds(row['total_s'])}", "green")


def _chosen(session: Session, found: Claimed, wanted: str) -> dict[str, Any]:
    """Its row. Raises ClusterError."""
    filters = {"namespace": found.workload.namespace, "workload": found.workload.name, "kind": found.workload.kind}
    with session.console() as console:
        rows = console.rows("checkpoints", filters | {"state": "stored"}, SEARCHED)
    fitting = [row for row in rows if row["checkpoint_id"].startswith(wanted)]
    if len(fitting) != 1:
        how_many = f"{len(fitting)} of its good checkpoints begin with" if fitting else "it has no good checkpoint"
        raise ClusterError(
            f"{how_many} {wanted!r}", subject=str(found.workload),
            remedy=f"`reprise checkpoint list {found.workload.namespace}/{found.workload.name}` lists them",
        )  # fmt: skip
    pods = session.objects().pods(found)
    if len(pods) != 1:
        raise ClusterError(
            f"it has {len(pods)} pods: a checkpoint is one process's" if pods else "it has no pod to restore it in",
            subject=str(found.workload), remedy="scale it to one replica first",
        )  # fmt: skip
    return fitting[0]


def _keep(session: Session, found: Claimed, timeout_s: float) -> None:
    """Raises ClusterError if what it is now cannot be kept."""
    remedy = "correct that, or add --discard to give it up"
    try:
        ids = ask_checkpoint(session, found)
    except ClusterError as error:
        raise ClusterError(
            f"what it is now cannot be checkpointed: {error}", subject=str(found.workload), remedy=remedy
        ) from error
    with waiting("keeping what it is now"):
        rows = outcomes(session, found, set(ids), timeout_s)
    for name in ids:
        row = rows.get(name, {"state": f"not stored within {seconds(timeout_s)}"})
        if row["state"] not in ("stored", "pruned"):
            why = ": ".join(str(row[field]) for field in ("state", "reason", "message") if row.get(field))
            raise ClusterError(f"what it is now could not be kept: {why}", subject=str(found.workload), remedy=remedy)
        say(f"what it is now is kept as {name}")


def _end(session: Session, found: Claimed, name: str, timeout_s: float) -> dict[str, Any]:
    """The failover's row once it has ended. Raises ClusterError."""
    filters = {"namespace": found.workload.namespace, "workload": found.workload.name, "cause": "restore"}
    end = time.monotonic() + timeout_s
    with session.console() as console:
        while time.monotonic() < end:
            row = next((row for row in console.rows("failovers", filters, 20) if row["failover_id"] == name), None)
            if row and row["state"] in ENDED:
                return row
            time.sleep(POLL_S)
    whose = f"{found.workload.kind.lower()} {found.workload.name}"
    raise ClusterError(
        f"no end within {seconds(timeout_s)}", subject=f"restore of {found.workload}",
        remedy=f"it goes on by itself: `kubectl -n {found.workload.namespace} describe {whose}`, `reprise trace {name}`",
    )  # fmt: skip
