"""`reprise move` and `reprise drain`: a running process goes on on another node, with its memory."""

import secrets
import time
from typing import Annotated

import typer
from reprise.cli.claims import claimed
from reprise.cli.commands.protect import Name
from reprise.cli.options import wait_option
from reprise.cli.output import ERROR, FINDINGS, say
from reprise.cli.ports import Claimed, ClusterError, Hosted, Mover, Session, Told
from reprise.cli.progress import waiting
from reprise.contracts.annotations import ANY_NODE, MOVE_ID, MOVE_TO, parse
from reprise.contracts.humane import seconds
from reprise.contracts.model import Workload

POLL_S = 0.3
MOVED = "Moved"
LOST_WORK = "MoveLostWork"
"""The move succeeded, but restored a checkpoint older than the last one."""
ENDS = (MOVED, LOST_WORK, "MoveFailed", "MoveRefused")

Timeout = Annotated[float, wait_option("How long to wait for the end.")]
To = Annotated[str, typer.Option("--to", help="The node to move to; any that can if not given.")]
Force = Annotated[
    bool, typer.Option("--force", help="Although so much at once may be a fault of the cluster's network, or ours.")
]
Node = Annotated[str, typer.Argument(metavar="NODE", help="The node to leave.")]


def move(
    context: typer.Context, workload: Name, to: To = "", timeout: Timeout = 180
) -> None:  # fmt: skip
    """Move a protected workload's pod to another node; nothing that it has in memory is lost."""
    session: Session = context.obj
    found = claimed(session, workload)
    mover = session.mover()
    _check(mover, found, to)
    known = _names(mover, found.workload)
    session.objects().annotate(found.workload, {MOVE_ID: secrets.token_hex(4), MOVE_TO: to or ANY_NODE})
    what = str(found.workload)
    with waiting(f"moving {what}"):
        told = _end(mover, found.workload, known, timeout)
    if told.reason == LOST_WORK:
        say(f"{what}: {told.message}", "yellow")
        raise typer.Exit(FINDINGS)
    if told.reason != MOVED:
        raise ClusterError(told.message, subject=what)
    say(f"{what}: {told.message}", "green")


def drain(context: typer.Context, node: Node, timeout: Timeout = 600) -> None:
    """Cordon a node and wait until each protected pod has been moved off it. `kubectl drain` then ends the others."""
    session: Session = context.obj
    mover = session.mover()
    nodes = mover.nodes()
    if node not in nodes:
        raise ClusterError("there is no such node", subject=f"node {node}", remedy="`kubectl get nodes` lists them")
    pods = mover.hosted(node)
    known = {workload: _names(mover, workload) for workload in {pod.workload for pod in pods}}
    if not nodes[node]:
        mover.cordon(node)
        say(f"node {node} is cordoned")
    with waiting(f"moving {len(pods)} pods off {node}"):
        stay, lost = _leave(mover, node, pods, known, timeout)
    moved = len(set(pods) - stay.keys() - lost.keys())
    say(f"{moved} of {len(pods)} protected pods moved off {node}", "yellow" if stay or lost else "green")
    for pod, why in stay.items():
        say(f"{pod.workload} stays: {why}", "red")
    for pod, why in lost.items():
        say(f"{pod.workload} has left: {why}", "red")
    if stay:
        say(f"Correct that and run `reprise drain {node}` again; or end them cold with `kubectl drain {node}`.")
    if stay or lost:
        raise typer.Exit(ERROR)
    say(f"`kubectl drain {node} --ignore-daemonsets --delete-emptydir-data` ends the others.")
    say(f"`reprise uncordon {node}` lets it take pods again.")


def uncordon(context: typer.Context, node: Annotated[str, typer.Argument(metavar="NODE")]) -> None:
    """Let a node take pods again, after `drain` or `kubectl cordon`. What was moved away stays where it is."""
    session: Session = context.obj
    mover = session.mover()
    nodes = mover.nodes()
    if node not in nodes:
        raise ClusterError("there is no such node", subject=f"node {node}", remedy="`kubectl get nodes` lists them")
    if nodes[node]:
        mover.uncordon(node)
    say(f"node {node} {'takes pods again' if nodes[node] else 'was not cordoned'}", "green" if nodes[node] else "")


