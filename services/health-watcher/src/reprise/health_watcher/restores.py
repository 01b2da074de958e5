"""Tells what CRIU says of each restore on this node."""

import asyncio
from datetime import datetime

from reprise.contracts.events import ContainerRestored
from reprise.contracts.model import RestoreStats, Target, now
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.ports import RestoreFiles
from reprise.runtime.cri import Cri, CriError
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.telemetry import log

AGAIN_S = 5.0
KNOWN_S, LOOK_S = 120.0, 1.0
"""For so long it is looked for: a pod that takes a lost one's place is its workload's only once that has adopted it."""


class Restores:
    """Run run() as a part of the service."""

    def __init__(self, node: str, files: RestoreFiles, cri: Cri, pods: ProtectedPods, announcer: Announcer) -> None:
        self._node, self._files, self._cri, self._pods, self._announcer = node, files, cri, pods, announcer
        self._told: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        while True:
            try:
                async for container_id, stats in self._files.follow():
                    task = asyncio.create_task(self._tell(container_id, stats))
                    self._told.add(task)
                    task.add_done_callback(self._told.discard)
            except OSError as error:
                log().debug("restores are not followed", error=str(error))
            await asyncio.sleep(AGAIN_S)

    async def _tell(self, container_id: str, stats: RestoreStats) -> None:
        at = now()
        for _ in range(round(KNOWN_S / LOOK_S)):
            if event := await self._event(container_id, stats, at):
                self._announcer.announce(event, f"restored-{container_id}")
                return
            await asyncio.sleep(LOOK_S)

    async def _event(self, container_id: str, stats: RestoreStats, at: datetime) -> ContainerRestored | None:
        """None: it is not known, or not protected."""
        try:
            listed = await self._cri.list_containers()
        except CriError:
            return None
        found = next((c for c in listed if c.id == container_id), None)
        pod = self._pods.pods.get(found.pod_uid) if found else None
        if found is None or pod is None or all(c.name != found.name for c in pod.containers):
            return None
        target = Target(node=self._node, pod=pod.name, pod_uid=pod.uid, container=found.name, container_id=container_id)
        return ContainerRestored(at=at, node=self._node, workload=pod.workload, target=target, stats=stats)
