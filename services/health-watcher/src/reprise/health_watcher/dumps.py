"""Lets a dump go on that waits for what it has frozen itself: all of its container would stand still until the kubelet gives the
dump up, after minutes. See CgroupFreezer.waiting_tracers.

So is what an engine had frozen that was killed meanwhile: nobody else would thaw it before the next checkpoint, if there is one.
Seen here, thawed by the reconciler.
"""

import asyncio

from reprise.health_watcher.adapters.marks import FreezingMarks
from reprise.health_watcher.ports import FreezerState
from reprise.health_watcher.reconciler import Reconciler
from reprise.runtime.kube import ProtectedPods
from reprise.runtime.telemetry import log

LOOK_S = 0.2
"""CRIU attaches to a process within microseconds: who is seen waiting by two looks waits for ever."""


class Dumps:
    """Run run() as a part of the service."""

    def __init__(self, freezer: FreezerState, pods: ProtectedPods, marks: FreezingMarks, reconciler: Reconciler) -> None:
        self._freezer, self._pods, self._marks, self._reconciler = freezer, pods, marks, reconciler
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
                if waiting & before.get(key, frozenset()) and self._reconciler.thaw_dump(key):
                    log().warning("a dump waited for a process that a signal had stopped: let go on", pod=pod.name,
                                  container=container.name)  # fmt: skip

    def _thaw_left(self) -> None:
        """The container's own cgroup; its pod's is not the engine's. What stands still for a reason of ours is thawed with it."""
        for container_id in self._marks.left():
            if self._reconciler.stands_here(container_id) or not self._reconciler.thaw_dump(container_id):
                continue
            self._marks.remove(container_id)
            log().warning("the engine was killed during a checkpoint: thawed", id=container_id[:12])
