"""What a checkpoint archive says of itself: whose it is, and what CRIU counted.

An archive is a plain tar of the container runtime's making. CRI-O's members: checkpoint/ (CRIU's images), config.dump,
spec.dump, stats-dump, dump.log, bind.mounts, rootfs-diff.tar. containerd's have `status` besides. Those that our engine wrote,
for either runtime, have `slot.json` (docs/node-files.md). One of kind http has `state`, which the program handed out, and
`slot.json`. Source: CRI-O internal/lib/checkpoint.go, checkpointctl's lib/metadata.go.
"""

import json
import re
from typing import IO, Any, Literal

from pydantic import BaseModel, ConfigDict
from reprise.archive.criu import read_stats
from reprise.archive.criu.volumes import MOST, OpenOn, open_on
from reprise.archive.tarindex import REMEDY, BadArchive, Member
from reprise.contracts.model import CriuStats, Kind

__all__ = ["REMEDY", "ArchiveFacts", "BadArchive", "facts_of"]

MAX_DOCUMENT = 4 << 20
LOG_HEAD = 1 << 16
MOST_TOLD = 256
REQUIRED = ("config.dump", "spec.dump", "stats-dump", "checkpoint/inventory.img")
STATE = "state"
REQUIRED_OF_STATE = (STATE, "slot.json")
DOCUMENTS = ("config.dump", "spec.dump", "stats-dump")
EVERYWHERE = frozenset({
    # CRI-O sets these up anew in whatever container it restores into: server/container_restore.go, ignoreMounts.
    "/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/dev/shm", "/etc/resolv.conf", "/etc/hostname",
    "/etc/passwd", "/etc/group", "/run/secrets", "/run/.containerenv",
})  # fmt: skip
CRIU_VERSION = re.compile(rb"\bVersion: ([0-9][0-9A-Za-z.-]{0,30})")


class ArchiveFacts(BaseModel):
    """What a manifest keeps of an archive. container_id: the runtime's id of the process that was dumped."""

    model_config = ConfigDict(frozen=True)

    runtime: Literal["cri-o", "containerd", ""]
    """Empty, of kind http: it comes back with either."""
    container_id: str
    container_name: str
    base_image: str
    base_image_id: str
    oci_runtime: str
    stats: CriuStats
    members: int
    criu_version: str = ""
    """As CRIU's dump.log says; empty if it does not."""
    mounts: tuple[str, ...] = ()
    """Paths that the container must have a mount at to be restored, besides what each container has."""
    devices: tuple[str, ...] = ()
    """Paths of device nodes that it was given besides what each container has."""
    sized: tuple[str, ...] = ()
    """Where a volume is mounted on which a file is open for writing: CRIU restores it only as long as its size is the same."""
    emptied: tuple[str, ...] = ()
    """Where an emptyDir is mounted on which a file is open for writing: on another node it is not there."""
    kind: Kind = "criu"
    content_type: str = ""
    """Of kind http: as the program told it."""


def facts_of(file: IO[bytes], name: str, members: list[Member], *, open_files: bool = True) -> ArchiveFacts:
    """Read the few documents of an archive, a file that can seek. open_files: whether to look through CRIU's images of them too,
    for `sized` and `emptied`. Raises BadArchive saying what is wrong.
    """
    by_path = {member.path: member for member in members}
    of_state = STATE in by_path
    required = REQUIRED_OF_STATE if of_state else REQUIRED
    missing = [wanted for wanted in required if wanted not in by_path or not by_path[wanted].regular]
    if missing:
        raise BadArchive(f"it lacks {', '.join(missing)}", subject=name)
    if of_state:
        return _state_facts(_document(file, name, by_path["slot.json"]), name, len(members))
    documents = {wanted: _document(file, name, by_path[wanted]) for wanted in DOCUMENTS}
    if (slot := by_path.get("slot.json")) and slot.regular:
        documents["slot.json"] = _document(file, name, slot)
    log = by_path.get("dump.log")
    version = CRIU_VERSION.search(read_member(file, log, LOG_HEAD)) if log else None
    facts = _facts(documents, name, len(members), version[1].decode() if version else "")
    if not open_files:
        return facts
    found = _open_on(file, by_path, json_object(documents["spec.dump"], "spec.dump", name).get("mounts"))
    return facts.model_copy(update={"sized": found.sized[:MOST_TOLD], "emptied": found.emptied[:MOST_TOLD]})


