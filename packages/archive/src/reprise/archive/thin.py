"""A checkpoint as a thin image: the pages of memory are links to files that lie on the node already.

CRI-O unpacks a checkpoint image when it is pulled, and copies what it unpacked when it restores: a process of 1 GB is
written twice more. It copies links as links, though, and CRIU opens its images by name, so that a link leads it to a file
that was put there before (docs/adr/0007-thin-images.md: why the link looks as it does, and what it asks of the node).
"""

import io
import tarfile
from pathlib import PurePosixPath

from reprise.archive.opened import OpenArchive
from reprise.archive.tarindex import Member

CLIMB = 16
"""Folders to climb from where the runtime restores from to the node's root, or more: above the root is the root."""
DOT = "checkpoint/.up"
MAX_REST = 64 << 20
LEFT_OUT = frozenset({"dump.log"})
"""Not read by a restore, and large."""


def page_files(archive: OpenArchive, least: int) -> dict[str, Member]:
    """The archive's page images, by file name; empty if they are smaller than `least` bytes together or not whole pages."""
    found: dict[str, Member] = {}
    with archive.file() as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            if _is_pages(info):
                found[PurePosixPath(info.name).name] = Member(info.name, info.offset_data, info.size, True)
    total = sum(member.size for member in found.values())
    whole = all(member.size % 4096 == 0 for member in found.values())
    return found if whole and total >= least else {}


def thin_layer(archive: OpenArchive, pages: dict[str, Member], folder: str) -> bytes | None:
    """The image's layer; folder: where the page files lie, absolute, as the node sees it. None if the rest is too large."""
    out = io.BytesIO()
    with archive.file() as file, tarfile.open(fileobj=file, mode="r:") as tar, tarfile.open(fileobj=out, mode="w:") as layer:
        climbed = False
        for info in tar:
            name = PurePosixPath(info.name).name
            if info.name.startswith("checkpoint/") and not climbed:
                layer.addfile(_link(DOT, "."))
                climbed = True
            if name in pages and _is_pages(info):
                layer.addfile(_link(info.name, link_to(f"{folder}/{name}")))
            elif info.name not in LEFT_OUT:
                if out.tell() + info.size > MAX_REST:
                    return None
                layer.addfile(info, tar.extractfile(info) if info.isreg() else None)
    return out.getvalue()


def link_to(path: str) -> str:
    """From the restored container's checkpoint folder to a path of the node.

    CRIU resolves it inside the container's root, where an absolute path leads nowhere; and containers/storage refuses a
    link that climbs out by its letters. `.up` is a link to `.`: by its letters this one stays inside.
    """
    return f"{PurePosixPath(DOT).name}/" * CLIMB + "../" * CLIMB + path.lstrip("/")


def _is_pages(info: tarfile.TarInfo) -> bool:
    return info.isreg() and info.name.startswith("checkpoint/pages-") and info.name.endswith(".img")


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
    return info
