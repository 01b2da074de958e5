"""`reprise protect`, `unprotect` and `checkpoint`: what a workload's owner asks of Reprise, written as annotations."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from reprise.cli.claims import claimed
from reprise.cli.doctor.evidence import since_good
from reprise.cli.output import ERROR, Format, Output, print_data, say
from reprise.cli.ports import Claimed, ClusterError, Objects, Session
from reprise.cli.progress import waiting
from reprise.cli.protection import annotations, consequences, unprotected, warnings
from reprise.cli.remedies import Fix, diff, fixes
from reprise.cli.rendering import duration, pause, size
from reprise.contracts.annotations import CHECKPOINT_NOW, Policy, parse
from reprise.contracts.model import checkpoint_id

POLL_S = 0.5
CHECKPOINTS = 200
ENDED = ("skipped", "stored", "failed", "pruned")

Name = Annotated[str, typer.Argument(metavar="WORKLOAD", help="[NAMESPACE/][KIND/]NAME; your context's namespace if not named.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Whose workload; your context's if not given.")]
Interval = Annotated[str, typer.Option("--interval", help="How old its newest checkpoint may get: 10s, 1m30s, 2h (60s).")]
Keep = Annotated[str, typer.Option("--keep", help="How many checkpoints to keep (3).")]
Containers = Annotated[str, typer.Option("--containers", help="Which, by comma; its first one if not given.")]
Prestage = Annotated[str, typer.Option("--prestage", help="auto, image, chunks or none: what lies ready on the standby.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be written and what would happen.")]
Mode = Annotated[
    str,
    typer.Option("--mode", help="criu: its memory; http: the state that it hands out itself. As it was, or criu, if not given."),
]
StatePath = Annotated[
    str, typer.Option("--state-path", help="Mode http: where it answers GET with its state and takes it by POST.")
]
StatePort = Annotated[str, typer.Option("--state-port", help="Mode http: the port of its pod for that.")]
FixIt = Annotated[
    bool,
    typer.Option("--fix", help="Set the environment variables that avoid what its checkpoints failed of: shows the diff, asks."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait until it is stored.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only ask for it.")]


def protect(
    context: typer.Context, workload: Name, namespace: Namespace = "", interval: Interval = "", keep: Keep = "",
    containers: Containers = "", prestage: Prestage = "", mode: Mode = "", state_path: StatePath = "", state_port: StatePort = "",
    fix: FixIt = False, yes: Yes = False, dry_run: DryRun = False,
    output: Output = Format.table,
) -> None:  # fmt: skip
    """Protect a workload from now on, and say what will happen. Given again, it changes only what is named."""
    chosen = {
        "mode": mode, "interval": interval, "keep": keep, "containers": containers, "prestage": prestage,
        "state-path": state_path, "state-port": state_port,
    }  # fmt: skip
    found = claimed(context.obj, workload, namespace)
    made = annotations(chosen, found.annotations)
    policy = parse(found.annotations | made).policy
    wrong = warnings(policy, [container["name"] for container in found.containers])
    if wrong:
        raise ClusterError(wrong[0], subject=str(found.workload), remedy="correct --containers; nothing was changed")
    if fix:
        _fix(context.obj, found, policy, ask=not yes, dry_run=dry_run)
    _write(context.obj, found, made, dry_run=dry_run)
    _tell(found, made, _consequences(found, policy), output, dry_run=dry_run)


def _fix(session: Session, found: Claimed, policy: Policy, *, ask: bool, dry_run: bool) -> None:
    """Show what would be set, ask, and set it. Raises ClusterError, NotFixable; typer.Abort where nobody answers."""
    with session.console() as console:
        filters = {"namespace": found.workload.namespace, "workload": found.workload.name, "kind": found.workload.kind}
        _, failures = since_good(console.rows("checkpoints", filters, CHECKPOINTS))
    chosen = [each for each in found.containers if each["name"] in policy.containers] or found.containers[:1]
    wanted = fixes(chosen, failures)
    if not wanted:
        say(f"nothing to fix: {_nothing(failures)}")
        return
    if found.workload.kind == "Pod":
        told = ", ".join(f"{each.name}={each.value}" for each in wanted)
        raise ClusterError(
            "a pod's environment cannot be changed", subject=str(found.workload),
            remedy=f"set {told} in its manifest, and make it anew; nothing was changed",
        )  # fmt: skip
    for line in diff(str(found.workload), found.spec, wanted):
        say(line)
    say(
        "its pods are replaced, and what they have in memory is lost once. Set it in its git repository or Helm chart too, if any"
    )
    if dry_run or (ask and not typer.confirm("Set this?", err=True)):
        say("not set")
        return
    session.objects().set_env(found.workload, _by_container(wanted))
    say(f"{found.workload}: set {', '.join(f'{each.name}={each.value}' for each in wanted)}", "green")


def _nothing(failures: Sequence[dict[str, Any]]) -> str:
    if not failures:
        return "no checkpoint has failed since the last good one"
    return f"no variable avoids {failures[0].get('reason')}, or it is set: {failures[0].get('remedy') or 'see `reprise doctor`'}"


def _by_container(wanted: Sequence[Fix]) -> dict[str, dict[str, str]]:
    made: dict[str, dict[str, str]] = {}
    for each in wanted:
        made.setdefault(each.container, {})[each.name] = each.value
    return made


def unprotect(
    context: typer.Context, workload: Name, namespace: Namespace = "", dry_run: DryRun = False, output: Output = Format.table
) -> None:
    """Take no more checkpoints of a workload, and restore it no more. What is stored is kept."""
    found = claimed(context.obj, workload, namespace)
    if not parse(found.annotations).policy.protects:
        say(f"{found.workload} is not protected: nothing to do.")
        return
    told = [
        "no more checkpoints are taken of it, and it is not moved when its node is lost",
        "what is stored is kept: `reprise protect` goes on from there",
        "its pods run on as they are, and their next crash starts them blank, as Kubernetes does",
    ]
    _write(context.obj, found, unprotected(), dry_run=dry_run)
    _tell(found, unprotected(), told, output, dry_run=dry_run)


def _write(session: Session, found: Claimed, made: dict[str, str], *, dry_run: bool) -> None:
    if not dry_run:
        session.objects().annotate(found.workload, made)


def _consequences(found: Claimed, policy: Policy) -> list[str]:
    names = [container["name"] for container in found.containers]
    chosen = policy.containers or tuple(names[:1])
    probed = all(container.get("livenessProbe") for container in found.containers if container["name"] in chosen)
    return consequences(policy, names, found.replicas, probed=probed, kind=found.workload.kind)


def _tell(found: Claimed, made: dict[str, str], told: list[str], output: Format, *, dry_run: bool) -> None:
    if output.is_data:
        workload = found.workload.model_dump(mode="json")
        print_data({"workload": workload, "annotations": made, "written": not dry_run, "consequences": told}, output)
        return
    written = ", ".join(f"{name}={value}" for name, value in made.items())
    say(f"{found.workload}: {'would write' if dry_run else 'wrote'} {written}", "" if dry_run else "green")
    for line in told:
        say(f"  - {line}")


def checkpoint(
    context: typer.Context, workload: Name, namespace: Namespace = "", timeout: Timeout = 120, no_wait: NoWait = False,
    output: Output = Format.table,
) -> None:  # fmt: skip
    """Take a checkpoint of a protected workload now, and wait until it is stored."""
    session: Session = context.obj
    found = claimed(session, workload, namespace)
    ids = ask_checkpoint(session, found)
    if no_wait:
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
        raise ClusterError("it is not protected", subject=what, remedy=f"`reprise protect {_address(found)}` protects it")
    names = policy.containers or tuple(container["name"] for container in found.containers[:1])
    pods = [pod for pod in objects.pods(found) if pod.phase == "Running"]
    ready = {(pod.uid, name): pod.name for pod in pods for name in names if pod.ready.get(name)}
    if not ready:
        raise ClusterError(
            "none of its pods is ready: only what is healthy is checkpointed", subject=what,
            remedy=f"`kubectl -n {found.workload.namespace} get pods` shows why",
        )  # fmt: skip
    return ready


def _address(found: Claimed) -> str:
    return f"{found.workload.namespace}/{found.workload.name}"


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
    late = [name for name in ids if rows.get(name, {}).get("state") not in ENDED]
    failed = [name for name in ids if rows.get(name, {}).get("state") == "failed"]
    skipped = [name for name in ids if rows.get(name, {}).get("state") == "skipped"]
    for name in ids.keys() - set(late) - set(failed) - set(skipped):
        row = rows[name]
        paused = pause(row)
        took = f", it stood still for {paused}" if paused else ""
        say(f"stored {name} of pod {ids[name]}: {size(row.get('size_bytes'))}{took}", "green")
    for name in failed:
        row = rows[name]
        say(f"failed {name} of pod {ids[name]}: {row['reason']}: {row['message']} ({row['remedy']})", "red")
    for name in skipped:
        say(f"skipped {name} of pod {ids[name]}: {rows[name]['reason']}: {rows[name]['message']}", "yellow")
    for name in late:
        state = rows.get(name, {}).get("state", "not begun")
        say(
            f"{name} of pod {ids[name]}: {state} after {duration(timeout_s)} (`reprise doctor {_address(found)}` tells why)",
            "red",
        )
    if late or failed:
        raise typer.Exit(ERROR)
