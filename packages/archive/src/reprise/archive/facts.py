"""What a checkpoint archive says of itself, read in one streaming pass with bounded memory; nothing is extracted.

An archive is a plain tar of the container runtime's making. CRI-O's members: checkpoint/ (CRIU's images), config.dump,
spec.dump, stats-dump, dump.log, bind.mounts, rootfs-diff.tar. containerd's have `status` besides. Source: CRI-O
internal/lib/checkpoint.go, checkpointctl's lib/metadata.go.
"""

import json
import struct
import tarfile
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict
from reprise.contracts.errors import RepriseError
from reprise.contracts.model import CriuStats

MAX_DOCUMENT = 4 << 20
MAX_MEMBERS = 1_000_000
REQUIRED = ("config.dump", "spec.dump", "stats-dump", "checkpoint/inventory.img")
STATS_MAGIC = (0x55105940, 0x57093306)
REMEDY = "the archive is thrown away; the next checkpoint is not affected. See the container runtime's log if it repeats"


class BadArchive(RepriseError):
    """Not a checkpoint archive, or a damaged one."""


class ArchiveFacts(BaseModel):
    """What a manifest keeps of an archive. container_id: the runtime's id of the process that was dumped."""

    model_config = ConfigDict(frozen=True)

    runtime: Literal["cri-o", "containerd"]
    container_id: str
    container_name: str
    base_image: str
    base_image_id: str
    oci_runtime: str
    stats: CriuStats
    members: int


def read_facts(stream: IO[bytes], name: str) -> ArchiveFacts:
    """Read the tar from stream to its end; name is for messages. Raises BadArchive saying what is wrong."""
    documents: dict[str, bytes] = {}
    seen: set[str] = set()
    count = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                count += 1
                if count > MAX_MEMBERS:
                    raise BadArchive(f"more than {MAX_MEMBERS} members", subject=name, remedy=REMEDY)
                path = member.name.removeprefix("./").rstrip("/")
                if path.startswith("/") or ".." in path.split("/"):
                    raise BadArchive(f"member {path[:200]!r} points outside", subject=name, remedy=REMEDY)
                if path in REQUIRED or path == "status":
                    if path in seen:
                        raise BadArchive(f"two members are named {path}", subject=name, remedy=REMEDY)
                    seen.add(path)
                    if path != "checkpoint/inventory.img":
                        documents[path] = _document(tar, member, name)
                tar.members.clear()  # type: ignore[attr-defined]  # TarFile remembers every member otherwise: unbounded for a hostile archive
    except BadArchive:
        raise
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError) as error:
        raise BadArchive(f"not a whole tar: {error}", subject=name, remedy=REMEDY) from error
    missing = [path for path in REQUIRED if path not in seen]
    if missing:
        raise BadArchive(f"it lacks {', '.join(missing)}", subject=name, remedy=REMEDY)
    return _facts(documents, name, count)


def _document(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if not member.isreg() or member.size > MAX_DOCUMENT:
        raise BadArchive(f"{member.name} is no file of at most {MAX_DOCUMENT} bytes", subject=name, remedy=REMEDY)
    file = tar.extractfile(member)
    return file.read() if file else b""


def _facts(documents: dict[str, bytes], name: str, count: int) -> ArchiveFacts:
    config = _json(documents["config.dump"], "config.dump", name)
    spec = _json(documents["spec.dump"], "spec.dump", name)
    annotations = spec.get("annotations") if isinstance(spec.get("annotations"), dict) else {}
    crio = any(str(key).startswith("io.kubernetes.cri-o.") for key in annotations or {})

    def text(key: str) -> str:
        return str(config.get(key) or "")

    return ArchiveFacts(
        runtime="cri-o" if crio else "containerd",
        container_id=text("id"),
        container_name=text("name"),
        base_image=text("rootfsImageName") or text("rootfsImage"),
        base_image_id=text("rootfsImageRef"),
        oci_runtime=text("runtime"),
        stats=parse_stats(documents["stats-dump"]),
        members=count,
    )


def _json(data: bytes, member: str, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadArchive(f"{member} is not JSON: {error}", subject=name, remedy=REMEDY) from error
    if not isinstance(value, dict):
        raise BadArchive(f"{member} is not a JSON object", subject=name, remedy=REMEDY)
    return value


def parse_stats(data: bytes) -> CriuStats:
    """CRIU's stats-dump: two magics, a length, and a stats_entry whose field 1 is dump_stats_entry.

    Statistics that cannot be read are all zero: they are told to people and decide nothing.
    """
    try:
        first, second, size = struct.unpack_from("<III", data)
        if (first, second) != STATS_MAGIC:
            return CriuStats()
        dump = _fields(data[12 : 12 + size]).get(1)
        values = _fields(dump) if isinstance(dump, bytes) else {}
    except (struct.error, ValueError, IndexError):
        return CriuStats()
    numbers = {key: value for key, value in values.items() if isinstance(value, int) and value < 1 << 63}
    return CriuStats(
        freezing_time_us=numbers.get(1, 0),
        frozen_time_us=numbers.get(2, 0),
        memdump_time_us=numbers.get(3, 0),
        memwrite_time_us=numbers.get(4, 0),
        pages_scanned=numbers.get(5, 0),
        pages_skipped_parent=numbers.get(6, 0),
        pages_written=numbers.get(7, 0),
    )


def _fields(data: bytes) -> dict[int, int | bytes]:
    """Protobuf's varint and length-delimited fields by number; others end the reading."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            found[tag >> 3], at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            found[tag >> 3], at = data[at : at + size], at + size
        else:
            break
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a varint of more than ten bytes")
