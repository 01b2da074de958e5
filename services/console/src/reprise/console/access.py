"""Who may do what, pure. Two roles: read, and operate, which may read too. What changes anything needs operate, by a token."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

Role = Literal["read", "operate"]
Resource = Literal["workloads", "nodes", "checkpoints"]
MOST_TOKEN = 8192


@dataclass(frozen=True)
class Who:
    """Somebody whose token was found genuine. via: who vouches for it. expires_at: seconds since the epoch, 0 if unknown."""

    user: str
    groups: frozenset[str] = frozenset()
    via: str = ""
    expires_at: float = 0

    def expired(self, now_s: float | None = None) -> bool:
        return bool(self.expires_at) and self.expires_at <= (time.time() if now_s is None else now_s)


@dataclass(frozen=True)
class Right:
    """To do this with that. namespace, name: empty for all of them.

    Kubernetes knows it as a verb on a resource of the group `reprise.dev`, which needs no such resource to exist.
    """

    role: Role
    resource: Resource = "workloads"
    namespace: str = ""
    name: str = ""

    @property
    def verb(self) -> str:
        return "get" if self.role == "read" else "operate"

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f'/{self.name}' if self.name else ''} (reprise.dev){where}"


class Denied(Exception):
    """The token is none that counts, or what it may do is not enough. Its text says why, and never has the token."""


class Unavailable(Exception):
    """Nobody who could vouch for the token answers."""


Granted = Mapping[Role, frozenset[str]]


def granted(who: Who, right: Right, groups: Granted) -> bool:
    """By groups; `*` is everybody with a genuine token."""
    enough = groups["operate"] if right.role == "operate" else groups["read"] | groups["operate"]
    return "*" in enough or not who.groups.isdisjoint(enough)


def bearer(header: str) -> str:
    """The token of an `Authorization` header; empty if it has none."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def plausible(token: str) -> bool:
    """Whether it can be a JSON web token at all: nobody is asked about anything else."""
    parts = token.split(".")
    return len(token) <= MOST_TOKEN and len(parts) == 3 and all(parts) and token.isascii()


def claims(token: str) -> dict[str, Any]:
    """What a token says of itself: only to know whom to ask, or once it was found genuine."""
    try:
        part = token.split(".")[1]
        told = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def same_origin(host: str, origin: str, fetch_site: str) -> bool:
    """Whether a browser sent this from a page of ours. Every browser tells at least one of both with a form.

    SameSite alone is not enough: it takes every port of a host, and every name of a domain, for the same.
    """
    if fetch_site and fetch_site != "same-origin":
        return False
    if origin:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    return fetch_site == "same-origin"


def inside(address: str) -> str:
    """Where to go on after signing in: only to a page of ours."""
    parts = urlsplit(address)
    ours = not parts.scheme and not parts.netloc and address.startswith("/") and not address.startswith("//")
    return address if ours and "\\" not in address and address.isprintable() else "/"
