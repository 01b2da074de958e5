"""What an endpoint is, and what came of one delivery to it."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from reprise.contracts.subjects import ROOT

SECRET_PREFIX = "whsec_"


def secret_bytes(secret: str) -> bytes:
    """A Standard Webhooks secret as the key that it stands for. Raises ValueError; its message does not hold the secret."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(f"a secret is {SECRET_PREFIX} and 24 to 64 random bytes in base64")
    return key


def overlap(one: str, other: str) -> bool:
    """Whether a subject can match both patterns."""
    first, second = one.split("."), other.split(".")
    for left, right in zip(first, second, strict=False):
        if ">" in (left, right):
            return True
        if "*" not in (left, right) and left != right:
            return False
    return len(first) == len(second)


def _https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.fragment:
        raise ValueError("an endpoint is an https:// address")
    _ = parts.port  # raises ValueError if it is none
    return url


def _secret(secret: str) -> str:
    secret_bytes(secret)
    return secret


def _pattern(pattern: str) -> str:
    tokens = pattern.split(".")
    if not pattern.startswith(f"{ROOT}.") or "" in tokens or ">" in tokens[:-1] or any(c.isspace() for c in pattern):
        raise ValueError(f"{pattern!r} is not a subject below {ROOT}, such as {ROOT}.failover.>")
    return pattern


class Endpoint(BaseModel):
    """One receiver. A word that is not known is an error, not a wish that is passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$")]
    url: Annotated[str, AfterValidator(_https)]
    secrets: Annotated[tuple[Annotated[str, AfterValidator(_secret)], ...], Field(min_length=1, max_length=3)]
    """Each signs; two while one replaces the other."""
    subjects: Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], Field(min_length=1)] = (f"{ROOT}.>",)
    private: bool = False
    """Whether its address may be one of a private network."""

    @model_validator(mode="after")
    def _apart(self) -> "Endpoint":
        pairs = [(a, b) for i, a in enumerate(self.subjects) for b in self.subjects[:i] if overlap(a, b)]
        if pairs:
            raise ValueError(f"the subjects {pairs[0][1]} and {pairs[0][0]} overlap: an event would be sent twice")
        return self


class Endpoints(BaseModel):
    """The file as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoints: tuple[Endpoint, ...] = ()

    @model_validator(mode="after")
    def _named_once(self) -> "Endpoints":
        names = [endpoint.name for endpoint in self.endpoints]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"the name {min(twice)} is given twice")
        return self


class Disabled(BaseModel):
    """An endpoint that said 410 Gone; of the address that it had then."""

    url_digest: str
    at: str
    """When, for people to read."""


@dataclass(frozen=True)
class Answer:
    """What the endpoint said; status 0: nothing, and error says why."""

    status: int = 0
    retry_after: str = ""
    error: str = ""
