"""A node's own copies of packs: a folder of bounded size, the least recently used go first.

Packs are kept as they are in the store, encrypted: no process's memory lies here in the clear. The node that took a
checkpoint restores it from here without a download; a standby is filled ahead. One process per folder.
"""

import contextlib
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from reprise.archive.store import Entry, Store


class PackCache:
    """budget: bytes it may hold. spare: bytes that it leaves free on the disk, whatever the budget."""

    def __init__(self, folder: Path, budget: int, spare: int = 1 << 30) -> None:
        self._folder, self._budget, self._spare = folder, budget, spare
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sizes: OrderedDict[str, int] = OrderedDict()
        found = [path for path in folder.rglob("*") if path.is_file()]
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            if path.suffix == ".part":
                path.unlink()  # what a crash left
            else:
                self._sizes[str(path.relative_to(folder))] = path.stat().st_size

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(self._sizes.values())

    def __contains__(self, key: str) -> bool:
        return key in self._sizes

    def put(self, key: str, data: bytes | memoryview) -> bool:
        """Keep it, in place of the least recently used. False if there is no room: that is no error."""
        path = self._path(key)
        with self._lock:
            self._sizes.pop(key, None)  # what it held under this name is overwritten
            if not self._make_room(len(data)):
                path.unlink(missing_ok=True)
                return False
            self._sizes[key] = len(data)
        part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.touch(mode=0o600)
            part.write_bytes(data)
            part.replace(path)
        except OSError:  # a full disk stops caching, nothing else
            self.drop(key)
            part.unlink(missing_ok=True)
            return False
        return True

    def read(self, key: str, offset: int = 0, length: int = 0) -> bytes | None:
        """None if it is not here. length 0 means to the end."""
        try:
            with self._path(key).open("rb", buffering=0) as file:
                os.utime(file.fileno())  # the order survives a restart
                file.seek(offset)
                data = file.read(length) if length else file.read()
        except OSError:
            return None
        with self._lock, contextlib.suppress(KeyError):
            self._sizes.move_to_end(key)
        return data

    def drop(self, key: str) -> None:
        with self._lock:
            self._sizes.pop(key, None)
        self._path(key).unlink(missing_ok=True)

    def over(self, store: Store) -> "CachedStore":
        return CachedStore(self, store)

    def _make_room(self, size: int) -> bool:
        if size > self._budget or shutil.disk_usage(self._folder).free - size < self._spare:
            return False
        held = sum(self._sizes.values())
        while held + size > self._budget:
            key, gone = self._sizes.popitem(last=False)
            self._path(key).unlink(missing_ok=True)
            held -= gone
        return True

    def _path(self, key: str) -> Path:
        if key.startswith("/") or ".." in key.split("/"):
            raise ValueError(f"{key[:200]!r} is no key")
        return self._folder / key


class CachedStore:
    """A Store that reads from the cache what is there; everything else is the store's."""

    def __init__(self, cache: PackCache, store: Store) -> None:
        self._cache, self._store = cache, store

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        found = self._cache.read(key, offset, length)
        return self._store.get(key, offset, length) if found is None else found

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._store.put(key, data)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        return self._store.create(key, data)

    def replace(self, key: str, data: bytes | memoryview, version: str) -> bool:
        return self._store.replace(key, data, version)

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._store.get_versioned(key)

    def size(self, key: str) -> int:
        return self._store.size(key)

    def list(self, prefix: str) -> Iterator[Entry]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def check(self) -> None:
        self._store.check()
