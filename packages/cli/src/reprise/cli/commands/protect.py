"""`reprise protect` and `unprotect`: what a workload's owner asks of Reprise, written as annotations."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer
from reprise.cli.claims import claimed
from reprise.cli.doctor.evidence import since_good
from reprise.cli.names import address
from reprise.cli.output import TABLE, Format, Output, answers, named, print_data, say
from reprise.cli.ports import Claimed, ClusterError, Session
from reprise.cli.protection import annotations, consequences, unprotected, warnings
from reprise.cli.remedies import Change, Gate, diff, fixes, gate, patch
from reprise.contracts.annotations import RESTORED_GATE, Policy, parse

CHECKPOINTS = 200

Name = Annotated[str, typer.Argument(metavar="WORKLOAD", help="[NAMESPACE/][KIND/]NAME; your context's namespace if not named.")]
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


def protect(
    context: typer.Context, workload: Name, interval: Interval = "", keep: Keep = "",
    containers: Containers = "", prestage: Prestage = "", mode: Mode = "", state_path: StatePath = "", state_port: StatePort = "",
    fix: FixIt = False, yes: Yes = False, dry_run: DryRun = False,
    output: Output = TABLE,
) -> None:  # fmt: skip
    """Protect a workload from now on, and say what will happen. Given again, it changes only what is named."""
    chosen = {
        "mode": mode, "interval": interval, "keep": keep, "containers": containers, "prestage": prestage,
        "state-path": state_path, "state-port": state_port,
    }  # fmt: skip
    found = claimed(context.obj, workload)
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
        say("not set" if may else f"not set; `reprise protect {address(found.workload)} --fix` does")
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


def unprotect(context: typer.Context, workload: Name, dry_run: DryRun = False, output: Output = TABLE) -> None:
    """Take no more checkpoints of a workload, and restore it no more. What is stored is kept."""
    found = claimed(context.obj, workload)
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
    if output.named:
        named([address(found.workload)])
    written = ", ".join(f"{name}={value}" for name, value in made.items())
    say(f"{found.workload}: {'would write' if dry_run else 'wrote'} {written}", "" if dry_run else "green")
    for line in told:
        say(f"  - {line}")
