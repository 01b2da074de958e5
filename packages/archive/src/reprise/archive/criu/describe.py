"""CRIU's numbers in words: states, kinds of files and of memory, addresses. Pure.

Sources: criu/include/image.h (VMA_*), criu/include/pid.h (TASK_*), Linux' tcp_states.h, in.h, fcntl.h and stat.h.
"""

import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from reprise.archive.criu import PageRun
from reprise.archive.criu.tasks_pb2 import (
    fd_types,
    file_entry,
    inet_sk_entry,
    memfd_inode_entry,
    mm_entry,
    reg_file_entry,
    remap_file_path_entry,
    unix_sk_entry,
    vma_entry,
)

PAGE = 4096
TASK_STATES = {1: "running", 2: "dead", 3: "stopped", 6: "zombie"}
TCP_STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp", 136: "udplite", 255: "raw", 262: "mptcp"}
SOCKET_TYPES = {1: "stream", 2: "dgram", 3: "raw", 5: "seqpacket"}
ACCESS = ("r", "w", "rw", "-")
VMA_KINDS = (
    (1 << 1, "stack"), (1 << 2 | 1 << 3 | 1 << 12, "kernel"), (1 << 5, "heap"), (1 << 14, "memfd"), (1 << 7, "shared-file"),
    (1 << 6, "file"), (1 << 8 | 1 << 10, "shared"), (1 << 9, "anonymous"),
)  # fmt: skip
"""vma_entry.status bits and what to call such an area; the first that fits."""
GROWSDOWN = 0x100


class FileName(NamedTuple):
    """position in bytes, None where there is none."""

    kind: str
    name: str
    access: str
    position: int | None = None
    deleted: bool = False


class SocketName(NamedTuple):
    """inode: by which its TCP stream's image is found; 0 for none."""

    protocol: str
    state: str
    local: str
    remote: str
    inode: int = 0


class Mapped(NamedTuple):
    """start, end: addresses; stored: bytes in the archive."""

    start: int
    end: int
    kind: str
    protection: str
    resource: str
    stored: int


class Descriptions:
    """Looks files up by the id that descriptors and mappings have. inodes: of memfds."""

    def __init__(
        self, files: Iterable[file_entry], remaps: Iterable[remap_file_path_entry], inodes: Iterable[memfd_inode_entry]
    ) -> None:
        self._files = {entry.id: entry for entry in files}
        self._deleted = {entry.orig_id for entry in remaps}
        self._memfds = {inode.inode_id: text(inode.name) for inode in inodes}

    def path(self, file_id: int) -> str:
        """Of a regular file or memfd; empty if it is none."""
        entry = self._files.get(file_id)
        if entry is None:
            return ""
        return self._memfd(entry) if entry.HasField("memfd") else text(entry.reg.name)

    def file(self, file_id: int, kind: int) -> FileName:
        """kind: of fd_types, as the descriptor says."""
        entry = self._files.get(file_id, file_entry())
        label = kind_name(kind)
        if entry.HasField("reg"):
            return self._regular(file_id, entry.reg)
        if entry.HasField("pipe"):
            return FileName("pipe", f"pipe:[{entry.pipe.pipe_id}]", ACCESS[entry.pipe.flags & 3])
        if entry.HasField("fifo"):
            return FileName("fifo", self.path(entry.fifo.regf_id) or f"fifo:[{entry.fifo.pipe_id}]", "rw")
        if entry.HasField("memfd"):
            return FileName("memfd", self._memfd(entry), ACCESS[entry.memfd.flags & 3], entry.memfd.pos)
        if entry.HasField("tty"):
            return FileName("tty", self.path(entry.tty.regf_id) or "tty", ACCESS[entry.tty.flags & 3])
        return FileName(label, f"[{label}]", "rw")

    def socket(self, file_id: int) -> SocketName | None:
        """None if it is no socket."""
        entry = self._files.get(file_id, file_entry())
        if entry.HasField("isk"):
            return _inet(entry.isk)
        if entry.HasField("usk"):
            return _unix(entry.usk)
        if entry.HasField("nlsk"):
            return SocketName("netlink", "", f"protocol {entry.nlsk.protocol}", "")
        if entry.HasField("psk"):
            return SocketName("packet", "", f"interface {entry.psk.ifindex}", "")
        return None

    def _memfd(self, entry: file_entry) -> str:
        return "memfd:" + self._memfds.get(entry.memfd.inode_id, "")

    def _regular(self, file_id: int, entry: reg_file_entry) -> FileName:
        device = stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode)
        folder = stat.S_ISDIR(entry.mode)
        kind = "device" if device else "folder" if folder else "file"
        position = None if device or folder else entry.pos
        return FileName(kind, text(entry.name), ACCESS[entry.flags & 3], position, file_id in self._deleted)


