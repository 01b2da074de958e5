"""`reprise credentials`: who may do what at NATS, as files for the cluster and for each node."""

import json
from pathlib import Path
from typing import Annotated

import typer
from reprise.cli.output import say
from reprise.cli.ports import Session

Folder = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Keep it, outside the cluster: with it any user of NATS can be made.")
]
Nodes = Annotated[list[str], typer.Option("--node", metavar="NODE", help="A node's name; again for each.")]


def credentials(context: typer.Context, folder: Folder, node: Nodes) -> None:
    """Make the certificates and credentials of NATS, of each service, and of each node's agents. Nothing is sent anywhere."""
    # Imported here: other commands need not wait for it.
    from reprise.runtime.access import install
    from reprise.runtime.access.authority import Authority

    session: Session = context.obj
    authority = Authority(folder / "authority")
    for name in node:
        install.furnish(authority, name, folder / "nodes" / name)
    made = folder / "secrets.json"
    made.touch(mode=0o600)
    made.write_text(json.dumps(install.secrets(authority, session.system_namespace), indent=1) + "\n")
    say(f"kubectl apply -f {made}", "dim")
    say(f"and on each node, as root: copy {folder}/nodes/NODE/* to /etc/reprise/nats/", "dim")
