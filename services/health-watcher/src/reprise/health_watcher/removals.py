"""Removes dead containers of which the kubelet would back off. It looks each second, and if it finds one before that is removed
nothing wakes it sooner.
"""

import asyncio

from reprise.health_watcher.ports import Runtime
from reprise.health_watcher.rules.on_end import OnEnd
from reprise.runtime.cri import CriError, RunningContainer
from reprise.runtime.telemetry import log


class Removals:
    """From this node's runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def remove(self, container: RunningContainer, verdict: OnEnd) -> None:
        """If the verdict says so, and when it says."""
        if verdict.remove_after_s is None:
            return
        if verdict.remove_after_s:
            log().warning("it ends soon each time: its next start waits", pod=container.pod, delay_s=verdict.remove_after_s)
            await asyncio.sleep(verdict.remove_after_s)
        for attempt in range(3):
            try:
                await self._runtime.remove_container(container.id)
                await self._remove_older(container)
                return
            except CriError as error:
                log().warning("could not remove a dead container", id=container.id[:12], error=str(error))
                await asyncio.sleep(0.05 * 2**attempt)

    async def _remove_older(self, container: RunningContainer) -> None:
        """The kubelet keeps the dead one before, and would count its back-off from that one's end."""
        for dead in await self._runtime.list_containers("exited"):
            if (dead.pod_uid, dead.name) == (container.pod_uid, container.name):
                await self._runtime.remove_container(dead.id)
