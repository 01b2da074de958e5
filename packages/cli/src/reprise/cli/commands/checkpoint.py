"""`reprise checkpoint`: one now, those that are stored, one as a file, and one away."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from reprise.archive import export as exporting
from reprise.archive.export import Form
from reprise.cli.archives import find, stored, workload_name
from reprise.cli.claims import claimed
from reprise.cli.commands.history import unknown
from reprise.cli.commands.protect import Name
from reprise.cli.names import address
from reprise.cli.options import Everywhere, Selector, wait_option
from reprise.cli.output import ERROR, TABLE, Format, Output, answers, named, nameless, print_data, say, stdout, table
from reprise.cli.ports import Claimed, ClusterError, Objects, Session
from reprise.cli.progress import counting, waiting
from reprise.cli.rendering import Cell
from reprise.cli.scope import scope
from reprise.contracts.annotations import CHECKPOINT_NOW, parse
from reprise.contracts.humane import NONE, ago, seconds, size
from reprise.contracts.model import checkpoint_id
from reprise.contracts.words import pause

app = typer.Typer(no_args_is_help=True, help="Take, list, export and delete checkpoints.")
POLL_S = 0.5
LISTED = 20_000
ENDED = ("skipped", "stored", "failed", "pruned")
COLUMNS = ("CHECKPOINT", "AGE", "KIND", "SIZE", "NEW", "PAUSE", "READY ON")

Timeout = Annotated[float, wait_option("How long to wait until it is stored.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for it.")]
Which = Annotated[
    str, typer.Argument(metavar="[WORKLOAD]", help="[NAMESPACE/][KIND/]NAME; every protected one of the namespace if not named.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=LISTED, help="At most so many, the newest.")]
Stored = Annotated[
    str, typer.Argument(metavar="WORKLOAD", help="[NAMESPACE/][KIND/]NAME[@CHECKPOINT]; the newest if none is named.")
]
One = Annotated[
    str,
    typer.Argument(metavar="WORKLOAD@CHECKPOINT", help="[NAMESPACE/][KIND/]NAME@CHECKPOINT; the beginning of its id is enough."),
]
Container = Annotated[str, typer.Option("-c", "--container", help="Which, where checkpoints of several are stored.")]
To = Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write; it is the process's memory, unencrypted.")]
As = Annotated[Form, typer.Option("--format", help="tar: as checkpointctl and CRI-O read it; oci: an OCI archive with it.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def list_(
    context: typer.Context, workload: Which = "", everywhere: Everywhere = False, selector: Selector = "", limit: Limit = 100,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """The good checkpoints that are stored: each can be restored, exported or, but for a pod's newest, deleted."""
    session: Session = context.obj
    filters = {"state": "stored"}
    if workload:
        name = workload_name(workload)
        space = name.namespace or session.namespace()
        filters |= {"namespace": space, "workload": name.name, "kind": name.kind}
        with session.console() as console:
            rows = console.rows("checkpoints", filters, limit)
            if not rows and not console.rows("checkpoints", filters | {"state": ""}, 1):
                raise unknown(console, name, space)
    else:
        chosen = scope(session, everywhere=everywhere, selector=selector)
        with session.console() as console:
            found = console.rows("checkpoints", filters | {"namespace": chosen.namespace or ""}, LISTED if selector else limit)
        rows = chosen.rows(found)[:limit]
    if output.is_data:
        print_data(rows, output)
    elif output.named:
        named(_name(row) for row in rows)
    elif rows:
        _show(rows, output, one=bool(workload))
    else:
        say("No checkpoint is stored there. `reprise status` shows what is protected.")


def _name(row: dict[str, Any]) -> str:
    return f"{row['namespace']}/{row['kind'].lower()}/{row['workload']}@{row['checkpoint_id']}"


def _show(rows: list[dict[str, Any]], output: Format, *, one: bool) -> None:
    now = datetime.now(UTC)
    columns = [*([] if one else ["WORKLOAD"]), *COLUMNS, *(["CONTAINER", "POD", "NODE", "TRIGGER"] if output.wide else [])]
    made = []
    for row in rows:
        cells = [] if one else [Cell(f"{row['namespace']}/{row['kind'].lower()}/{row['workload']}", "bold")]
        cells += [
            Cell(row["checkpoint_id"], "bold" if one else ""), Cell(ago(datetime.fromisoformat(row["at"]), now)),
            Cell(row.get("checkpoint_kind") or NONE), Cell(size(row.get("size_bytes"))), Cell(size(row.get("new_bytes"))),
            Cell(pause(row)), Cell(row.get("staged_on") or NONE),
        ]  # fmt: skip
        if output.wide:
            cells += [Cell(str(row.get(name) or NONE)) for name in ("container", "pod", "node", "trigger")]
        made.append(cells)
    stdout().print(table(columns, made))


