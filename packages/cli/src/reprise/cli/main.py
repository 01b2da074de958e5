"""The composition root of the CLI, and the one place where errors become a line and an exit code.

Exit codes: 0 done; 1 it could not be done; 2 not used as it is meant; 3 done, and damage or a problem was found.
"""

import logging
import os
import shlex
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from reprise.cli.commands import checkpoint, events, history, inspect, keys, moves, store
from reprise.cli.commands.console import console
from reprise.cli.commands.credentials import credentials
from reprise.cli.commands.doctor import doctor, preflight
from reprise.cli.commands.plan import plan
from reprise.cli.commands.protect import protect, unprotect
from reprise.cli.commands.restore import restore
from reprise.cli.commands.status import status
from reprise.cli.commands.support import support_bundle
from reprise.cli.options import PANELS, Context, Kubeconfig, Namespace, epilog, register
from reprise.cli.output import ERROR, say
from reprise.cli.ports import Cluster, ClusterError
from reprise.cli.session import LazySession
from reprise.cli.settings import Settings
from reprise.contracts.errors import RepriseError
from typer.core import TyperGroup

CONTENTS = ("numpy", "zstandard", "blake3", "pyfastcdc")
"""What the extra `contents` installs."""


class Telling(TyperGroup):
    """Every error in one line: what failed, on which object, why, what to do."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RepriseError as error:
            say(sentence(error), "red")
        except (typer.Exit, typer.Abort, KeyboardInterrupt):
            raise
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in CONTENTS:
                raise
            remedy = "pip install 'reprise-cli[contents]'"
            say(f"reprise: this reads what stored checkpoints hold, and {error.name} is not installed ({remedy})", "red")
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
    name="reprise", cls=Telling, no_args_is_help=True, pretty_exceptions_show_locals=False, epilog=epilog(""),
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps stateful programs on Kubernetes alive. Also `kubectl reprise`. Exit codes: 0 done, 1 failed, 2 usage, 3 found.",
)  # fmt: skip
COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., None]], ...] = (
    (app, "status", status), (app, "protect", protect), (app, "unprotect", unprotect), (app, "restore", restore),
    (app, "move", moves.move), (app, "plan", plan), (app, "drain", moves.drain), (app, "uncordon", moves.uncordon),
    (app, "failover", moves.failover), (app, "history", history.history), (app, "trace", history.trace),
    (app, "inspect", inspect.inspect), (app, "diff", inspect.diff), (app, "doctor", doctor), (app, "preflight", preflight),
    (app, "console", console), (app, "credentials", credentials), (app, "support-bundle", support_bundle),
    (checkpoint.app, "checkpoint take", checkpoint.take), (checkpoint.app, "checkpoint list", checkpoint.list_),
    (checkpoint.app, "checkpoint export", checkpoint.export), (checkpoint.app, "checkpoint delete", checkpoint.delete),
    (events.app, "events tail", events.tail), (events.app, "events replay", events.replay),
    (events.app, "events schema", events.schema),
    (store.app, "store check", store.check), (store.app, "store stats", store.stats), (store.app, "store gc", store.gc),
    (keys.app, "keys rotate", keys.rotate),
)  # fmt: skip
for group, path, act in COMMANDS:
    register(group, path, act)
for name, group in {"checkpoint": checkpoint.app, "events": events.app, "store": store.app, "keys": keys.app}.items():
    app.add_typer(group, name=name, rich_help_panel=PANELS[name])


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reprise {version('reprise-cli')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")]


@app.callback()
def root(
    context: typer.Context, kubeconfig: Kubeconfig = "", kube_context: Context = "", in_namespace: Namespace = "",
    version: Version = False,
) -> None:  # fmt: skip
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
        context.obj = LazySession(settings, _connect)
    context.obj.choose(kubeconfig, kube_context, in_namespace)


def _connect(kubeconfig: str, context: str) -> Cluster:
    # Imported here: the SDK takes a second that `--help` and completion need not wait for.
    from reprise.cli.adapters.cluster import KubeCluster

    return KubeCluster(kubeconfig, context)


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
