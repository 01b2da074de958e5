"""CRIU's statistics of a restore. It writes them beside the container; CRI-O removes them as soon as that runs, so
they are opened the moment they appear.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from asyncinotify import Inotify, Mask
from reprise.archive.criu import read_restore_stats
from reprise.contracts.model import RestoreStats

NAME = "stats-restore"
LIMIT = 1 << 16
LOOKS, LOOK_S = 50, 0.002
"""For the folder of a container that is being made."""


class RestoreFiles:
    """folder: CRI-O's overlay-containers below its run root, one folder for each container."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def follow(self) -> AsyncIterator[tuple[str, RestoreStats]]:
        """The containers that are restored from now on, by id. Raises OSError, also if there is no such folder."""
        opened: dict[Path, int] = {}
        try:
            with Inotify() as inotify:
                inotify.add_watch(self._folder, Mask.CREATE | Mask.ONLYDIR)
                async for event in inotify:
                    path = event.path
                    if path is None or (Mask.IGNORED in event.mask and path == self._folder):
                        raise OSError(f"{self._folder} is not watched any more")
                    if Mask.IGNORED in event.mask:
                        continue
                    if path.parent == self._folder:
                        await self._watch(inotify, path / "userdata")
                    elif path.name == NAME and Mask.CREATE in event.mask:
                        with contextlib.suppress(FileNotFoundError):
                            opened[path] = os.open(path, os.O_RDONLY)
                    elif path in opened and (stats := read_restore_stats(_content(opened.pop(path)))):
                        yield path.parent.parent.name, stats
        finally:
            for file in opened.values():
                os.close(file)

    async def _watch(self, inotify: Inotify, folder: Path) -> None:
        for _ in range(LOOKS):
            with contextlib.suppress(OSError):
                inotify.add_watch(folder, Mask.CREATE | Mask.CLOSE_WRITE | Mask.ONLYDIR)
                return
            await asyncio.sleep(LOOK_S)


def _content(file: int) -> bytes:
    try:
        return os.pread(file, LIMIT, 0)
    finally:
        os.close(file)
