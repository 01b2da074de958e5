"""The object store behind one narrow port. Synchronous and safe to share between threads: callers use threads.

store.py      the port
s3.py         its adapter for any S3 API, and s3_store(), which composes it from the settings
s3_client.py  the minio SDK, taught to send conditional headers and to check integrity cheaply
http_pool.py  its connections and their time-outs
s3_errors.py  what a server's answer means and what to do about it
circuit.py    fails at once while the store is down
calls.py      one request: circuit, time, metrics, retries
claims.py     conditional writes for a server that has none
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One object of a listing: size in bytes, modified by the store's clock."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Raises StoreUnavailable (its `reason` tells why, its `remedy` what to do) and NotStored."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Write the object in one piece, whatever was there. The store checks what arrived against a checksum."""
        ...

    def create(self, key: str, data: bytes | memoryview) -> bool:
        """put() only if there is no such object. False if there is one; of several at once exactly one gets True."""
        ...

    def replace(self, key: str, data: bytes | memoryview, version: str) -> bool:
        """put() only over this version (of get_versioned). False if it has changed since or is gone."""
        ...

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """length bytes from offset; length 0 means to the end. Like a slice, what lies past the end is empty."""
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        """The object and its version, for replace(). The same bytes written again may have the same version."""
        ...

    def size(self, key: str) -> int: ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """Every object whose key begins with prefix, in the order of keys, page by page as it is consumed."""
        ...

    def delete(self, key: str) -> None:
        """Idempotent: no error if it is not there."""
        ...

    def check(self) -> None:
        """Raises StoreUnavailable if the store does not answer or does not let us in. Makes the bucket if it is missing."""
        ...
