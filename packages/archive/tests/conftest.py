"""An in-memory store and well-formed checkpoint archives."""

import io
import json
import struct
import tarfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO

import pytest
from reprise.archive.store import Entry
from reprise.contracts.errors import NotStored, StoreUnavailable

Build = Callable[..., bytes]


class MemoryStore:
    """reprise.archive.store.Store in a dict; away=True answers as an unreachable one."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.away = False

    def _up(self, key: str) -> None:
        if self.away:
            raise StoreUnavailable("it does not answer", subject=key)

    def put_stream(self, key: str, stream: IO[bytes]) -> None:
        self._up(key)
        parts = []
        while data := stream.read(1 << 16):
            parts.append(data)
        self.objects[key] = b"".join(parts)

    def put(self, key: str, data: bytes) -> None:
        self._up(key)
        self.objects[key] = data

    def get(self, key: str) -> bytes:
        self._up(key)
        if key not in self.objects:
            raise NotStored("it is not in the store", subject=key)
        return self.objects[key]

    def stream(self, key: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        data = self.get(key)[offset : offset + length if length else None]
        for at in range(0, len(data), 1000):
            yield data[at : at + 1000]

    def size(self, key: str) -> int:
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[Entry]:
        self._up(prefix)
        now = datetime.now(UTC)
        return iter([Entry(key, len(data), now) for key, data in sorted(self.objects.items()) if key.startswith(prefix)])

    def delete(self, key: str) -> None:
        self._up(key)
        self.objects.pop(key, None)

    def check(self) -> None:
        self._up("-")


def stats_dump(**dump: int) -> bytes:
    """dump: field number as `f<number>` -> value."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 0x7F:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])

    inner = b"".join(varint(int(name[1:]) << 3) + varint(value) for name, value in dump.items())
    entry = varint(1 << 3 | 2) + varint(len(inner)) + inner
    return struct.pack("<III", 0x55105940, 0x57093306, len(entry)) + entry


def members(container_id: str = "c1", name: str = "counter", *, crio: bool = True) -> dict[str, bytes]:
    """What CRI-O (or containerd) puts into an archive, in its order."""
    annotations = {"io.kubernetes.cri-o.Annotations": "{}"} if crio else {"io.kubernetes.cri.container-name": name}
    config = {"id": container_id, "name": name, "rootfsImageName": "docker.io/library/counter:1",
              "rootfsImageRef": "f00d", "runtime": "runc"}  # fmt: skip
    family = {} if crio else {"status": b"{}"}
    return {
        "stats-dump": stats_dump(f1=1200, f2=34000, f3=9000, f4=8000, f5=500, f7=410),
        "dump.log": b"(00.000001) dumping\n",
        "checkpoint/inventory.img": b"\x00inventory",
        "checkpoint/pages-1.img": bytes(range(256)) * 64,
        **family,
        "config.dump": json.dumps(config).encode(),
        "spec.dump": json.dumps({"annotations": annotations}).encode(),
        "bind.mounts": b"[]",
    }


def build(contents: dict[str, bytes] | None = None, extra: tuple[tuple[str, bytes], ...] = ()) -> bytes:
    """A plain tar of these members; extra ones may repeat a name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in (*(members() if contents is None else contents).items(), *extra):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def archive() -> Build:
    return build


@pytest.fixture
def contents() -> Callable[..., dict[str, bytes]]:
    return members


@pytest.fixture
def stats() -> Callable[..., bytes]:
    return stats_dump
