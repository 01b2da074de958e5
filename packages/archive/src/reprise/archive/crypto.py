"""Keys and ciphers. docs/format.md argues why no nonce is ever used twice under one key.

key-encryption key (KEK, a Secret or a KMS; behind KeyWrapper)
  +-- tenant key, one per namespace: page hashes
  +-- data key, one per workload
       +-- HKDF, salted with its random id: a key for each pack and each recipe, used with counters as nonces
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from errno import ENOENT
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from reprise.contracts.errors import RepriseError

KEY = 32
TAG = 16
Buffer = bytes | bytearray | memoryview


class KeyUnavailable(RepriseError):
    """A key cannot be had, or is not the one that this was encrypted with."""


@dataclass(frozen=True)
class Wrapped:
    """A key encrypted under the key-encryption key kek_id."""

    kek_id: str
    data: bytes


class KeyWrapper(Protocol):
    """Wraps keys. context binds a wrapped key to what it is for. Raises KeyUnavailable. A KMS fits behind it."""

    @property
    def active(self) -> str:
        """The id of the key-encryption key that new keys are wrapped under."""
        ...

    def wrap(self, key: bytes, context: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes: ...


class SecretKeys:
    """KeyWrapper over a mounted Secret: each file is one key of 32 bytes, raw or in base64, its name the key's id; the
    file `active` names the one for new keys. Read anew when a key is asked for: a rotated Secret needs no restart.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def active(self) -> str:
        try:
            return self._read("active").decode(errors="replace").strip()
        except OSError as error:
            raise KeyUnavailable(
                f"which key is active cannot be read: {error.strerror}", subject=str(self._folder), remedy=_REMEDY
            ) from error

    def wrap(self, key: bytes, context: bytes) -> Wrapped:
        kek_id, nonce = self.active, os.urandom(12)
        return Wrapped(kek_id, nonce + AESGCM(self._key(kek_id)).encrypt(nonce, key, context))

    def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes:
        try:
            return AESGCM(self._key(wrapped.kek_id)).decrypt(wrapped.data[:12], wrapped.data[12:], context)
        except (InvalidTag, ValueError) as error:
            raise KeyUnavailable(
                f"key-encryption key {wrapped.kek_id!r} is not the one it was wrapped under, or it was damaged",
                subject=context.decode(errors="replace"), remedy=_REMEDY,
            ) from error  # fmt: skip

    def _read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def _key(self, kek_id: str) -> bytes:
        if not kek_id or "/" in kek_id or kek_id.startswith(".") or kek_id == "active":
            raise KeyUnavailable(f"{kek_id[:100]!r} is no key id", subject=str(self._folder), remedy=_REMEDY)
        try:
            data = self._read(kek_id)
        except OSError as error:
            raise KeyUnavailable(
                f"key-encryption key {kek_id!r} is not there", subject=str(self._folder), remedy=_REMEDY
            ) from error
        return _decode(data, kek_id)


class FetchedKeys(SecretKeys):
    """The same over a Secret's data that was read through the API: the keys never touch a disk."""

    def __init__(self, data: Mapping[str, bytes], name: str) -> None:
        super().__init__(Path(name))
        self._data = data

    def _read(self, name: str) -> bytes:
        if name not in self._data:
            raise FileNotFoundError(ENOENT, "it is not in the Secret")
        return self._data[name]


_REMEDY = "mount the Secret with every key-encryption key that is still in use; see docs/format.md, Keys"


def _decode(data: bytes, kek_id: str) -> bytes:
    if len(data) == KEY:
        return data
    try:
        key = base64.b64decode(data.strip(), validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY:
        raise KeyUnavailable(f"key {kek_id!r} is not 32 bytes, raw or in base64", remedy=_REMEDY)
    return key


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), 32 bytes."""
    return HKDF(algorithm=SHA256(), length=KEY, salt=salt, info=info).derive(key)


class Cipher:
    """AES-256-GCM under a key of its own, derived for one object, with the piece's ordinal as nonce.

    owner (the workload's path) and object_id are authenticated with each piece, and so are its ordinal and context:
    a piece at another place, of another object or of another workload does not decrypt.
    """

    FOOTER = 0xFFFFFFFF

    def __init__(self, data_key: bytes, owner: str, object_id: str) -> None:
        self._aead = AESGCM(derive(data_key, object_id.encode(), b"reprise 1 " + owner.encode()))
        self._bound = f"{owner}\0{object_id}\0".encode()

    def encrypt_into(self, ordinal: int, plain: Buffer, out: memoryview, context: bytes = b"") -> None:
        """out: len(plain) + TAG bytes."""
        self._aead.encrypt_into(self._nonce(ordinal), plain, self._bound + context, out)

    def encrypt(self, ordinal: int, plain: Buffer, context: bytes = b"") -> bytes:
        return self._aead.encrypt(self._nonce(ordinal), plain, self._bound + context)

    def decrypt(self, ordinal: int, sealed: Buffer, context: bytes = b"") -> bytes:
        """Raises InvalidTag."""
        if len(sealed) < TAG:
            raise InvalidTag
        return self._aead.decrypt(self._nonce(ordinal), sealed, self._bound + context)

    def decrypt_into(self, ordinal: int, sealed: Buffer, out: memoryview, context: bytes = b"") -> None:
        """out: len(sealed) - TAG bytes. Raises InvalidTag."""
        if len(sealed) < TAG:
            raise InvalidTag
        self._aead.decrypt_into(self._nonce(ordinal), sealed, self._bound + context, out)

    @staticmethod
    def _nonce(ordinal: int) -> bytes:
        return ordinal.to_bytes(12, "big")
