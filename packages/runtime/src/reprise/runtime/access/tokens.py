"""NATS's keys (nkeys) and tokens (JWT version 2) as far as we make them: an operator, an account, its scoped signers, users.

A scoped signer carries a role's rights; a user that it signed has those and no others, with its own name put in. So NATS knows
no list of users: one more node needs no change to NATS. Sources: nats-io/nkeys (strkey.go, crc16.go), nats-io/jwt/v2
(claims.go, account_claims.go, signingkeys.go), ADR-14 of nats-io/nats-architecture-and-design.
"""

import base64
import binascii
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from reprise.contracts import subjects
from reprise.runtime.access.rights import Rights

Kind = Literal["operator", "account", "user"]
_PREFIX: dict[Kind, int] = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
_SEED = 18 << 3
UNLIMITED = -1


@dataclass(frozen=True)
class Key:
    """A key pair of one kind."""

    kind: Kind
    private: Ed25519PrivateKey

    @classmethod
    def new(cls, kind: Kind) -> "Key":
        return cls(kind, Ed25519PrivateKey.generate())

    @classmethod
    def read(cls, seed: str) -> "Key":
        """Raises ValueError."""
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
        body, checksum = raw[:-2], int.from_bytes(raw[-2:], "little")
        prefix = (body[0] & 7) << 5 | body[1] >> 3 if len(body) == 34 else None
        kind = next((kind for kind, known in _PREFIX.items() if known == prefix), None)
        if kind is None or body[0] & 0xF8 != _SEED or binascii.crc_hqx(body, 0) != checksum:
            raise ValueError("this is no seed of a NATS key")
        return cls(kind, Ed25519PrivateKey.from_private_bytes(body[2:]))

    @property
    def seed(self) -> str:
        prefix = _PREFIX[self.kind]
        return _encode(bytes([_SEED | prefix >> 5, (prefix & 31) << 3]) + self.private.private_bytes_raw())

    @property
    def public(self) -> str:
        return _encode(bytes([_PREFIX[self.kind]]) + self.private.public_key().public_bytes_raw())


def _encode(raw: bytes) -> str:
    checked = raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(checked).decode().rstrip("=")


def operator_token(operator: Key, system_account: str) -> str:
    return _token(operator, operator.public, "reprise", {"type": "operator", "version": 2, "system_account": system_account})


def account_token(operator: Key, account: Key, name: str, signers: dict[str, tuple[Key, Rights]]) -> str:
    """signers: by role."""
    limits = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams", "consumer"),
        UNLIMITED,
    )
    if not signers:  # the system account: JetStream is not for it
        limits |= {"mem_storage": 0, "disk_storage": 0, "streams": 0, "consumer": 0}
    scopes = [
        {"kind": "user_scope", "key": key.public, "role": role, "template": _template(given)}
        for role, (key, given) in signers.items()
    ]
    claims = {"type": "account", "version": 2, "limits": limits | {"wildcards": True}, "signing_keys": scopes}
    return _token(operator, account.public, name, claims)


def node_user(node: str) -> str:
    """The name of the user of a node's agents: in a subject it has to be one token."""
    return subjects.token(node)


def user_token(signer: Key, account: str, user: Key, name: str) -> str:
    """Its rights are its signer's; those of one that the account's own key signs are all that there are."""
    claims: dict[str, Any] = {"type": "user", "version": 2, "pub": {}, "sub": {}}
    if signer.public == account:
        claims |= dict.fromkeys(("subs", "data", "payload"), UNLIMITED)
    else:
        claims["issuer_account"] = account
    return _token(signer, user.public, name, claims)


def _template(given: Rights) -> dict[str, Any]:
    allowed = {"pub": {"allow": sorted(given.publish)}, "sub": {"allow": sorted(given.subscribe)}}
    return allowed | dict.fromkeys(("subs", "data", "payload"), UNLIMITED)


def _token(issuer: Key, subject: str, name: str, nats: dict[str, Any]) -> str:
    claims = {"iat": int(time.time()), "iss": issuer.public, "name": name, "sub": subject, "nats": nats}
    told = json.dumps(claims, separators=(",", ":"), sort_keys=True).encode()
    claims["jti"] = base64.b32encode(hashlib.sha256(told).digest()).decode().rstrip("=")
    header = {"typ": "JWT", "alg": "ed25519-nkey"}
    signed = ".".join(_url(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
    return f"{signed}.{_url(issuer.private.sign(signed.encode()))}"


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
