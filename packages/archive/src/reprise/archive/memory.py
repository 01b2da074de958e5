"""A Store in a dict, for tests: with a step hook before each call, so that a test can stop or interleave writers."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from reprise.archive.store import Entry
from reprise.contracts.errors import NotStored, StoreUnavailable


class MemoryStore:
    """reprise.archive.store.Store. away=True answers as an unreachable one; step(verb, key) is called before each call."""

    def __init__(self, step: Callable[[str, str], None] = lambda verb, key: None) -> None:
        self.objects: dict[str, bytes] = {}
        self.modified: dict[str, datetime] = {}
        self.away, self.step = False, step
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self._lock = threading.RLock()

    def _up(self, verb: str, key: str) -> None:
        if self.away:
            raise StoreUnavailable("it does not answer", subject=key)
        self.step(verb, key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._up("put", key)
        with self._lock:
            self.objects[key], self.modified[key] = bytes(data), self.now()

    def create(self, key: str, data: bytes) -> bool:
        self._up("create", key)
        with self._lock:
            if key in self.objects:
                return False
            self.objects[key], self.modified[key] = bytes(data), self.now()
            return True

    def replace(self, key: str, data: bytes, version: str) -> bool:
        self._up("replace", key)
        with self._lock:
            if key not in self.objects or _version(self.objects[key]) != version:
                return False
            self.objects[key], self.modified[key] = bytes(data), self.now()
            return True

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        self._up("get", key)
        with self._lock:
            if key not in self.objects:
                raise NotStored("it is not in the store", subject=key)
            return self.objects[key][offset : offset + length if length else None]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        data = self.get(key)
        return data, _version(data)

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[Entry]:
        self._up("list", prefix)
        with self._lock:
            found = [
                Entry(k, len(v), self.modified.get(k) or self.now()) for k, v in self.objects.items() if k.startswith(prefix)
            ]
        return iter(sorted(found, key=lambda entry: entry.key))

    def delete(self, key: str) -> None:
        self._up("delete", key)
        with self._lock:
            self.objects.pop(key, None)

    def check(self) -> None:
        self._up("check", "-")


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
