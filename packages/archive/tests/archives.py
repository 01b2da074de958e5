"""Checkpoint archives in CRI-O's form, for tests."""

import io
import json
import struct
import tarfile
from typing import Any


def stats(frozen_us: int = 1500, pages: int = 321) -> bytes:
    """CRIU's stats-dump with two of its fields."""

    def varint(value: int) -> bytes:
        out = b""
        while value > 0x7F:
            out += bytes([value & 0x7F | 0x80])
            value >>= 7
        return out + bytes([value])

    dump = b"\x10" + varint(frozen_us) + b"\x38" + varint(pages)
    entry = b"\x0a" + varint(len(dump)) + dump
    return struct.pack("<III", 0x55105940, 0x57093306, len(entry)) + entry


def members(container_id: str = "c1") -> dict[str, bytes]:
    config: dict[str, Any] = {
        "id": container_id,
        "name": "counter",
        "rootfsImageName": "localhost/counter:1",
        "rootfsImageRef": "abc",
        "runtime": "runc",
    }
    spec = {"annotations": {"io.kubernetes.cri-o.Annotations": "{}"}}
    return {
        "stats-dump": stats(),
        "dump.log": b"done\n",
        "checkpoint/inventory.img": b"\x00" * 40,
        "checkpoint/pages-1.img": bytes(range(256)) * 64,
        "config.dump": json.dumps(config).encode(),
        "spec.dump": json.dumps(spec).encode(),
    }


def build(content: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
