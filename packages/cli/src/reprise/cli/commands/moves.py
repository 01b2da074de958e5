"""`reprise move` and `reprise drain`: a running process goes on on another node, with its memory."""

import secrets
import time
from typing import Annotated

import typer
from reprise.cli.output import ERROR, say
from reprise.cli.ports import ClusterError, Hosted, Mover, Session
from reprise.cli.progress import waiting
from reprise.contracts.annotations import ANY_NODE, MOVE_ID, MOVE_TO, parse

POLL_S = 0.3
ENDS = ("Moved", "MoveFailed", "MoveRefused")

Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Whose workload; your context's if not given.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for the end.")]
Reference = Annotated[str, typer.Argument(metavar="WORKLOAD", help="NAME, deployment/NAME or NAMESPACE/NAME.")]
To = Annotated[str, typer.Option("--to", help="The node to move to; any that can if not given.")]
Node = Annotated[str, typer.Argument(metavar="NODE", help="The node to leave.")]


def move(
    context: typer.Context, workload: Reference, to: To = "", namespace: Namespace = "", timeout: Timeout = 180
) -> None:  # fmt: skip
    """Move a protected Deployment's pod to another node; nothing that it has in memory is lost."""
    session: Session = context.obj
    space, name = _parsed(workload)
    space = space or namespace or session.namespace()
    session.require_namespace(space)
    mover = session.mover()
    _check(mover, space, name, to)
    request = secrets.token_hex(4)
    known = _names(mover, space, name)
    mover.annotate(space, name, {MOVE_ID: request, MOVE_TO: to or ANY_NODE})
    what = f"deployment/{name} in {space}"
    with waiting(f"moving {what}"):
        reason, message = _end(mover, space, name, known, timeout)
    if reason != "Moved":
        raise ClusterError(message, subject=what)
    say(f"{what}: {message}", "green")


def drain(context: typer.Context, node: Node, timeout: Timeout = 600) -> None:
    """Cordon a node and wait until each protected pod has been moved off it. `kubectl drain` then ends the others."""
    session: Session = context.obj
    mover = session.mover()
    nodes = mover.nodes()
    if node not in nodes:
        raise ClusterError("there is no such node", subject=f"node {node}", remedy="`kubectl get nodes` lists them")
    pods = mover.hosted(node)
    known = {(p.namespace, p.deployment): _names(mover, p.namespace, p.deployment) for p in pods}
    if not nodes[node]:
        mover.cordon(node)
        say(f"node {node} is cordoned")
    with waiting(f"moving {len(pods)} pods off {node}"):
        stay = _leave(mover, node, known, timeout)
    moved = len(pods) - len(stay)
    say(f"{moved} of {len(pods)} protected pods moved off {node}", "green" if not stay else "yellow")
    for pod, why in stay:
        say(f"deployment/{pod.deployment} in {pod.namespace} stays: {why}", "red")
    if stay:
        say(f"Correct that and run `reprise drain {node}` again; or end them cold with `kubectl drain {node}`.")
        raise typer.Exit(ERROR)
    say(f"`kubectl drain {node} --ignore-daemonsets --delete-emptydir-data` ends the others; `kubectl uncordon {node}` ends it.")


def _parsed(reference: str) -> tuple[str, str]:
    """Namespace (empty if not named) and name."""
    head, _, name = reference.rpartition("/")
    if not name or "/" in head:
        raise typer.BadParameter(f"{reference!r} is no workload: write NAME, deployment/NAME or NAMESPACE/NAME")
    if head in ("statefulset", "statefulsets", "sts", "pod", "pods", "po"):
        raise typer.BadParameter(f"a {head} cannot be moved in this version: only Deployments are")
    return ("" if head in ("deployment", "deployments", "deploy") else head), name


def _check(mover: Mover, namespace: str, name: str, to: str) -> None:
    """What the user can correct is told at once."""
    what = f"deployment/{name} in {namespace}"
    if not parse(mover.annotations(namespace, name)).policy.protects:
        raise ClusterError(
            "it is not protected", subject=what,
            remedy=f"`kubectl -n {namespace} annotate deployment {name} reprise.dev/mode=criu` protects it",
        )  # fmt: skip
    nodes = mover.nodes() if to else {}
    if to and to not in nodes:
        raise ClusterError("there is no such node", subject=f"node {to}", remedy="`kubectl get nodes` lists them")
    if nodes.get(to):
        raise ClusterError("it is cordoned", subject=f"node {to}", remedy=f"`kubectl uncordon {to}`, or choose another node")


def _names(mover: Mover, namespace: str, name: str) -> set[str]:
    return {told.name for told in mover.told(namespace, name)}


def _end(mover: Mover, namespace: str, name: str, known: set[str], timeout_s: float) -> tuple[str, str]:
    """The first event that tells an end, of those that came since."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for told in mover.told(namespace, name):
            if told.reason in ENDS and told.name not in known:
                return told.reason, told.message
        time.sleep(POLL_S)
    raise ClusterError(
        f"no end within {timeout_s:g} s", subject=f"move of deployment/{name} in {namespace}",
        remedy=f"it goes on by itself: `kubectl -n {namespace} describe deployment {name}`; is Reprise up? "
        "`kubectl -n reprise-system get pods`",
    )  # fmt: skip


def _leave(mover: Mover, node: str, known: dict[tuple[str, str], set[str]], timeout_s: float) -> list[tuple[Hosted, str]]:
    """Wait until no protected pod is left there, or none of them is still being tried; those that stay, and why."""
    end, why = time.monotonic() + timeout_s, dict[str, str]()
    while True:
        left = mover.hosted(node)
        for pod in left:
            before = known.get((pod.namespace, pod.deployment), set())
            told = [event for event in mover.told(pod.namespace, pod.deployment) if event.name not in before]
            failed = next((event.message for event in reversed(told) if event.reason in ENDS[1:]), "")
            if failed:
                why[pod.pod] = failed
        if all(pod.pod in why for pod in left):
            return [(pod, why[pod.pod]) for pod in left]
        if time.monotonic() > end:
            return [(pod, why.get(pod.pod, f"no end within {timeout_s:g} s")) for pod in left]
        time.sleep(POLL_S)
