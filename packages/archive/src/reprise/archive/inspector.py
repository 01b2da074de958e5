"""Reads an Inspection out of an archive. Whatever the archive holds, this costs bounded memory and time, and an error names
the archive and what is wrong in it. The memory itself is not read, but for each process's arguments.

Sources: CRIU images/*.proto, criu/include/image.h (areas), criu/include/pid.h (states); checkpointctl shows the same.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

from google.protobuf.message import Message
from reprise.archive.criu import IMG_COMMON_MAGIC, BadImage, PageRun, messages, parse, read_pagemap
from reprise.archive.criu.describe import TASK_STATES, Descriptions, SocketName, areas, arguments, offsets, text
from reprise.archive.criu.tasks_pb2 import (
    core_entry,
    fdinfo_entry,
    file_entry,
    file_lock_entry,
    inventory_entry,
    memfd_inode_entry,
    mm_entry,
    pstree_entry,
    remap_file_path_entry,
    task_kobj_ids_entry,
    tcp_stream_entry,
)
from reprise.archive.criu.volumes import FILES_MAGIC, REMAPS_MAGIC
from reprise.archive.criu.volumes import MOST as MAX_IMAGE
from reprise.archive.facts import ArchiveFacts, facts_of, json_object, read_member
from reprise.archive.inspection import Area, FileLock, Inspection, Log, OpenFile, Process, Socket
from reprise.archive.tarindex import BadArchive, Member, index_file

MAGICS = {
    "inventory": 0x58313116, "pstree": 0x50273030, "core": 0x55053847, "ids": 0x54432030, "mm": 0x57492820,
    "files": FILES_MAGIC, "fdinfo": 0x56213732, "filelocks": 0x54323616, "remap-fpath": REMAPS_MAGIC,
    "memfd": 0x48453499, "tcp-stream": 0x51465506,
}  # fmt: skip
MAX_PROCESSES = 20_000
MAX_OPEN = 500_000
MAX_ARGUMENTS = 4096
MAX_LOG = 16 << 20
TAIL = 20
COMPLAINTS = 100
REMEDY = "nothing was changed; is it a whole tar that a kubelet's checkpoint made, and not still being written?"
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ": "xz"}
LOCKS = {1: "posix", 2: "flock", 4: "ofd", 8: "lease"}
"""CRIU's numbers of them, not the kernel's: criu/include/file-lock.h."""
M = TypeVar("M", bound=Message)


def open_archive(path: Path) -> IO[bytes]:
    """Raises BadArchive if it cannot be read."""
    try:
        return path.open("rb")
    except OSError as error:
        why = error.strerror or str(error)
        raise BadArchive(f"it cannot be read: {why}", subject=str(path), remedy="check the path and its permissions") from error


def inspect_file(file: IO[bytes], name: str) -> Inspection:
    """Of an open tar that can seek, such as OpenArchive.file(); name: what to call it. Raises BadArchive."""
    try:
        return _inspect(file, name)
    except BadImage as error:
        raise BadArchive(str(error), subject=name, remedy=REMEDY) from error
    except BadArchive as error:
        raise BadArchive(error.message, subject=name, reason=error.reason, remedy=REMEDY) from error


def _inspect(file: IO[bytes], name: str) -> Inspection:
    head = file.read(8)
    packed = next((how for magic, how in COMPRESSED.items() if head.startswith(magic)), None)
    if packed:
        raise BadArchive(f"it is compressed: unpack it with `{packed} -d` first", subject=name)
    members = index_file(file, name)
    facts = facts_of(file, name, members)
    images = Images(file, {member.path: member for member in members})
    if facts.kind == "http":
        return _of_state(images, facts, name, members)
    inventory = images.first("inventory", inventory_entry)
    told = Descriptions(
        images.all("files", file_entry), images.all("remap-fpath", remap_file_path_entry), images.all("memfd", memfd_inode_entry)
    )  # fmt: skip
    processes = _processes(images, told)
    files, sockets = _open(images, told, processes)
    config = json_object(images.document("config.dump"), "config.dump", name)
    return Inspection(
        archive=name,
        size=file.seek(0, 2),
        facts=facts,
        checkpointed_at=str(config.get("checkpointedTime") or ""),
        pod=_pod(images),
        tcp_closed=bool(inventory and inventory.tcp_close),
        processes=processes,
        files=files,
        sockets=sockets,
        locks=_locks(images),
        mounts=_mounts(images),
        log=_log(images),
        members=tuple(sorted(((m.path, m.size) for m in members if m.regular), key=lambda each: (-each[1], each[0]))),
    )


def _of_state(images: "Images", facts: ArchiveFacts, name: str, members: list[Member]) -> Inspection:
    """There is no process in it."""
    slot = json_object(images.document("slot.json"), "slot.json", name)
    return Inspection(
        archive=name, size=images.file.seek(0, 2), facts=facts, checkpointed_at=str(slot.get("created_at") or ""),
        pod=f"{slot.get('namespace', '')}/{slot.get('pod', '')}", tcp_closed=False, processes=(), files=(), sockets=(), locks=(),
        mounts=(), log=Log(0, (), (), ()), members=tuple((m.path, m.size) for m in members if m.regular),
    )  # fmt: skip


class Images:
    """The archive's parts by name. Raises BadImage, naming the part."""

    def __init__(self, file: IO[bytes], members: dict[str, Member]) -> None:
        self.file, self.members = file, members

    def document(self, path: str, most: int = MAX_IMAGE) -> bytes:
        """Its first bytes; none if it is not there."""
        member = self.members.get(path)
        return read_member(self.file, member, most) if member and member.regular else b""

    def raw(self, name: str) -> bytes:
        """A whole image, by its name without `.img`; no bytes if it is not there."""
        member = self.members.get(f"checkpoint/{name}.img")
        if member and member.size > MAX_IMAGE:
            raise BadImage(f"{member.path} has {member.size} bytes, more than any real one")
        return self.document(f"checkpoint/{name}.img")

    def all(self, kind: str, message: type[M], of: str = "") -> list[M]:
        """Every message of `<kind>-<of>.img`; none if it is not there."""
        with self._named(kind, of) as data:
            return [parse(message(), raw) for raw in self._messages(kind, data)]

    def first(self, kind: str, message: type[M], of: str = "") -> M | None:
        """What follows the first message is not looked at: a TCP stream's queues do."""
        with self._named(kind, of) as data:
            return parse(message(), next(self._messages(kind, data), b"")) if data else None

    def pages(self, of: int) -> tuple[Member | None, list[PageRun]]:
        """The process's memory: the file with its pages, and what addresses they are of, in that file's order."""
        with self._named("pagemap", str(of)) as data:
            number, runs = read_pagemap(data) if data else (0, [])
        return self.members.get(f"checkpoint/pages-{number}.img"), runs

    def _messages(self, kind: str, data: bytes) -> Iterator[bytes]:
        # The inventory says which version the images are of; it is the same in all, and has no common magic.
        common = () if kind == "inventory" else (IMG_COMMON_MAGIC,)
        return messages(data, *common, MAGICS[kind], most=MAX_IMAGE) if data else iter(())

    @contextlib.contextmanager
    def _named(self, kind: str, of: str) -> Iterator[bytes]:
        name = f"{kind}-{of}" if of else kind
        try:
            yield self.raw(name)
        except BadImage as error:
            raise BadImage(f"checkpoint/{name}.img: {error}") from error