def export(
    context: typer.Context, workload: Stored, to: To, container: Container = "", form: As = Form.tar, force: Force = False,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Write a stored checkpoint to a file that other tools read. The file is there when it is whole, or not at all."""
    nameless(output)
    session: Session = context.obj
    with stored(session, workload_name(workload), container) as (archive, name):
        with counting(f"exporting {name}", exporting.size_of(archive.manifest, form)) as on_write:
            done = exporting.export(archive, to, form, force=force, on_write=on_write)
        target = archive.manifest.target
    if output.is_data:
        print_data({
            "file": str(done.path), "format": done.form.value, "size": done.size, "digest": done.digest,
            "image": done.reference, "checkpoint": archive.manifest.checkpoint_id,
            "workload": str(archive.manifest.workload), "pod": target.pod, "container": target.container,
        }, output)  # fmt: skip
        return
    what = f" as {done.reference}" if form is Form.oci else ""
    say(f"{name} (pod {target.pod}, container {target.container}){what} is in {done.path}: {size(done.size)}, {done.digest}.")
    say("It is the process's memory, unencrypted: secrets too. Keep it as you keep those.", "yellow")


def delete(context: typer.Context, checkpoint: One, container: Container = "", yes: Yes = False) -> None:
    """Remove a stored checkpoint. A pod's newest good one is refused: a failover needs it."""
    session: Session = context.obj
    name = workload_name(checkpoint)
    if not name.checkpoint:
        raise typer.BadParameter(f"{checkpoint}: say which: WORKLOAD@CHECKPOINT")
    space = name.namespace or session.namespace()
    with session.repository() as repository:
        manifest = find(repository, replace(name, namespace=space), space, container)
        what = f"{address(manifest.workload)}@{manifest.checkpoint_id}"
        if not yes and answers():
            typer.confirm(f"Delete {what}, taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC?", abort=True, err=True)
        repository.delete(manifest)
    say(f"deleted {what}", "green")
    say("`reprise store gc` frees its space; the console lists it until the workload's next checkpoint.", "dim")


def take(
    context: typer.Context, workload: Name, timeout: Timeout = 120, no_wait: NoWait = False,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Take a checkpoint of a protected workload now, and wait until it is stored."""
    session: Session = context.obj
    found = claimed(session, workload)
    ids = ask_checkpoint(session, found)
    if no_wait:
        if output.named:
            named(f"{address(found.workload)}@{each}" for each in ids)
        say(f"asked for {', '.join(ids)}")
        return
    with waiting(f"waiting until {len(ids)} checkpoint{'s are' if len(ids) > 1 else ' is'} stored"):
        rows = outcomes(session, found, set(ids), timeout)
    _tell_outcomes(rows, ids, output, found, timeout)


def ask_checkpoint(session: Session, found: Claimed) -> dict[str, str]:
    """By id: the pod that it is of. Raises ClusterError where nothing can be checkpointed."""
    objects = session.objects()
    wanted = _wanted(found, objects)
    moment = objects.now() + timedelta(milliseconds=int(time.time() * 1000) % 1000)
    objects.annotate(found.workload, {CHECKPOINT_NOW: moment.isoformat(timespec="milliseconds")})
    return {checkpoint_id(uid, container, moment): pod for (uid, container), pod in wanted.items()}


def _wanted(found: Claimed, objects: Objects) -> dict[tuple[str, str], str]:
    """Pod by its uid and protected container. Raises ClusterError where nothing can be checkpointed."""
    policy = parse(found.annotations).policy
    what = str(found.workload)
    if not policy.protects:
        raise ClusterError("it is not protected", subject=what, remedy=f"`reprise protect {address(found.workload)}` protects it")
    names = policy.containers or tuple(container["name"] for container in found.containers[:1])
    pods = [pod for pod in objects.pods(found) if pod.phase == "Running"]
    ready = {(pod.uid, name): pod.name for pod in pods for name in names if pod.ready.get(name)}
    if not ready:
        raise ClusterError(
            "none of its pods is ready: only what is healthy is checkpointed", subject=what,
            remedy=f"`kubectl -n {found.workload.namespace} get pods` shows why",
        )  # fmt: skip
    return ready


def outcomes(session: Session, found: Claimed, ids: set[str], timeout_s: float) -> dict[str, dict[str, Any]]:
    """The rows of these checkpoints, as far as they are known at the end: ended, or too late."""
    filters = {"namespace": found.workload.namespace, "workload": found.workload.name, "kind": found.workload.kind}
    end, rows = time.monotonic() + timeout_s, dict[str, dict[str, Any]]()
    with session.console() as console:
        while True:
            rows |= {row["checkpoint_id"]: row for row in console.rows("checkpoints", filters, 50) if row["checkpoint_id"] in ids}
            ended = {name for name, row in rows.items() if row["state"] in ENDED}
            if ended == ids or time.monotonic() >= end:
                return rows
            time.sleep(POLL_S)


def _tell_outcomes(
    rows: dict[str, dict[str, Any]], ids: dict[str, str], output: Format, found: Claimed, timeout_s: float
) -> None:
    if output.is_data:
        print_data([rows.get(name, {"checkpoint_id": name, "state": "unknown"}) for name in ids], output)
    if output.named:
        named(f"{address(found.workload)}@{each}" for each in ids)
    late = [name for name in ids if rows.get(name, {}).get("state") not in ENDED]
    failed = [name for name in ids if rows.get(name, {}).get("state") == "failed"]
    skipped = [name for name in ids if rows.get(name, {}).get("state") == "skipped"]
    for name in ids.keys() - set(late) - set(failed) - set(skipped):
        row = rows[name]
        paused = pause(row)
        took = f", it stood still for {paused}" if paused not in ("", NONE) else ""
        say(f"stored {name} of pod {ids[name]}: {size(row.get('size_bytes'))}{took}", "green")
    for name in failed:
        row = rows[name]
        say(f"failed {name} of pod {ids[name]}: {row['reason']}: {row['message']} ({row['remedy']})", "red")
    for name in skipped:
        say(f"skipped {name} of pod {ids[name]}: {rows[name]['reason']}: {rows[name]['message']}", "yellow")
    for name in late:
        state = rows.get(name, {}).get("state", "not begun")
        say(
            f"{name} of pod {ids[name]}: {state} after {seconds(timeout_s)} (see `reprise doctor {address(found.workload)}`)",
            "red",
        )
    if late or failed:
        raise typer.Exit(ERROR)
