"""`reprise-lab`: the lab's command line."""

import signal
import subprocess
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from reprise_lab import build as building
from reprise_lab import cluster, faults, images, kind, preflight
from reprise_lab.lock import held
from reprise_lab.node import Node
from reprise_lab.paths import KUBECONFIG, NODES, NODES_VARIABLE, RUN
from reprise_lab.shell import LabError, kubectl_command, pid_of

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
nodes = typer.Typer(help="Power and network of a node.", no_args_is_help=True)
app.add_typer(nodes, name="node")
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


class What(StrEnum):
    ALL = "all"
    NATS = "nats"
    API = "api"


@app.command(name="preflight")
def preflight_() -> None:
    """Say what this machine lacks, and how to get it."""
    table = Table("", "needs", "seen", "to get it")
    found = preflight.checks()
    for check in found:
        table.add_row("ok" if check.ok else "[red]missing", check.name, check.seen, "" if check.ok else check.remedy)
    Console().print(table)
    if not all(check.ok for check in found):
        raise typer.Exit(1)


KubernetesOption = Annotated[
    kind.Kubernetes | None, typer.Option(help=f"or {kind.KUBERNETES_VARIABLE}; else {kind.DEFAULT.kubernetes}")
]


@app.command()
def build(kubernetes: KubernetesOption = None) -> None:
    """Build the cluster's binaries into the cache; a second run does nothing."""
    preflight.require()
    with held():
        building.build(kubernetes or kind.current().kubernetes)


@app.command(name="images")
def images_(
    names: Annotated[list[str] | None, typer.Argument(help="e.g. reprise-scheduler; all if none")] = None,
) -> None:
    """Build the images that changed; works while the lab is up."""
    cluster.build_images(lambda: images.build(names or ()))


@app.command()
def up(
    runtime: Annotated[kind.Runtime | None, typer.Option(help=f"or {kind.RUNTIME_VARIABLE}; else {kind.DEFAULT.runtime}")] = None,
    cgroup: Annotated[kind.Cgroup | None, typer.Option(help=f"or {kind.CGROUP_VARIABLE}; else {kind.DEFAULT.cgroup}")] = None,
    kubernetes: KubernetesOption = None,
    nodes: Annotated[int | None, typer.Option(help=f"2 or 3; or {NODES_VARIABLE}; else {kind.DEFAULT.nodes}")] = None,
    no_images: bool = False,
) -> None:
    """Boot two nodes with everything they need; or three, any of which may be powered off."""
    chosen = kind.choose(runtime, cgroup, kubernetes, nodes)
    preflight.require(chosen.nodes)
    with held(claim=True):
        cluster.up(chosen, with_images=not no_images)


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="also delete what was built")] = False,
    force: Annotated[bool, typer.Option(help="although another checkout owns it")] = False,
) -> None:
    """Stop everything and leave nothing behind."""
    with held(force=force):
        cluster.down()
    if purge:
        cluster.purge()


@app.command()
def status(leftovers: Annotated[bool, typer.Option(help="exit 1 if anything of the lab is left")] = False) -> None:
    """What runs."""
    if leftovers:
        found = cluster.leftovers()
        print("\n".join(found) or "nothing is left")
        raise typer.Exit(1 if found else 0)
    running = kind.recorded()
    if running is None:
        print("the lab is down")
        raise typer.Exit(3)
    print(f"nodes with {running}")
    for name in NODES:
        print(f"{name}: {'on' if Node(name).init_pid else 'off'}")
    subprocess.run([*map(str, kubectl_command()), "get", "nodes,pods", "-A", "-o", "wide"], check=False)


@app.command()
def logs(name: Annotated[str, typer.Argument(help="e.g. kube-apiserver, n1/kubelet; lists them if none")] = "") -> None:
    """Show a log of the cluster's own processes."""
    if not name:
        print("\n".join(sorted(str(p.relative_to(RUN).with_suffix("")) for p in RUN.rglob("*.log") if "data" not in p.parts)))
        return
    path = RUN / f"{name}.log"
    if not path.exists():
        raise LabError(f"there is no log {name!r}: `reprise-lab logs` lists them")
    subprocess.run(["less", "+G", str(path)] if sys.stdout.isatty() else ["cat", str(path)], check=False)


@app.command()
def shell(node: str) -> None:
    """A shell inside a node."""
    raise typer.Exit(Node(node).shell())


@app.command(name="exec", context_settings=PASS_ON)
def exec_(context: typer.Context, node: str) -> None:
    """Run a command inside a node."""
    raise typer.Exit(Node(node).shell(*context.args))


@app.command(context_settings=PASS_ON)
def kubectl(context: typer.Context) -> None:
    """kubectl with the lab's kubeconfig."""
    command = [*map(str, kubectl_command()), *context.args]
    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def kubeconfig() -> None:
    """Print the kubeconfig's path."""
    print(KUBECONFIG)


@app.command(name="kill")
def kill_(service: Annotated[str, typer.Argument(help="e.g. restorer, n1/kubelet or kube-apiserver")]) -> None:
    """kill -9 every process of a service of Reprise, or of the cluster itself."""
    if pid_of(service):
        cluster.kill_component(service)
    else:
        faults.kill_service(service)


@app.command()
def process_signal(
    pod: str,
    name: Annotated[str, typer.Argument(help="e.g. KILL, STOP, CONT")],
    namespace: Annotated[str, typer.Option("-n")] = "default",
    container: Annotated[str, typer.Option("-c")] = "",
) -> None:
    """Send a signal to a container's first process."""
    try:
        number = signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError:
        raise LabError(f"{name!r} is not a signal") from None
    faults.process_signal(namespace, pod, container, number)


@nodes.command(name="power-off")
def power_off(node: str) -> None:
    """All its processes die at once; its link is gone."""
    faults.power_off(node)


@nodes.command()
def start(node: str) -> None:
    """Boot it again with the disk it had."""
    faults.power_on(node)


@nodes.command()
def cut(node: str, what: Annotated[What, typer.Option("--from")] = What.ALL) -> None:
    """Cut it off the network."""
    faults.cut(node, what.value)


@nodes.command()
def heal(node: str) -> None:
    """End a cut."""
    faults.heal(node)


def main() -> None:
    """The console script: a LabError is a message, not a stack trace."""
    try:
        app()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