def _processes(images: Images, told: Descriptions) -> tuple[Process, ...]:
    entries = images.all("pstree", pstree_entry)
    if not entries:
        raise BadImage("it lacks checkpoint/pstree.img: no process")
    if len(entries) > MAX_PROCESSES:
        raise BadImage(f"{len(entries)} processes, more than any real one has")
    return tuple(_process(images, told, entry) for entry in entries)


def _process(images: Images, told: Descriptions, entry: pstree_entry) -> Process:
    of = str(entry.pid)
    core, memory = images.first("core", core_entry, of), images.first("mm", mm_entry, of)
    task = core.tc if core else None
    pages, runs = images.pages(entry.pid)
    return Process(
        pid=entry.pid,
        parent=entry.ppid,
        group=entry.pgid,
        session=entry.sid,
        threads=len(entry.threads),
        state=TASK_STATES.get(task.task_state, f"state {task.task_state}") if task else "unknown",
        name=text(task.comm) if task else "",
        executable=told.path(memory.exe_file_id) if memory else "",
        command=_command(images, memory, pages, runs) if memory else (),
        areas=tuple(Area(*area) for area in areas(memory, runs, told.path)) if memory else (),
    )


def _command(images: Images, memory: mm_entry, pages: Member | None, runs: list[PageRun]) -> tuple[str, ...]:
    if pages is None:
        return ()
    data = b""
    end = min(memory.mm_arg_end, memory.mm_arg_start + MAX_ARGUMENTS)
    for offset, count in offsets(runs, memory.mm_arg_start, end):
        if offset + count <= pages.size:
            images.file.seek(pages.offset + offset)
            data += images.file.read(count)
    return arguments(data)