def _open_on(file: IO[bytes], by_path: dict[str, Member], mounts: Any) -> OpenOn:
    """By CRIU's images of its open files, which are small."""

    def image(name: str) -> bytes:
        member = by_path.get(f"checkpoint/{name}.img")
        return read_member(file, member, MOST) if member and member.regular and member.size <= MOST else b""

    return open_on(image("files"), image("remap-fpath"), mounts, (*EVERYWHERE, "/etc/hosts"))


def read_member(file: IO[bytes], member: Member, most: int) -> bytes:
    """The member's first bytes, `most` at most."""
    file.seek(member.offset)
    return file.read(min(member.size, most))


def _document(file: IO[bytes], name: str, member: Member) -> bytes:
    if member.size > MAX_DOCUMENT:
        raise BadArchive(f"{member.path} is no file of at most {MAX_DOCUMENT} bytes", subject=name)
    return read_member(file, member, MAX_DOCUMENT)


def _facts(documents: dict[str, bytes], name: str, count: int, criu_version: str) -> ArchiveFacts:
    config = json_object(documents["config.dump"], "config.dump", name)
    spec = json_object(documents["spec.dump"], "spec.dump", name)
    annotations = spec.get("annotations") if isinstance(spec.get("annotations"), dict) else {}
    crio = any(str(key).startswith("io.kubernetes.cri-o.") for key in annotations or {})
    told = json_object(documents["slot.json"], "slot.json", name).get("runtime") if "slot.json" in documents else None
    runtime = told if told in ("cri-o", "containerd") else "cri-o" if crio else "containerd"

    def text(key: str) -> str:
        return str(config.get(key) or "")

    return ArchiveFacts(
        runtime=runtime,  # type: ignore[arg-type]
        container_id=text("id"),
        container_name=text("name"),
        base_image=text("rootfsImageName") or text("rootfsImage"),
        base_image_id=text("rootfsImageRef"),
        oci_runtime=text("runtime"),
        stats=read_stats(documents["stats-dump"]),
        members=count,
        criu_version=criu_version,
        mounts=tuple(path for path in _texts(spec.get("mounts"), "destination") if path not in EVERYWHERE),
        devices=_texts((spec.get("linux") or {}).get("devices"), "path") if isinstance(spec.get("linux"), dict) else (),
    )


def _state_facts(slot: bytes, name: str, count: int) -> ArchiveFacts:
    told = json_object(slot, "slot.json", name)

    def text(key: str) -> str:
        return str(told.get(key) or "")

    return ArchiveFacts(
        runtime="", container_id=text("container_id"), container_name=text("container"), base_image=text("image"),
        base_image_id="", oci_runtime="", stats=CriuStats(), members=count, kind="http", content_type=text("content_type"),
    )  # fmt: skip


def _texts(items: Any, key: str) -> tuple[str, ...]:
    """Of each object of a list that comes from outside; what is none of that is passed over."""
    found = [item.get(key) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return tuple(sorted({text for text in found if isinstance(text, str)}))[:MOST_TOLD]


def json_object(data: bytes, member: str, name: str) -> dict[str, Any]:
    """Raises BadArchive, naming the member."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadArchive(f"{member} is not JSON: {error}", subject=name) from error
    if not isinstance(value, dict):
        raise BadArchive(f"{member} is not a JSON object", subject=name)
    return value
