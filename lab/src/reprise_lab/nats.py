"""NATS' credentials in the lab: made as an installation makes them. Tests get one that may do everything."""

import json
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from reprise.runtime.access import install
from reprise.runtime.access.authority import OWNER, Authority
from reprise.runtime.access.client import Credentials

from reprise_lab import listing
from reprise_lab.node import Node
from reprise_lab.paths import HOME, NODES
from reprise_lab.shell import kubectl

NAMESPACE = "reprise-system"
OWN = HOME / "nats" / OWNER
FOLDER = "etc/reprise/nats"
"""Below a node's root."""


def authority() -> Authority:
    """Kept as the cluster's own certificates are."""
    return Authority(HOME / "nats")


def provide(manifest: Path) -> None:
    """The namespace (its manifest), the Secrets in it, and the files of each node and of our own, before NATS starts."""
    kubectl("apply", "-f", str(manifest))
    kubectl("apply", "-f", "-", stdin=json.dumps(install.secrets(authority(), NAMESPACE)))
    for name in NODES:
        install.furnish(authority(), name, Node(name).root / FOLDER)
    for file, text in authority().user(OWNER, OWNER).items():
        (OWN / file).parent.mkdir(mode=0o700, exist_ok=True)
        (OWN / file).write_text(text)


async def connect(**options: Any) -> Client:
    """As whoever installed Reprise: what a test does or sees is no user's of ours."""
    client, known = Client(), Credentials.read(OWN).options()
    url = f"tls://{listing.service_address('nats')}:4222"
    await client.connect(url, tls_hostname=install.host(NAMESPACE), **known, **options)
    return client