def _open(images: Images, told: Descriptions, processes: Sequence[Process]) -> tuple[tuple[OpenFile, ...], tuple[Socket, ...]]:
    files, sockets = list[OpenFile](), list[Socket]()
    tables: dict[int, list[fdinfo_entry]] = {}
    for process in processes:
        for entry in _descriptors(images, str(process.pid), tables):
            socket = told.socket(entry.id)
            if socket:
                sockets.append(_socket(images, process.pid, entry.fd, socket))
            else:
                files.append(OpenFile(process.pid, entry.fd, *told.file(entry.id, entry.type)))
            if len(files) + len(sockets) > MAX_OPEN:
                raise BadImage(f"more than {MAX_OPEN} open files")
    return tuple(files), tuple(sockets)


def _descriptors(images: Images, of: str, tables: dict[int, list[fdinfo_entry]]) -> list[fdinfo_entry]:
    """The process's table; processes can share one. None for a zombie."""
    ids = images.first("ids", task_kobj_ids_entry, of)
    if ids is None:
        return []
    if ids.files_id not in tables:
        tables[ids.files_id] = images.all("fdinfo", fdinfo_entry, str(ids.files_id))
    return tables[ids.files_id]


def _socket(images: Images, pid: int, fd: int, told: SocketName) -> Socket:
    stream = images.first("tcp-stream", tcp_stream_entry, f"{told.inode:x}") if told.inode and told.protocol == "tcp" else None
    queues = (stream.inq_len, stream.outq_len) if stream else (0, 0)
    return Socket(pid, fd, told.protocol, told.state, told.local, told.remote, *queues)


def _locks(images: Images) -> tuple[FileLock, ...]:
    return tuple(FileLock(e.pid, e.fd, LOCKS.get(e.flag, str(e.flag))) for e in images.all("filelocks", file_lock_entry))


def _pod(images: Images) -> str:
    spec = _json(images.document("spec.dump"))
    told = spec.get("annotations") if isinstance(spec, dict) else None
    annotations = told if isinstance(told, dict) else {}
    for prefix, sandbox in (("io.kubernetes.pod", ""), ("io.kubernetes.cri", "sandbox-")):
        names = (f"{prefix}.{sandbox}namespace", f"{prefix}.{sandbox}name")
        if all(isinstance(annotations.get(name), str) for name in names):
            return "/".join(annotations[name] for name in names)
    return ""


def _mounts(images: Images) -> tuple[str, ...]:
    """Where something was mounted into the container, by spec.dump."""
    spec = _json(images.document("spec.dump"))
    mounts = spec.get("mounts") if isinstance(spec, dict) else None
    found = [each for each in mounts if isinstance(each, dict)] if isinstance(mounts, list) else []
    return tuple(str(each.get("destination", "?")) for each in found if each.get("type") == "bind")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _log(images: Images) -> Log:
    member = images.members.get("dump.log")
    data = images.document("dump.log", MAX_LOG)
    lines = data.decode("utf-8", "backslashreplace").splitlines()
    errors = [line for line in lines if "Error (" in line]
    warnings = [line for line in lines if "Warn  (" in line]
    return Log(member.size if member else 0, tuple(lines[-TAIL:]), tuple(errors[-COMPLAINTS:]), tuple(warnings[-COMPLAINTS:]))
