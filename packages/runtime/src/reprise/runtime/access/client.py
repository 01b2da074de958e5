"""How a service shows NATS who it is, and sees that NATS is NATS: two files, read anew at each connection.

A URL `tls://` asks for it.
"""

import base64
import json
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats.errors import Error as NatsError

FOLDER = Path("/etc/reprise/nats")
CA = "ca.crt"
CREDENTIALS = "user.creds"


class NoCredentials(NatsError):
    """The files are not there, or are not what they should be. A NatsError: they may come."""


def options(url: str, folder: Path) -> dict[str, Any]:
    """What nats.connect() is to be told besides the URL. Raises NoCredentials."""
    if urlsplit(url).scheme != "tls":
        return {}
    # Imported here: what signs takes memory that a test's, or a developer's, service need not spend.
    from reprise.runtime.access.rights import inbox
    from reprise.runtime.access.tokens import Key

    try:
        token, seed = _read(folder / CREDENTIALS)
        key, context = Key.read(seed), ssl.create_default_context(cafile=str(folder / CA))
        name = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["name"]
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise NoCredentials(f"the credentials for NATS in {folder} cannot be used: {error}") from error
    return {
        "tls": context,
        "user_jwt_cb": token.encode,
        "signature_cb": lambda nonce: base64.b64encode(key.private.sign(nonce.encode())),
        "inbox_prefix": inbox(name),
    }


def _read(path: Path) -> tuple[str, str]:
    """The token and the seed: the first line of each block."""
    lines = path.read_text().splitlines()
    token, seed = (lines[index + 1].strip() for index, line in enumerate(lines) if line.startswith("-----BEGIN"))
    return token, seed
