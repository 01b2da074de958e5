"""A Store in a folder, as durable as borg's: so that both can be measured on the same disk. For the bench alone."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from reprise.archive.store import Entry
from reprise.contracts.errors import NotStored


class DiskStore:
    """reprise.archive.store.Store, for one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, key: str, data: bytes | memoryview) -> None:
        path = self._folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f"{path.name}.new")
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        new.rename(path)

    def create(self, key: str, data: bytes | memoryview) -> bool:
        if (self._folder / key).exists():
            return False
        self.put(key, data)
        return True

    def replace(self, key: str, data: bytes | memoryview, version: str) -> bool:
        if self.get_versioned(key)[1] != version:
            return False
        self.put(key, data)
        return True

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        try:
            with (self._folder / key).open("rb") as file:
                file.seek(offset)
                return file.read(length or -1)
        except FileNotFoundError as error:
            raise NotStored("it is not in the folder", subject=key) from error

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        data = self.get(key)
        return data, hashlib.sha256(data).hexdigest()

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[Entry]:
        found = (path for path in self._folder.rglob("*") if path.is_file())
        keys = sorted(key for path in found if (key := str(path.relative_to(self._folder))).startswith(prefix))
        return iter([Entry(key, (self._folder / key).stat().st_size, datetime.now(UTC)) for key in keys])

    def delete(self, key: str) -> None:
        (self._folder / key).unlink(missing_ok=True)

    def check(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
