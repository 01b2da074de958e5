"""What `inspect` and `diff` show of archives, pure: the rows of their tables."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from reprise.archive.inspection import Inspection, OpenFile, Process, Share, Socket, by_kind, by_resource, tree
from reprise.archive.manifest import Manifest
from reprise.cli.rendering import Cell
from reprise.contracts.humane import size

if TYPE_CHECKING:
    from reprise.archive.comparison import Comparison, PageChange

Rows = list[list[Cell]]
T = TypeVar("T", OpenFile, Socket)
PAGE = 4096
PROCESS_COLUMNS = ("PID", "THREADS", "STATE", "IN ARCHIVE", "MAPPED", "COMMAND")
MEMORY_COLUMNS = ("MEMORY", "AREAS", "IN ARCHIVE", "MAPPED")
FILE_COLUMNS = ("PID", "FD", "KIND", "ACCESS", "POSITION", "NAME")
SOCKET_COLUMNS = ("PID", "FD", "PROTOCOL", "STATE", "LOCAL", "PEER", "UNREAD", "UNSENT")
LOCK_COLUMNS = ("PID", "FD", "KIND")
MEMBER_COLUMNS = ("SIZE", "FILE IN THE ARCHIVE")
PAGE_COLUMNS = ("PID", "NAME", "SAME", "CHANGED", "ADDED", "REMOVED", "DIFFERENT")
CHANGE_COLUMNS = ("", "WHAT", "PID", "FD", "NAME")


def facts(found: Inspection, manifest: Manifest | None) -> Rows:
    """Name and value, one a line."""
    told, stats = found.facts, found.facts.stats
    tcp = _together(socket for socket in found.sockets if socket.connected)
    lines = [
        ("archive", f"{found.archive}, {size(found.size)}"),
        ("taken", manifest.taken_at.isoformat(timespec="milliseconds") if manifest else found.checkpointed_at),
        ("why", manifest.trigger if manifest else ""),
        ("pod", f"{found.pod or '?'}, container {told.container_name or '?'}"),
        ("kind", f"http: the state that it handed out, {told.content_type or 'of no type'}" if told.kind == "http" else ""),
        ("base image", f"{told.base_image or '?'} ({told.base_image_id[:19] or 'no id'})"),
        ("runtime", f"{told.runtime}, {told.oci_runtime or '?'}; CRIU {told.criu_version or '?'}" if told.runtime else ""),
        ("node", f"{manifest.target.node}, {manifest.architecture}, kernel {manifest.kernel}" if manifest else ""),
        (
            "pause",
            f"{stats.frozen_time_us / 1000:.0f} ms frozen, of which {stats.memdump_time_us / 1000:.0f} ms memory"
            if told.runtime
            else "",
        ),
        ("pages", f"{stats.pages_written} written of {stats.pages_scanned} seen" if told.runtime else ""),
        ("stored", f"{size(manifest.cost.new)} were new, {size(manifest.cost.uploaded)} uploaded" if manifest else ""),
        ("mounts", ", ".join(found.mounts)),
        ("connections", _connections(len(tcp), closed=found.tcp_closed)),
    ]
    return [[Cell(name, "dim"), Cell(value)] for name, value in lines if value]


def _connections(count: int, *, closed: bool) -> str:
    if not count:
        return ""
    how = (
        "closed when it is restored: the program sees its peers gone"
        if closed
        else "kept: restored only where their addresses are"
    )
    return f"{count} open TCP connection{'s' if count > 1 else ''}, {how}"


def processes(found: Inspection) -> Rows:
    return [[*_process(process), Cell(f"{'  ' * depth}{command(process)}", "bold")] for depth, process in tree(found.processes)]


def _process(process: Process) -> list[Cell]:
    odd = "" if process.state == "running" else "yellow"
    return [
        Cell(str(process.pid)), Cell(str(process.threads)), Cell(process.state, odd), Cell(size(process.stored)),
        Cell(size(process.mapped)),
    ]  # fmt: skip


def command(process: Process) -> str:
    return " ".join(process.command) or process.executable or process.name


def memory(found: Inspection, most: int) -> Rows:
    """By kind, and the files and other areas with the most pages in the archive; most: how many of those."""
    areas = [area for process in found.processes for area in process.areas]
    kinds = [_share(share, share.name) for share in by_kind(areas)]
    top = [share for share in by_resource(areas) if share.stored and not share.name.startswith("[")][:most]
    return kinds + [_share(share, f"  {share.name}") for share in top]


def _share(share: Share, name: str) -> list[Cell]:
    return [Cell(name), Cell(str(share.areas)), Cell(size(share.stored)), Cell(size(share.mapped))]


def files(found: Inspection) -> Rows:
    """One line for each descriptor; processes that share one are named together."""
    return [[Cell(pids), *_file(file)] for pids, file in _together(found.files)]


def _file(file: OpenFile) -> list[Cell]:
    position = "" if file.position is None else str(file.position)
    style = "yellow" if file.kind == "device" and file.name not in HARMLESS else ""
    name = Cell(file.name + (" (deleted)" if file.deleted else ""), style)
    return [Cell(str(file.fd)), Cell(file.kind), Cell(file.access), Cell(position), name]


HARMLESS = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "pts/0")}


def sockets(found: Inspection) -> Rows:
    return [[Cell(pids), *_socket(socket)] for pids, socket in _together(found.sockets)]


def _socket(socket: Socket) -> list[Cell]:
    style = "yellow" if socket.protocol == "mptcp" or socket.connected else ""
    queues = [Cell(str(count) if count else "") for count in (socket.unread, socket.unsent)]
    return [
        Cell(str(socket.fd)), Cell(socket.protocol, style), Cell(socket.state), Cell(socket.local), Cell(socket.remote), *queues
    ]  # fmt: skip


def _together(entries: Iterable[T]) -> list[tuple[str, T]]:
    """Each entry once, with the ids of all processes that have the same under the same number."""
    pids: dict[T, list[str]] = {}
    for entry in entries:
        pids.setdefault(replace(entry, pid=0), []).append(str(entry.pid))
    return [(",".join(every), entry) for entry, every in pids.items()]


def locks(found: Inspection) -> Rows:
    return [[Cell(str(lock.pid)), Cell(str(lock.fd)), Cell(lock.kind)] for lock in found.locks]


def members(found: Inspection) -> Rows:
    return [[Cell(size(count)), Cell(path)] for path, count in found.members]


def log(found: Inspection) -> list[Cell]:
    """What CRIU complained of, then how its log ends."""
    told = [Cell(line, "red") for line in found.log.errors] + [Cell(line, "yellow") for line in found.log.warnings]
    return [*told, *(Cell(line, "dim") for line in found.log.tail)]


def pages(found: "Comparison") -> Rows:
    every = [change for change in found.pages if change.same + change.changed + change.added + change.removed]
    return [_pages(change) for change in (*every, *([found.totals] if len(every) > 1 else []))]


def _pages(change: "PageChange") -> list[Cell]:
    now = change.same + change.changed + change.added
    different = change.changed + change.added
    share = f"{size(different * PAGE)}, {100 * different / now:.1f} %" if now else "-"
    counts = (change.same, change.changed, change.added, change.removed)
    return [Cell(str(change.pid or "")), Cell(change.name), *(Cell(str(count)) for count in counts), Cell(share, "bold")]


def changes(found: "Comparison") -> Rows:
    """Processes, files and sockets that came (+) or are gone (-)."""
    rows: Rows = []
    for sign, style, people, things, ends in (
        ("-", "red", found.gone, found.files_gone, found.sockets_gone),
        ("+", "green", found.came, found.files_came, found.sockets_came),
    ):
        told: Sequence[tuple[str, int, str, str]] = (
            *(("process", process.pid, "", command(process)) for process in people),
            *((file.kind, file.pid, str(file.fd), file.name) for file in things),
            *((socket.protocol, socket.pid, str(socket.fd), _ends(socket)) for socket in ends),
        )
        rows += [[Cell(sign, style), Cell(what), Cell(str(pid)), Cell(fd), Cell(name, style)] for what, pid, fd, name in told]
    return rows


def _ends(socket: Socket) -> str:
    return f"{socket.state} {socket.local}{f' to {socket.remote}' if socket.remote else ''}".strip()
