"""Which volumes of a container a process has files open on for writing, pure: what CRIU may not be able to restore.

Of an open file CRIU compares the size with that of the checkpoint (criu/files-reg.c, validate_file), unless the file is open
for appending only (should_check_size). What lies on the container's own file system comes along with a checkpoint; what lies on a
volume has gone on since.
"""

import re
import stat
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from reprise.archive.criu import IMG_COMMON_MAGIC, BadImage, messages, parse
from reprise.archive.criu.tasks_pb2 import file_entry, remap_file_path_entry

FILES_MAGIC, REMAPS_MAGIC = 0x56303138, 0x59133954
MOST = 64 << 20
ACCESS_MODE, READ_ONLY = 3, 0
OF_THE_POD = re.compile(r"/pods/[^/]+/(?:etc-hosts$|containers/)")
"""Where a kubelet keeps what it mounts into every container: pkg/kubelet/kubelet_getters.go."""
EMPTY_DIR = re.compile(r"/pods/[^/]+/volumes/kubernetes\.io~empty-dir/")


class OpenOn(NamedTuple):
    """Where volumes are mounted. sized: with a file whose size is compared. emptied: with one on an emptyDir, which is empty on
    another node.
    """

    sized: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()


def may_start_cold(sized: tuple[str, ...], emptied: tuple[str, ...]) -> tuple[str, str]:
    """Why CRIU may not restore a process that it dumps, and the remedy. Either is empty if there is none."""
    seen, remedy = [], ""
    if sized:
        seen.append(
            f"it has a file open for writing on its volume at {', '.join(sized)}: CRIU does not restore a process whose open "
            "file has another size than at the checkpoint, and then it starts cold"
        )
        remedy = (
            "Keep what grows on the container's own file system, which comes along with a checkpoint, "
            "or open it for appending only"
        )
    if emptied:
        seen.append(
            f"it has a file open for writing on its emptyDir at {', '.join(emptied)}, which is empty on another node: "
            "it is not moved as planned, and after the loss of its node it starts cold"
        )
    return "; ".join(seen), remedy


def open_on(files: bytes, remaps: bytes, mounts: Any, everywhere: Iterable[str]) -> OpenOn:
    """files, remaps: files.img and remap-fpath.img, or none. mounts: of the container's config.json, as it comes from outside.
    everywhere: paths at which each container has a mount.
    """
    volumes = _volumes(mounts, frozenset(everywhere))
    if not volumes:
        return OpenOn()
    try:
        deleted = {each.orig_id for each in _all(remaps, REMAPS_MAGIC, remap_file_path_entry)}
        entries = [e.reg for e in _all(files, FILES_MAGIC, file_entry) if e.HasField("reg") and e.id not in deleted]
    except BadImage:
        return OpenOn()  # it is told to people; what is damaged is found elsewhere
    sized, emptied = set[str](), set[str]()
    for entry in entries:
        if entry.flags & ACCESS_MODE == READ_ONLY or not stat.S_ISREG(entry.mode):
            continue
        place = _mount_of(entry.name.decode("utf-8", "backslashreplace"), volumes)
        if place and entry.HasField("size"):
            sized.add(place)
        if place and EMPTY_DIR.search(volumes[place]):
            emptied.add(place)
    return OpenOn(tuple(sorted(sized)), tuple(sorted(emptied)))


def _volumes(mounts: Any, everywhere: frozenset[str]) -> dict[str, str]:
    """Destination to source."""
    found = [each for each in mounts if isinstance(each, dict)] if isinstance(mounts, list) else []
    texts = [(each.get("destination"), each.get("source"), each.get("type")) for each in found]
    return {
        place: source
        for place, source, kind in texts
        if isinstance(place, str) and isinstance(source, str) and kind == "bind"
        and place not in everywhere and not OF_THE_POD.search(source)
    }  # fmt: skip


def _mount_of(path: str, volumes: Mapping[str, str]) -> str:
    """The innermost; empty if it is on none."""
    above = [place for place in volumes if path == place or path.startswith(place.rstrip("/") + "/")]
    return max(above, key=len, default="")


def _all(data: bytes, magic: int, message: type[Any]) -> list[Any]:
    return [parse(message(), raw) for raw in messages(data, IMG_COMMON_MAGIC, magic, most=MOST)] if data else []
