"""Run each protected container's own livenessProbe with its own thresholds, and end what hangs.

Ours runs beside the kubelet's: at the threshold the kubelet sends SIGTERM and waits the grace period, which a hung
process sits out; this kills at once. Either way the kubelet's restart restores the newest state; one that has no checkpoint is
left to the kubelet. Never before the kubelet would: within the grace of its own spec nobody is asked (rules/grace.py).
"""

import asyncio
import time
from dataclasses import replace
from typing import Any, Protocol

from reprise.health_watcher.decide import count_probe, first_count, hangs
from reprise.health_watcher.declarations import Declarations
from reprise.health_watcher.graces import Graces
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.leaving import Leaving
from reprise.health_watcher.model import ProbeCount
from reprise.health_watcher.ports import Execs, FreezerState, Runtime
from reprise.health_watcher.starts import Starts
from reprise.runtime.cri import CriError
from reprise.runtime.kube import ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.runtime.probe import check
from reprise.runtime.telemetry import log

Key = tuple[str, str]


class ExecRuntime(Runtime, Execs, Protocol):
    """One that also runs commands in containers."""


class Hangs:
    """One task per protected container that has a livenessProbe."""

    def __init__(
        self, cri: ExecRuntime, pods: ProtectedPods, freezer: FreezerState, hung: Hung, declarations: Declarations,
        leaving: Leaving, starts: Starts, graces: Graces,
    ) -> None:  # fmt: skip
        self._cri, self._pods, self._freezer, self._starts, self._graces = cri, pods, freezer, starts, graces
        self._hung, self._declarations, self._leaving = hung, declarations, leaving
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Keep the set of tasks equal to the set of probed containers."""
        try:
            while True:
                wanted = {
                    (uid, c.name)
                    for uid, pod in self._pods.pods.items()
                    for c in pod.containers
                    if c.liveness and not pod.deleting
                }
                for key in wanted - self._tasks.keys():
                    self._tasks[key] = asyncio.create_task(self._probe_for_ever(key))
                for key in self._tasks.keys() - wanted:
                    self._tasks.pop(key).cancel()
                for key in [k for k, task in self._tasks.items() if task.done()]:
                    del self._tasks[key]
                await asyncio.sleep(0.5)
        finally:
            for task in self._tasks.values():
                task.cancel()

    def _find(self, key: Key) -> tuple[ProtectedPod, ProtectedContainer] | None:
        pod = self._pods.pods.get(key[0])
        container = next((c for c in pod.containers if c.name == key[1]), None) if pod else None
        return (pod, container) if pod and container else None

    async def _probe_for_ever(self, key: Key) -> None:
        count, judged_id = ProbeCount(), ""
        while found := self._find(key):
            pod, container = found
            probe: Any = container.liveness
            began = asyncio.get_running_loop().time()
            if container.container_id != judged_id:
                judged_id, start = container.container_id, self._starts.of(container.container_id)
                count = first_count(restored=start is not None and start.outcome == "restored")
            if not self._graces.is_asked(container):
                count = replace(count, failures=0)
                self._hung.failing.pop(container.container_id, None)
            elif container.running and judged_id and pod.ip:
                count = await self._probe_once(pod, container, count)
                if hangs(count, probe.failure_threshold or 3):
                    await self._end(pod, container)
                    count = ProbeCount()
            took_s = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.0, float(probe.period_seconds or 10) - took_s))  # from start to start, as the kubelet does

    async def _probe_once(self, pod: ProtectedPod, container: ProtectedContainer, count: ProbeCount) -> ProbeCount:
        async def exec_(command: list[str], timeout_s: float) -> tuple[int, str]:
            return await self._cri.exec_sync(container.container_id, command, timeout_s)

        began_s = time.monotonic()
        if self._freezer.is_frozen(container.container_id):  # what is run in it would stand still too, and stay
            return count
        verdict = await check(container.liveness, pod.ip, container.ports, exec_)
        if not verdict.ran:
            return count
        frozen = self._freezer.is_frozen(container.container_id)
        known = replace(count, was_healthy=count.was_healthy or container.container_id in self._hung.seen_healthy)
        after = count_probe(known, healthy=verdict.healthy, frozen=frozen)
        if not (after.failures and after.was_healthy):
            self._hung.failing.pop(container.container_id, None)
        elif after.failures > count.failures:
            self._hung.failed(container.container_id, container.liveness.failure_threshold or 3, began_s)
        if after.failures > count.failures:
            log().warning("liveness probe failed", pod=pod.name, container=container.name, failures=after.failures,
                          detail=verdict.detail)  # fmt: skip
        return after

    async def _end(self, pod: ProtectedPod, container: ProtectedContainer) -> None:
        detail = f"its livenessProbe failed {container.liveness.failure_threshold or 3} times in a row"
        subject = self._declarations.subject(pod, container.name, container.container_id)
        running = {c.id for c in await self._cri.list_containers("running")}
        if container.container_id not in running:
            return  # it died meanwhile: that is a crash, and is noticed as one
        self._hung.hanging[container.container_id] = detail
        failing = self._hung.failing.get(container.container_id)
        if not self._leaving.begins_with(pod, subject):
            self._declarations.declare(subject, "hang", detail, time.monotonic() - failing.since_s if failing else 0.0)
        log().warning("container hangs", pod=pod.name, container=container.name, has_checkpoint=subject.has_checkpoint)
        if not subject.has_checkpoint:
            return
        try:
            await self._cri.stop_container(container.container_id, 0)
        except CriError as error:
            log().error("could not end a hung container", pod=pod.name, error=str(error))
