"""What is different between two checkpoints: pages by their contents and addresses, processes, files and sockets."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from reprise.archive.criu import BadImage, PageRun
from reprise.archive.criu.describe import PAGE
from reprise.archive.inspection import Inspection, OpenFile, Process, Socket
from reprise.archive.inspector import REMEDY, Images
from reprise.archive.pages import Hashes, hash_units, rows
from reprise.archive.tarindex import BadArchive, Member, index_file

BLOCK = 16 << 20
"""Bytes read at once: a stored archive is fetched in stretches."""
KEY = bytes(32)  # hashes are compared and forgotten: nothing here is secret
OnRead = Callable[[int], None]


@dataclass(frozen=True)
class Pages:
    """A process's pages in an archive: their addresses, ascending, and beside each the hash of what is in it."""

    addresses: npt.NDArray[np.uint64]
    hashes: Hashes


Memory = dict[int, Pages]
"""By process id."""


@dataclass(frozen=True)
class PageChange:
    """Counts of pages of 4096 bytes. A page is known by process and address."""

    pid: int
    name: str
    same: int
    changed: int
    added: int
    removed: int


@dataclass(frozen=True)
class Comparison:
    """before and after: the archives' names. What came is only in the second, what is gone only in the first.

    Files and sockets: of processes that are in both.
    """

    before: str
    after: str
    size: tuple[int, int]
    """Bytes of the two archives."""
    pages: tuple[PageChange, ...]
    came: tuple[Process, ...]
    gone: tuple[Process, ...]
    files_came: tuple[OpenFile, ...]
    files_gone: tuple[OpenFile, ...]
    sockets_came: tuple[Socket, ...]
    sockets_gone: tuple[Socket, ...]

    @property
    def totals(self) -> PageChange:
        """Of all processes."""

        def total(name: str) -> int:
            return sum(getattr(change, name) for change in self.pages)

        return PageChange(0, "all", total("same"), total("changed"), total("added"), total("removed"))


def read_memory(file: IO[bytes], name: str, pids: Iterable[int], on_read: OnRead = lambda _: None) -> Memory:
    """Hashes every page of these processes; on_read is told the bytes of each piece read. Raises BadArchive."""
    images = Images(file, {member.path: member for member in index_file(file, name)})
    found: Memory = {}
    try:
        for pid in pids:
            pages, runs = images.pages(pid)
            if pages:
                found[pid] = _pages(file, pages, runs, on_read)
    except BadImage as error:
        raise BadArchive(str(error), subject=name, remedy=REMEDY) from error
    return found


def _pages(file: IO[bytes], pages: Member, runs: list[PageRun], on_read: OnRead) -> Pages:
    count = pages.size // PAGE
    if sum(run.nr for run in runs) != count:
        raise BadImage(f"{pages.path} has {count} pages, its pagemap {sum(run.nr for run in runs)}")
    told = [np.arange(run.nr, dtype=np.uint64) * np.uint64(PAGE) + np.uint64(run.vaddr) for run in runs if run.nr]
    addresses = np.concatenate(told) if told else np.empty(0, np.uint64)
    file.seek(pages.offset)
    hashes = bytearray()
    for at in range(0, count * PAGE, BLOCK):
        data = file.read(min(BLOCK, count * PAGE - at))
        hashes += hash_units(memoryview(data), PAGE, KEY)
        on_read(len(data))
    order = np.argsort(addresses, kind="stable")
    return Pages(addresses[order], rows(hashes)[order])


def compare(before: Inspection, after: Inspection, first: Memory, second: Memory) -> Comparison:
    """first, second: what read_memory() found in the two."""
    old, new = ({process.pid: process for process in each.processes} for each in (before, after))
    changes = [_change(new.get(pid, old.get(pid)), pid, first.get(pid), second.get(pid)) for pid in sorted(old | new)]
    both = old.keys() & new.keys()  # what a process had that is gone, or has that came, is not told again
    files_before, files_after = ({_file_key(file): file for file in each.files if file.pid in both} for each in (before, after))
    sockets_before, sockets_after = (
        {_socket_key(socket): socket for socket in each.sockets if socket.pid in both} for each in (before, after)
    )
    return Comparison(
        before=before.archive,
        after=after.archive,
        size=(before.size, after.size),
        pages=tuple(changes),
        came=tuple(new[pid] for pid in new.keys() - old.keys()),
        gone=tuple(old[pid] for pid in old.keys() - new.keys()),
        files_came=tuple(file for key, file in files_after.items() if key not in files_before),
        files_gone=tuple(file for key, file in files_before.items() if key not in files_after),
        sockets_came=tuple(socket for key, socket in sockets_after.items() if key not in sockets_before),
        sockets_gone=tuple(socket for key, socket in sockets_before.items() if key not in sockets_after),
    )


def _change(process: Process | None, pid: int, old: Pages | None, new: Pages | None) -> PageChange:
    name = process.name if process else ""
    if old is None or new is None:
        return PageChange(pid, name, 0, 0, len(new.addresses) if new else 0, len(old.addresses) if old else 0)
    common, at_old, at_new = np.intersect1d(old.addresses, new.addresses, return_indices=True)
    same = int((old.hashes[at_old] == new.hashes[at_new]).all(axis=1).sum()) if len(common) else 0
    return PageChange(pid, name, same, len(common) - same, len(new.addresses) - len(common), len(old.addresses) - len(common))


def _file_key(file: OpenFile) -> tuple[int, int, str, str]:
    # A pipe's number is the kernel's and another one after a restore.
    return file.pid, file.fd, file.kind, "" if file.kind == "pipe" else file.name


def _socket_key(socket: Socket) -> tuple[int, int, str, str, str, str]:
    remote = "" if socket.protocol.startswith("unix") else socket.remote
    return socket.pid, socket.fd, socket.protocol, socket.state, socket.local, remote


def as_data(found: Comparison) -> dict[str, Any]:
    """For JSON, without the memory areas of the processes that came and went."""
    data = asdict(found)
    for process in (*data["came"], *data["gone"]):
        del process["areas"]
    totals = asdict(found.totals)
    return data | {"totals": {name: totals[name] for name in ("same", "changed", "added", "removed")}}
