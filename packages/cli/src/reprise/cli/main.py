"""The composition root of the CLI, and the one place where errors become a line and an exit code.

Exit codes: 0 done; 1 it could not be done; 2 not used as it is meant; 3 done, and damage or a problem was found.
"""

import logging
import os
import shlex
import sys
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from reprise.cli.commands import events, moves, store
from reprise.cli.commands.credentials import credentials
from reprise.cli.commands.doctor import doctor
from reprise.cli.commands.export import export
from reprise.cli.commands.history import history, trace
from reprise.cli.commands.inspect import diff, inspect
from reprise.cli.commands.protect import checkpoint, protect, unprotect
from reprise.cli.commands.restore import restore
from reprise.cli.commands.status import status
from reprise.cli.output import ERROR, say
from reprise.cli.ports import Cluster, ClusterError
from reprise.cli.session import LazySession
from reprise.cli.settings import Settings
from reprise.contracts.errors import RepriseError
from typer.core import TyperGroup

Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Instead of KUBECONFIG or ~/.kube/config.")]
Context = Annotated[str, typer.Option("--context", help="A context of the kubeconfig.")]


class Telling(TyperGroup):
    """Every error in one line: what failed, on which object, why, what to do."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RepriseError as error:
            say(sentence(error), "red")
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except Exception as error:
            foreseen = type(error).__module__.startswith("typer.")  # usage errors: typer shows them
            if foreseen or isinstance(error, BrokenPipeError) or Settings().debug:
                raise
            detail = " ".join(str(error).split())[:300]
            say(f"reprise: a bug: {type(error).__name__}: {detail} (REPRISE_DEBUG=1 shows where; please report it)", "red")
        raise typer.Exit(ERROR)


def sentence(error: RepriseError) -> str:
    """subject: message; remedy."""
    return f"reprise: {error}" + (f" ({error.remedy})" if error.remedy else "")


app = typer.Typer(
    name="reprise", cls=Telling, no_args_is_help=True, pretty_exceptions_show_locals=False,
    help="Keeps stateful programs on Kubernetes alive. Also `kubectl reprise`. Exit codes: 0 done, 1 failed, 2 usage, 3 found.",
)  # fmt: skip
app.command()(status)
app.command()(protect)
app.command()(unprotect)
app.command()(checkpoint)
app.command()(restore)
app.command()(doctor)
app.command()(credentials)
app.command()(moves.move)
app.command()(moves.drain)
app.command()(moves.failover)
app.command()(history)
app.command()(trace)
app.command()(inspect)
app.command()(diff)
app.command()(export)
app.add_typer(events.app, name="events")
app.add_typer(store.app, name="store")


@app.callback()
def root(context: typer.Context, kubeconfig: Kubeconfig = "", cluster: Context = "") -> None:
    """Composes what the command needs, unless a test has."""
    # The SDKs' own loggers repeat in many lines what an error of ours says in one.
    for name in ("urllib3", "kubernetes", "websocket", "root"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if context.obj is None:
        try:
            settings = Settings()
        except ValidationError as error:
            first = error.errors()[0]
            name = "REPRISE_" + "_".join(map(str, first["loc"])).upper()
            raise ClusterError(first["msg"], subject=name, remedy="correct it or unset it") from error
        context.obj = LazySession(settings, lambda: _connect(kubeconfig, cluster))


def _connect(kubeconfig: str, cluster: str) -> Cluster:
    # Imported here: the SDK takes a second that `--help` and completion need not wait for.
    from reprise.cli.adapters.cluster import KubeCluster

    return KubeCluster(kubeconfig, cluster)


def run() -> None:
    """The console scripts `reprise` and `kubectl-reprise`."""
    app()


def complete() -> None:
    """The console script `kubectl_complete-reprise`, which kubectl asks how `kubectl reprise ...` goes on.

    It wants a word a line, then `:` and cobra's directive: 4, no files. The words are as for bash.
    """
    words = sys.argv[1:]
    os.environ |= {"_REPRISE_COMPLETE": "complete_bash", "COMP_CWORD": str(len(words))}
    os.environ["COMP_WORDS"] = shlex.join(["reprise", *words])
    try:
        app(prog_name="reprise")
    finally:
        typer.echo(":4")


if __name__ == "__main__":
    run()