def failover(context: typer.Context, force: Force = False) -> None:
    """Fail over what the brake holds back: lost nodes beyond half of the nodes, or of the protected pods."""
    session: Session = context.obj
    if not force:
        raise typer.BadParameter("lost nodes are failed over by themselves; --force does it for those that the brake holds back")
    session.mover().force_failovers(session.system_namespace, secrets.token_hex(4))
    say("asked for: each lost node that is held back now is given up within seconds", "yellow")
    say("`kubectl reprise events replay --type node.lost --since 1m` shows them; nodes that are lost later are held back again.")


def _check(mover: Mover, found: Claimed, to: str) -> None:
    """What the user can correct is told at once."""
    workload = found.workload
    if not parse(found.annotations).policy.protects:
        kind = workload.kind.lower()
        raise ClusterError(
            "it is not protected", subject=str(workload),
            remedy=f"`reprise protect {workload.namespace}/{kind}/{workload.name}` protects it",
        )  # fmt: skip
    nodes = mover.nodes() if to else {}
    if to and to not in nodes:
        raise ClusterError("there is no such node", subject=f"node {to}", remedy="`kubectl get nodes` lists them")
    if nodes.get(to):
        raise ClusterError("it is cordoned", subject=f"node {to}", remedy=f"`reprise uncordon {to}`, or choose another node")


def _names(mover: Mover, workload: Workload) -> set[str]:
    return {told.name for told in mover.told(workload)}


def _end(mover: Mover, workload: Workload, known: set[str], timeout_s: float) -> Told:
    """The first event that tells an end, of those that came since."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for told in mover.told(workload):
            if told.reason in ENDS and told.name not in known:
                return told
        time.sleep(POLL_S)
    raise ClusterError(
        f"no end within {seconds(timeout_s)}", subject=f"move of {workload}",
        remedy=f"it goes on by itself: `kubectl -n {workload.namespace} describe {workload.kind.lower()} {workload.name}`; "
        "is Reprise up? `kubectl -n reprise-system get pods`",
    )  # fmt: skip


def _leave(
    mover: Mover, node: str, pods: list[Hosted], known: dict[Workload, set[str]], timeout_s: float
) -> tuple[dict[Hosted, str], dict[Hosted, str]]:
    """Wait until no protected pod is left there, or none of them is still being tried.

    Those that stay, and those that left without their memory; and why. One that keeps its name leaves before it is known whether
    it comes back: its end is waited for.
    """
    end, failed = time.monotonic() + timeout_s, dict[Hosted, Told]()
    late = f"no end within {seconds(timeout_s)}"
    while True:
        left = mover.hosted(node)
        for pod in left:
            told = _last(mover, pod, known)
            if told and told.reason != MOVED:
                failed[pod] = told
        ends = {pod: _last(mover, pod, known) for pod in pods if pod.keeps_name and pod not in left}
        # What failed while it was still there was tried again since.
        open_ = {pod for pod, told in ends.items() if told is None or told == failed.get(pod)}
        if (failed.keys() >= set(left) and not open_) or time.monotonic() > end:
            stay = {pod: failed[pod].message if pod in failed else late for pod in left}
            cold = {pod: told.message for pod, told in ends.items() if told and told.reason != MOVED and pod not in open_}
            return stay, cold | dict.fromkeys(open_, late)
        time.sleep(POLL_S)


def _last(mover: Mover, pod: Hosted, known: dict[Workload, set[str]]) -> Told | None:
    """What was told last of this pod's move, since the beginning."""
    told = [each for each in mover.told(pod.workload) if each.name not in known.get(pod.workload, set())]
    return next((each for each in reversed(told) if each.reason in ENDS and f"pod {pod.pod} " in each.message), None)