def kind_name(kind: int) -> str:
    """Of fd_types, in lower case; a number where a newer CRIU has one that we do not know."""
    known = fd_types.DESCRIPTOR.values_by_number.get(kind)
    return known.name.lower() if known else f"type {kind}"


def text(name: bytes) -> str:
    """A kernel's name: any bytes but NUL."""
    return name.decode("utf-8", "backslashreplace")


def _inet(entry: inet_sk_entry) -> SocketName:
    protocol = PROTOCOLS.get(entry.proto, f"protocol {entry.proto}")
    state = TCP_STATES.get(entry.state, str(entry.state))
    if protocol not in ("tcp", "mptcp", "sctp"):
        state = "connected" if entry.state == 1 else ""
    remote = _address(entry.dst_addr, entry.dst_port) if entry.dst_port else ""
    return SocketName(protocol, state, _address(entry.src_addr, entry.src_port), remote, entry.ino)


def _address(words: Iterable[int], port: int) -> str:
    """Words are in network order as they lie in memory; ports are the host's."""
    packed = b"".join(struct.pack("<I", word) for word in words)
    if len(packed) == 4:
        return f"{IPv4Address(packed)}:{port}"
    if len(packed) == 16:
        address = IPv6Address(packed)
        return f"{address.ipv4_mapped}:{port}" if address.ipv4_mapped else f"[{address}]:{port}"
    return f"?:{port}"


def _unix(entry: unix_sk_entry) -> SocketName:
    kind = SOCKET_TYPES.get(entry.type, str(entry.type))
    state = {1: "connected", 10: "listening"}.get(entry.state, "")
    name = text(entry.name.removesuffix(b"\0"))
    local = "@" + name[1:].replace("\0", "@") if name.startswith("\0") else name
    return SocketName(f"unix-{kind}", state, local, f"inode {entry.peer}" if entry.peer else "")


def areas(entry: mm_entry, runs: list[PageRun], path: Callable[[int], str]) -> Iterator[Mapped]:
    """The process's mappings by address. runs: its pages in the archive; path: of a file's id."""
    stored, at = sorted((run.vaddr, run.vaddr + run.nr * PAGE) for run in runs), 0
    for vma in sorted(entry.vmas, key=lambda vma: vma.start):
        kept = 0
        while at < len(stored) and stored[at][1] <= vma.start:
            at += 1
        look = at
        while look < len(stored) and stored[look][0] < vma.end:
            kept += max(0, min(vma.end, stored[look][1]) - max(vma.start, stored[look][0]))
            look += 1
        at = max(at, look - 1)
        kind = _area_kind(vma)
        name = path(vma.shmid) if kind in ("file", "shared-file", "memfd") else ""
        yield Mapped(vma.start, vma.end, kind, _protection(vma.prot), name, kept)


def _area_kind(vma: vma_entry) -> str:
    if vma.flags & GROWSDOWN:
        return "stack"
    return next((kind for bits, kind in VMA_KINDS if vma.status & bits), "other")


def _protection(prot: int) -> str:
    return "".join(letter if prot & bit else "-" for bit, letter in ((1, "r"), (2, "w"), (4, "x")))


def offsets(runs: Iterable[PageRun], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where [begin, end) of a process's memory lies in its pages file, as (offset, bytes), as far as it is there."""
    before = 0
    for run in runs:
        low, high = max(begin, run.vaddr), min(end, run.vaddr + run.nr * PAGE)
        if low < high:
            yield before + low - run.vaddr, high - low
        before += run.nr * PAGE


def arguments(data: bytes) -> tuple[str, ...]:
    """Of what lies between mm_arg_start and mm_arg_end."""
    return tuple(text(part) for part in data.rstrip(b"\0").split(b"\0")) if data.strip(b"\0") else ()
