"""`reprise protect`, `unprotect` and `checkpoint`: what a workload's owner asks of Reprise, written as annotations."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer
from reprise.cli.claims import claimed
from reprise.cli.doctor.evidence import since_good
from reprise.cli.output import ERROR, Format, Output, answers, print_data, say
from reprise.cli.ports import Claimed, ClusterError, Objects, Session
from reprise.cli.progress import waiting
from reprise.cli.protection import annotations, consequences, unprotected, warnings
from reprise.cli.remedies import Change, Gate, diff, fixes, gate, patch
from reprise.cli.rendering import duration, pause, size
from reprise.contracts.annotations import CHECKPOINT_NOW, RESTORED_GATE, Policy, parse
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
    typer.Option(
        "--fix",
        help="Set in its pod template what avoids the failures of its checkpoints (variables, a seccomp profile), and in "
        "mode http the readiness gate: shows the diff, asks.",
    ),
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
    wanted = _changes(context.obj, found, policy, fix=fix)
    replaced = False
    if wanted:
        # A script that only protects is asked nothing: nobody would answer.
        may = (fix or yes or answers()) and not dry_run
        replaced = _offer(context.obj, found, wanted, may=may, ask=not yes)
    _write(context.obj, found, made, dry_run=dry_run)
    _tell(found, made, _consequences(found, policy, replaced=replaced), output, dry_run=dry_run)


def _changes(session: Session, found: Claimed, policy: Policy, *, fix: bool) -> tuple[Change, ...]:
    """What is to be offered. Raises NotFixable, ConsoleError."""
    gates = gate(found.spec) if policy.mode == "http" else ()
    if not fix:
        return gates
    with session.console() as console:
        filters = {"namespace": found.workload.namespace, "workload": found.workload.name, "kind": found.workload.kind}
        _, failures = since_good(console.rows("checkpoints", filters, CHECKPOINTS))
    names = [each["name"] for each in found.containers]
    wanted = fixes(found.spec, [name for name in names if name in policy.containers] or names[:1], failures) + gates
    if not wanted:
        say(f"nothing to fix: {_nothing(failures)}")
    return wanted


def _offer(session: Session, found: Claimed, wanted: Sequence[Change], *, may: bool, ask: bool) -> bool:
    """Show what would be set, ask, and set it; whether it is. Raises ClusterError; typer.Abort where nobody answers."""
    told = ", ".join(map(str, wanted))
    if found.workload.kind == "Pod":
        _refuse(found, wanted, told)
        return False
    for line in diff(str(found.workload), found.spec, wanted):
        say(line)
    if any(isinstance(each, Gate) for each in wanted):
        say(f"without the readiness gate {RESTORED_GATE} its Service sends clients to a process that does not have its state yet")
    say(
        "its pods are replaced, and what they have in memory is lost once. Set it in its git repository or Helm chart too, if any"
    )
    if not may or (ask and not typer.confirm("Set this?", err=True)):
        say("not set" if may else f"not set; `reprise protect {_address(found)} --fix` does")
        return False
    session.objects().merge(found.workload, patch(found.spec, wanted))
    say(f"{found.workload}: set {told}", "green")
    return True


def _refuse(found: Claimed, wanted: Sequence[Change], told: str) -> None:
    """Say what its manifest should have. Raises ClusterError if its checkpoints fail without: then protecting it is no use."""
    remedy = f"set {told} in its manifest, and make it anew"
    if all(isinstance(each, Gate) for each in wanted):
        say(f"{found.workload}: a pod's readiness gates cannot be changed ({remedy})", "yellow")
        return
    raise ClusterError("a pod's spec cannot be changed", subject=str(found.workload), remedy=f"{remedy}; nothing was changed")


def _nothing(failures: Sequence[dict[str, Any]]) -> str:
    if not failures:
        return "no checkpoint has failed since the last good one"
    return f"no setting avoids {failures[0].get('reason')}, or it is set: {failures[0].get('remedy') or 'see `reprise doctor`'}"


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


def _consequences(found: Claimed, policy: Policy, *, replaced: bool) -> list[str]:
    names = [container["name"] for container in found.containers]
    chosen = policy.containers or tuple(names[:1])
    probed = all(container.get("livenessProbe") for container in found.containers if container["name"] in chosen)
    return consequences(policy, names, found.replicas, probed=probed, kind=found.workload.kind, replaced=replaced)


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
