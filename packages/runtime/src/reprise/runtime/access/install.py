"""What an installation needs of an authority: the Secrets of NATS and of each service, and the files of each node."""

from pathlib import Path
from typing import Any

from reprise.runtime.access.authority import NATS, Authority
from reprise.runtime.access.rights import ROLES
from reprise.runtime.access.tokens import node_user

OF_NODES = "agents"


def host(namespace: str) -> str:
    """The name by which every service reaches NATS, and that its certificate has."""
    return f"{NATS}.{namespace}"


def names(namespace: str) -> tuple[str, ...]:
    """What the certificate of NATS is for: all that its clients, and its servers among each other, reach it by."""
    name, peers = host(namespace), f"*.{NATS}-peers.{namespace}"
    return (NATS, name, f"{name}.svc", f"{name}.svc.cluster.local", peers, "localhost", "127.0.0.1")


def secrets(authority: Authority, namespace: str) -> dict[str, Any]:
    """A v1.List: `reprise-nats` for NATS itself, and `reprise-nats-<user>` for each role that is not a node's."""
    found = {"reprise-nats": authority.server(names(namespace))}
    found |= {f"reprise-nats-{role}": authority.user(role, role) for role in ROLES if role != OF_NODES}
    items = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret, "namespace": namespace}, "stringData": files}
        for secret, files in found.items()
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def furnish(authority: Authority, node: str, folder: Path) -> None:
    """Write a node's files into a folder, which is /etc/reprise/nats there. What it has already is kept."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = authority.user(OF_NODES, node_user(node))
    for name, text in wanted.items():
        if not (folder / name).exists():
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
