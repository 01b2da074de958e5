"""A checkpoint that the process does not outrun: it does not run again after what the checkpoint shows.

CRI-O pauses the container for its whole checkpoint: CRIU's dump, and after that the making of the archive (CRI-O
internal/lib/checkpoint.go). CRIU needs to thaw it for a moment and gives it back paused before it lets go of it
(criu/seize.c, freezer_restore_state). So from CRIU's end to the pause's end there is time, some 50 ms at least, to freeze
the pod above the container; and afterwards it can be told whether that was in time, because the container's own freezer
says whether its pause was still on. If it was not, the checkpoint is as good as any, but nothing is held.

Of a pod that is deleted meanwhile CRI-O ends the container first (StopLoopForContainer has the container's lock, which the
checkpoint waits for), which does nothing in a frozen pod: the node's health-watcher sees it and ends it there.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reprise.checkpointer.ports import Dumps, Freezer
from reprise.runtime.telemetry import log

LOOK_EVERY_S = 0.0005


@dataclass
class Hold:
    """held: whether the process has stood still since CRIU finished."""

    held: bool = False


class Holding:
    def __init__(self, freezer: Freezer, dumps: Dumps) -> None:
        self._freezer, self._dumps = freezer, dumps

    @asynccontextmanager
    async def during(self, container_id: str) -> AsyncIterator[Hold]:
        """Around the call that checkpoints the container. Raises OSError if the freezer cannot be used."""
        hold, ended = Hold(), threading.Event()
        before = self._dumps.mark(container_id)
        watching = asyncio.get_running_loop().run_in_executor(None, self._watch, container_id, before, ended)
        try:
            yield hold
        finally:
            ended.set()
            hold.held = await watching

    async def release(self, container_id: str) -> None:
        await asyncio.to_thread(self._freezer.thaw, container_id)

    def _watch(self, container_id: str, before: object, ended: threading.Event) -> bool:
        while not ended.is_set():
            now = self._dumps.mark(container_id)
            if now not in (None, before):
                held = self._freezer.hold(container_id)
                log().info("held after its dump" if held else "its pause had ended: not held", id=container_id[:12])
                return held
            time.sleep(LOOK_EVERY_S)
        return False
