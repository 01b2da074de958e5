"""A Store that tells of each read, for a progress bar."""

from collections.abc import Callable, Iterator

from reprise.archive.store import Entry, Store

OnRead = Callable[[str, int], None]


class WatchedStore:
    """on_read(key, bytes) after each get. Everything else is the store's own."""

    def __init__(self, store: Store, on_read: OnRead) -> None:
        self._store, self._on_read = store, on_read

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        data = self._store.get(key, offset, length)
        self._on_read(key, len(data))
        return data

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._store.get_versioned(key)

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._store.put(key, data)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        return self._store.create(key, data)

    def replace(self, key: str, data: bytes | memoryview, version: str) -> bool:
        return self._store.replace(key, data, version)

    def size(self, key: str) -> int:
        return self._store.size(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def check(self) -> None:
        self._store.check()
