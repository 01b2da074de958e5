"""Lets a dump go on that waits for what it has frozen itself: all of its container would stand still until the kubelet gives the
dump up, after minutes. See CgroupFreezer.waiting_tracers.

And thaws what an engine had frozen that was killed meanwhile: nobody else would before the next checkpoint, if there is one.
"""

import asyncio

from reprise.health_watcher.adapters.marks import FreezingMarks
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.ports import Freezer
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.telemetry import log

LOOK_S = 0.2
"""CRIU attaches to a process within microseconds: who is seen waiting by two looks waits for ever."""


class Dumps:
    """Run run() as a part of the service."""

    def __init__(self, freezer: Freezer, pods: ProtectedPods, marks: FreezingMarks, ledger: Ledger) -> None:
        self._freezer, self._pods, self._marks, self._ledger = freezer, pods, marks, ledger
        self._waiting: dict[str, frozenset[int]] = {}

    async def run(self) -> None:
        while True:
            self._look()
            self._thaw_left()
            await asyncio.sleep(LOOK_S)

    def _look(self) -> None:
        """Thawed, what is traced stands still by ptrace; CRIU thaws it itself as soon as it is attached to all."""
        before, self._waiting = self._waiting, {}
        for pod in self._pods.pods.values():
            for container in pod.containers:
                key = container.container_id
                if not container.running or not (waiting := self._freezer.waiting_tracers(key)):
                    continue
                self._waiting[key] = waiting
                if waiting & before.get(key, frozenset()):
                    self._freezer.thaw_alone(key)
                    log().warning("a dump waited for a process that a signal had stopped: let go on", pod=pod.name,
                                  container=container.name)  # fmt: skip

    def _thaw_left(self) -> None:
        """The container's own cgroup; its pod's is not the engine's. What stands still for a reason of ours is thawed with it."""
        for container_id in self._marks.left():
            if container_id in self._ledger.frozen or container_id in self._ledger.held:
                continue
            try:
                self._freezer.thaw_alone(container_id)
            except OSError as error:
                log().error("a container stays frozen", id=container_id[:12], error=str(error))
                continue
            self._marks.remove(container_id)
            log().warning("the engine was killed during a checkpoint: thawed", id=container_id[:12])
