"""What a checkpoint holds, for people: processes, memory, files, sockets, locks, and what CRIU said. Pure data.

inspector.py reads it out of an archive; comparison.py compares two.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from reprise.archive.facts import ArchiveFacts


@dataclass(frozen=True)
class Area:
    """A mapping of a process's memory, [start, end); stored: bytes of it that are in the archive, the rest is files or zeros."""

    start: int
    end: int
    kind: str
    """heap, stack, anonymous, file, shared, shared-file, memfd, kernel, other."""
    protection: str
    """As in `rwx`, with `-`."""
    resource: str
    """The mapped file's path; empty for none."""
    stored: int

    @property
    def size(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class Process:
    """Ids are those inside the container; parent 0: the root. command: its arguments, as far as they are in the archive."""

    pid: int
    parent: int
    group: int
    session: int
    threads: int
    state: str
    name: str
    executable: str
    command: tuple[str, ...]
    areas: tuple[Area, ...]

    @property
    def mapped(self) -> int:
        """Bytes of address space."""
        return sum(area.size for area in self.areas)

    @property
    def stored(self) -> int:
        """Bytes of memory in the archive."""
        return sum(area.stored for area in self.areas)


@dataclass(frozen=True)
class OpenFile:
    """kind: file, device, pipe, fifo, tty, eventpoll, ...; position in bytes, only of files."""

    pid: int
    fd: int
    kind: str
    name: str
    access: str
    """r, w or rw."""
    position: int | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Socket:
    """protocol: tcp, udp, unix-stream, netlink, ...; unread and unsent: bytes in a TCP connection's queues."""

    pid: int
    fd: int
    protocol: str
    state: str
    local: str
    remote: str = ""
    unread: int = 0
    unsent: int = 0

    @property
    def connected(self) -> bool:
        """A TCP connection with a peer that would notice."""
        return self.protocol in ("tcp", "mptcp") and self.state not in ("LISTEN", "CLOSE") and bool(self.remote)


@dataclass(frozen=True)
class FileLock:
    pid: int
    fd: int
    kind: str
    """posix, flock, ofd, lease."""


@dataclass(frozen=True)
class Log:
    """CRIU's dump.log: how long it is in bytes, its last lines, and what it complained about."""

    size: int
    tail: tuple[str, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """archive: its file's name or its checkpoint's id; size in bytes. members: every file in it with its bytes, largest first."""

    archive: str
    size: int
    facts: ArchiveFacts
    checkpointed_at: str
    """As the runtime wrote it; empty if it did not."""
    pod: str
    """namespace/name; empty if the runtime did not say."""
    tcp_closed: bool
    """TCP connections were not kept (CRIU's tcp-close)."""
    processes: tuple[Process, ...]
    files: tuple[OpenFile, ...]
    sockets: tuple[Socket, ...]
    locks: tuple[FileLock, ...]
    mounts: tuple[str, ...]
    log: Log
    members: tuple[tuple[str, int], ...]

    @property
    def stored(self) -> int:
        """Bytes of private memory in the archive."""
        return sum(process.stored for process in self.processes)


@dataclass(frozen=True)
class Share:
    """What all areas of one kind, or of one file, take together, in bytes."""

    name: str
    areas: int
    mapped: int
    stored: int


def by_kind(areas: Iterable[Area]) -> list[Share]:
    """Largest in the archive first."""
    return _shares((area.kind, area) for area in areas)


def by_resource(areas: Iterable[Area]) -> list[Share]:
    """By mapped file, or by kind where there is none; largest in the archive first."""
    return _shares((area.resource or f"[{area.kind}]", area) for area in areas)


def _shares(named: Iterable[tuple[str, Area]]) -> list[Share]:
    found: dict[str, list[Area]] = defaultdict(list)
    for name, area in named:
        found[name].append(area)
    shares = [Share(name, len(of), sum(a.size for a in of), sum(a.stored for a in of)) for name, of in found.items()]
    return sorted(shares, key=lambda share: (-share.stored, -share.mapped, share.name))


def tree(processes: Iterable[Process]) -> list[tuple[int, Process]]:
    """Each with its depth, a parent before its children. Whatever the ids say, each process comes once."""
    told = list(processes)
    known, children = {process.pid for process in told}, defaultdict(list)
    for process in told:
        children[process.parent if process.parent in known and process.parent != process.pid else 0].append(process)
    found: list[tuple[int, Process]] = []
    seen: set[int] = set()
    waiting = [(0, process) for process in reversed(children[0])]
    while waiting or len(seen) < len(known):
        if not waiting:  # a ring of parents: begin anywhere
            waiting = [(0, next(process for process in told if process.pid not in seen))]
        depth, process = waiting.pop()
        if process.pid in seen:
            continue
        seen.add(process.pid)
        found.append((depth, process))
        waiting += [(depth + 1, child) for child in reversed(children[process.pid])]
    return found


def as_data(found: Inspection) -> dict[str, Any]:
    """For JSON: all of it, and the sums."""
    data = asdict(found) | {"facts": found.facts.model_dump(mode="json"), "stored": found.stored}
    data["members"] = [{"path": path, "size": size} for path, size in found.members]
    for shown, process in zip(data["processes"], found.processes, strict=True):
        shown |= {"mapped": process.mapped, "stored": process.stored}
        shown["memory"] = [asdict(share) for share in by_kind(process.areas)]
    return data
