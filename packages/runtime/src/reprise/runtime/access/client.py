"""How a client shows NATS who it is, and sees that NATS is NATS: two files.

Plain text is spoken on loopback only, by `nats://127.0.0.1`: to the server of a test, or of docker-compose.dev.yml, which asks
for nothing. There is no setting for it, and `tls://` is never plain.
"""

import base64
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from reprise.runtime.access.tokens import Key

FOLDER = Path("/etc/reprise/nats")
CA = "ca.crt"
CREDENTIALS = "user.creds"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NoCredentials(NatsError):
    """The files are not there, or are not what they should be. A NatsError: they may come."""


@dataclass(frozen=True)
class Credentials:
    """Of one user."""

    name: str
    token: str
    key: "Key"
    trusted: ssl.SSLContext

    @classmethod
    def read(cls, folder: Path) -> "Credentials":
        """Raises NoCredentials."""
        # Imported here: what signs takes memory that whoever speaks plain text need not spend.
        from reprise.runtime.access.tokens import Key

        try:
            token, seed = _blocks((folder / CREDENTIALS).read_text())
            name = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["name"]
            trusted = ssl.create_default_context(cafile=str(folder / CA))
            trusted.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself: the same everywhere
            return cls(name, token, Key.read(seed), trusted)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise NoCredentials(f"the credentials for NATS in {folder} cannot be used: {error}") from error

    def options(self) -> dict[str, Any]:
        """What nats.connect() is to be told."""
        from reprise.runtime.access.rights import inbox

        return {
            "tls": self.trusted,
            "user_jwt_cb": self.token.encode,
            "signature_cb": lambda nonce: base64.b64encode(self.key.private.sign(nonce.encode())),
            "inbox_prefix": inbox(self.name),
        }


def is_plain(url: str) -> bool:
    told = urlsplit(url)
    return told.scheme != "tls" and told.hostname in LOOPBACK


def options(url: str, folder: Path) -> dict[str, Any]:
    """What nats.connect() is to be told besides the URL. Raises NoCredentials."""
    return {} if is_plain(url) else Credentials.read(folder).options()


def _blocks(text: str) -> tuple[str, str]:
    """The token and the seed: the first line of each block."""
    lines = text.splitlines()
    token, seed = (lines[index + 1].strip() for index, line in enumerate(lines) if line.startswith("-----BEGIN"))
    return token, seed
