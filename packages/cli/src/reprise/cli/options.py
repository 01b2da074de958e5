"""What commands have in common: the options that every one takes, and the examples below each one's help."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from reprise.cli.examples import EXAMPLES
from reprise.cli.when import seconds
from rich.markup import escape

PANEL = "Which cluster and namespace"

PANELS = {
    name: panel
    for panel, names in {
        "Protect": ("status", "protect", "unprotect", "checkpoint", "restore"),
        "Nodes": ("plan", "move", "drain", "uncordon", "failover"),
        "See": ("console", "history", "trace", "events", "inspect", "diff"),
        "Find out why": ("doctor", "support-bundle"),
        "Install and look after": ("preflight", "credentials", "store", "keys"),
    }.items()
    for name in names
}
"""In which part of the help a command stands."""

Kubeconfig = Annotated[
    str, typer.Option("--kubeconfig", rich_help_panel=PANEL, show_default=False, help="Instead of KUBECONFIG or ~/.kube/config.")
]
Context = Annotated[
    str, typer.Option("--context", rich_help_panel=PANEL, show_default=False, help="A context of the kubeconfig.")
]
Namespace = Annotated[
    str,
    typer.Option("-n", "--namespace", rich_help_panel=PANEL, show_default=False, help="Instead of your context's namespace."),
]
GLOBAL: dict[str, Any] = {"kubeconfig": Kubeconfig, "kube_context": Context, "in_namespace": Namespace}
"""By parameter."""

Everywhere = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Of all namespaces.")]
Selector = Annotated[
    str,
    typer.Option("-l", "--selector", metavar="LABELS", show_default=False, help="Only of workloads with these labels: app=cart."),
]


def duration(text: "str | float") -> float:
    """Of an option. Raises typer.BadParameter."""
    try:
        told = seconds(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if told <= 0:
        raise typer.BadParameter("longer than nothing")
    return told


def wait_option(what: str) -> Any:
    """A --timeout."""
    return typer.Option("--timeout", parser=duration, metavar="DURATION", help=what)


def register(app: typer.Typer, path: str, act: Callable[..., Any]) -> None:
    """path: the command's words, such as `checkpoint list`. act gets the options of its own; those that all share choose what the
    session is about, wherever they stand.
    """
    signature = inspect.signature(act)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default="", annotation=option) for name, option in GLOBAL.items()
    ]

    @functools.wraps(act)
    def run(context: typer.Context, **told: Any) -> None:
        kubeconfig, kube_context, namespace = (told.pop(name) for name in GLOBAL)
        context.obj.choose(kubeconfig, kube_context, namespace)
        act(context, **told)

    first, *others = signature.parameters.values()
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in others]
    run.__signature__ = signature.replace(parameters=[first, *own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = act.__annotations__ | GLOBAL
    app.command(path.rpartition(" ")[2], epilog=epilog(path), rich_help_panel=PANELS.get(path))(run)


def epilog(path: str) -> str:
    """As the help shows them: a line each."""
    lines = [f"[bold]{escape(command)}[/bold]" + f"  [dim]{escape(why)}[/dim]" * bool(why) for command, why in EXAMPLES[path]]
    return "\n".join(["[dim]Examples[/dim]", *lines])
