"""Well-formed checkpoint archives, a set of keys and an in-memory store, for the tests of whoever uses this package."""

import io
import json
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reprise.archive.criu import IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, PAGEMAP_MAGIC, STATS_MAGIC
from reprise.archive.criu.pagemap_pb2 import pagemap_entry, pagemap_head
from reprise.archive.criu.stats_pb2 import dump_stats_entry, stats_entry
from reprise.archive.criu.tasks_pb2 import core_entry, pstree_entry, task_core_entry
from reprise.archive.crypto import KeyUnavailable, Wrapped
from reprise.archive.inspector import MAGICS
from reprise.archive.memory import MemoryStore

__all__ = [
    "FixedKeys", "MemoryStore", "build", "image", "members", "pagemap", "slot_members", "state_members", "stats", "tasks",
    "write_slot",
]  # fmt: skip


def image(magics: tuple[int, ...], *messages: bytes) -> bytes:
    """A CRIU image file."""
    head = struct.pack(f"<{len(magics)}I", *magics)
    return head + b"".join(struct.pack("<I", len(message)) + message for message in messages)


def pagemap(runs: Iterable[tuple[int, int]], pages_id: int = 1, *, wide: bool = True) -> bytes:
    """pagemap-*.img of these (virtual address, number of pages), all present in pages-<pages_id>.img.

    wide: as CRIU 4.2 and later write it.
    """
    entries = []
    for vaddr, nr in runs:
        entry = pagemap_entry(vaddr=vaddr, compat_nr_pages=0 if wide else nr, flags=4)
        if wide:
            entry.nr_pages = nr
        entries.append(entry.SerializeToString())
    return image((IMG_COMMON_MAGIC, PAGEMAP_MAGIC), pagemap_head(pages_id=pages_id).SerializeToString(), *entries)


def stats(frozen_us: int = 1500, pages: int = 321) -> bytes:
    """CRIU's stats-dump."""
    dump = dump_stats_entry(
        freezing_time=1200, frozen_time=frozen_us, memdump_time=9000, memwrite_time=8000, pages_scanned=500,
        pages_skipped_parent=0, pages_written=pages, pages_lazy=0,
    )  # fmt: skip
    return image((IMG_SERVICE_MAGIC, STATS_MAGIC), stats_entry(dump=dump).SerializeToString())


def members(container_id: str = "c1", name: str = "counter", pages: bytes = b"", *, crio: bool = True) -> dict[str, bytes]:
    """What CRI-O (or containerd) puts into an archive, in its order. pages: a whole number of them."""
    pages = pages or bytes(range(256)) * 64
    annotations = {"io.kubernetes.cri-o.Annotations": "{}"} if crio else {"io.kubernetes.cri.container-name": name}
    config: dict[str, Any] = {
        "id": container_id, "name": name, "rootfsImageName": "localhost/counter:1", "rootfsImageRef": "abc", "runtime": "runc",
    }  # fmt: skip
    return {
        "stats-dump": stats(),
        "dump.log": b"(00.000000) Version: 4.1.1 (gitid 0)\n(00.000001) dumping\n",
        "checkpoint/inventory.img": image((0x58313116,), b"\x08\x02"),
        "checkpoint/pagemap-1.img": pagemap([(0x400000, len(pages) // 4096)]),
        "checkpoint/pages-1.img": pages,
        **({} if crio else {"status": b"{}"}),
        "config.dump": json.dumps(config).encode(),
        "spec.dump": json.dumps({"annotations": annotations}).encode(),
        "bind.mounts": b"[]",
    }


def tasks(*pids: int, name: str = "counter") -> dict[str, bytes]:
    """CRIU's images that say which processes there are; members() has the pages of process 1."""
    told = [pstree_entry(pid=pid, ppid=0, pgid=pid, sid=pid, threads=[pid]).SerializeToString() for pid in pids]
    found = {"checkpoint/pstree.img": image((IMG_COMMON_MAGIC, MAGICS["pstree"]), *told)}
    for pid in pids:
        task = task_core_entry(task_state=1, exit_code=0, personality=0, flags=0, blk_sigset=0, comm=name.encode())
        core = core_entry(mtype=1, tc=task).SerializeToString()
        found[f"checkpoint/core-{pid}.img"] = image((IMG_COMMON_MAGIC, MAGICS["core"]), core)
    return found


def build(contents: dict[str, bytes] | None = None, extra: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """A plain tar of these members; extra ones may repeat a name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in (*(members() if contents is None else contents).items(), *extra):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def slot_members(
    container_id: str = "c1", name: str = "counter", pages: bytes = b"", *, runtime: str = "cri-o", checkpoint_id: str = "ck1"
) -> dict[str, bytes]:
    """What the engine writes into a slot (docs/node-files.md)."""
    found = members(container_id, name, pages, crio=runtime == "cri-o")
    told = {"version": 1, "checkpoint_id": checkpoint_id, "container": name, "container_id": container_id, "runtime": runtime}
    left_out = ("bind.mounts", "status")
    return {key: data for key, data in found.items() if key not in left_out} | {"slot.json": json.dumps(told).encode()}


def state_members(
    state: bytes = b'{"count": 7}', container_id: str = "c1", name: str = "counter", *, checkpoint_id: str = "ck1",
    content_type: str = "application/json",
) -> dict[str, bytes]:  # fmt: skip
    """What the checkpointer writes into a slot of kind http."""
    told = {
        "version": 1, "kind": "http", "checkpoint_id": checkpoint_id, "namespace": "default", "pod": "counter-1",
        "container": name, "container_id": container_id, "image": "localhost/counter:1", "content_type": content_type,
    }  # fmt: skip
    return {"slot.json": json.dumps(told).encode(), "state": state}


def write_slot(path: Path, contents: dict[str, bytes] | None = None, *, runtime: str = "cri-o", reverse: bool = False) -> Path:
    """A slot's folder of these members, named by its checkpoint; returns its path."""
    found = slot_members(runtime=runtime, checkpoint_id=path.name) if contents is None else contents
    for name in sorted(found, reverse=reverse):
        (path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / name).write_bytes(found[name])
    return path


class FixedKeys:
    """A KeyWrapper that only marks what it wrapped: nothing is secret in a test."""

    def __init__(self, active: str = "k1") -> None:
        self.active = active

    def wrap(self, key: bytes, context: bytes) -> Wrapped:
        return Wrapped(self.active, context + b"\0" + key)

    def unwrap(self, wrapped: Wrapped, context: bytes) -> bytes:
        if wrapped.kek_id != self.active or not wrapped.data.startswith(context + b"\0"):
            raise KeyUnavailable("it was wrapped under another key", subject=context.decode())
        return wrapped.data[len(context) + 1 :]
