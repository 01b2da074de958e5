"""conmon's exit files: it writes one, named like the container, when the container's process has ended.

CRI-O tells of an end in its event stream only after it has asked the OCI runtime (server/server.go, handleExit): some 100 ms
later. The kubelet looks each second: a dead container that would make it back off has to be removed before that.
"""

from collections.abc import AsyncIterator
from pathlib import Path

from asyncinotify import Inotify, Mask
from reprise.health_watcher.model import Exit


class ExitFiles:
    """folder: CRI-O's container_exits_dir; another runtime has none."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    async def follow(self) -> AsyncIterator[Exit]:
        """Those from now on. Raises OSError, also if there is no such folder."""
        with Inotify() as inotify:
            inotify.add_watch(self._folder, Mask.CREATE | Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.ONLYDIR)
            async for event in inotify:
                if event.path is None:
                    raise OSError(f"{self._folder} is not watched any more")
                try:
                    yield Exit(event.path.name, event.path.stat().st_mtime_ns)
                except FileNotFoundError:
                    continue  # conmon's own temporary name, or removed already
