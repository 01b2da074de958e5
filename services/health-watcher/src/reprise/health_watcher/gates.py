"""The readiness gate `reprise.dev/restored`, for pods that list it: no Service routes to an instance without its memory.

False from a container's end on, before the kubelet can find its successor ready; True once that is restored, or is a first
instance, or starts cold and that was announced. Of a pod that is not protected (mode off, an annotation that cannot be used) it
is open: it would never be ready. While the API server is away nothing changes: neither does what Services know.
"""

import asyncio

from kubernetes.aio import client
from reprise.contracts.annotations import RESTORE_FROM, RESTORED_GATE
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.decide import gate_of
from reprise.health_watcher.model import Gate, Instance, Name
from reprise.health_watcher.ports import ContainerEvent, Ended, Look
from reprise.health_watcher.starts import Starts
from reprise.runtime.cri import RunningContainer
from reprise.runtime.kube import AnyPod, ProtectedPod, ProtectedPods, set_condition
from reprise.runtime.telemetry import log

RETRY_S = 0.5
UNPROTECTED = Gate(True, "NotProtected", "Reprise does not protect this pod")


class Gates:
    """pods: this node's."""

    def __init__(self, api: client.ApiClient, pods: ProtectedPods, starts: Starts, cold: ColdStarts) -> None:
        self._api, self._pods, self._starts, self._cold = api, pods, starts, cold
        self._restored: set[str] = set()
        self._known: dict[Name, RunningContainer] = {}
        self._ended: set[str] = set()
        self._written: dict[str, Gate] = {}
        self._changed, self._looked = asyncio.Event(), asyncio.Event()

    async def on_container(self, event: ContainerEvent) -> None:
        """An end is known before any listing shows it."""
        if isinstance(event, Ended):
            self._ended.add(event.container.id)
            self._changed.set()
        else:
            self._listed(event)

    def look_again(self) -> None:
        """A cold start was announced."""
        self._changed.set()

    def _listed(self, look: Look) -> None:
        self._ended &= {c.id for c in look.containers}
        running = {(c.pod_uid, c.name): c for c in look.containers if c.state == "running" and c.id not in self._ended}
        restored = {c.id for c in running.values() if self._is_restored(c)}
        self._looked.set()
        if (running, restored) != (self._known, self._restored):
            self._known, self._restored = running, restored
            self._changed.set()

    def _is_restored(self, container: RunningContainer) -> bool:
        pod = self._pods.pods.get(container.pod_uid)
        if pod is None or not pod.gated or all(c.name != container.name for c in pod.containers):
            return False
        start = self._starts.of(container.id)
        return start is not None and start.outcome == "restored"

    async def run(self) -> None:
        """Write what differs, soon after anything changed, and look again each second: a pod may be new."""
        await self._looked.wait()  # an agent that just started knows of nothing that runs
        while True:
            self._changed.clear()
            written = [await self._settle(pod) for pod in list(self._pods.pods.values()) if pod.gated]
            written += [await self._write(pod, UNPROTECTED) for pod in self._unprotected()]
            self._written = {uid: gate for uid, gate in self._written.items() if uid in self._pods.everything}
            try:
                async with asyncio.timeout(1.0 if all(written) else RETRY_S):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _settle(self, pod: ProtectedPod) -> bool:
        return await self._write(pod, gate_of(tuple(self._instance(pod, c.name) for c in pod.containers), pod.gate_message))

    def _unprotected(self) -> list[AnyPod]:
        """Not what a failover made: until that is adopted, nobody knows whose it is."""
        if not self._pods.synced:
            return []
        return [
            pod for pod in self._pods.everything.values()
            if pod.gated and not pod.deleting and pod.uid not in self._pods.pods and RESTORE_FROM not in pod.annotations
        ]  # fmt: skip

    async def _write(self, pod: ProtectedPod | AnyPod, gate: Gate) -> bool:
        if gate == self._written.get(pod.uid):
            return True
        changed = gate.open != self._is_open(pod)
        try:
            await set_condition(
                self._api, pod.namespace, pod.name, RESTORED_GATE, gate.open, gate.reason, gate.message, changed=changed
            )
        except (client.ApiException, OSError, TimeoutError) as error:
            log().warning("the readiness gate could not be set, trying again", pod=pod.name, error=repr(error))
            return isinstance(error, client.ApiException) and error.status == 404
        self._written[pod.uid] = gate
        log().info("readiness gate", pod=pod.name, open=gate.open, reason=gate.reason)
        return True

    def _is_open(self, pod: ProtectedPod | AnyPod) -> bool | None:
        """None: it is not known. Since when it is closed tells whether a process may have served without its state (keeps.py)."""
        if written := self._written.get(pod.uid):
            return written.open
        return pod.gate_closed_at is None if isinstance(pod, ProtectedPod) else None

    def _instance(self, pod: ProtectedPod, container: str) -> Instance:
        name = (pod.uid, container)
        found = self._known.get(name)
        if found is None or found.id in self._ended:
            return Instance(container)
        start = self._starts.of(found.id)
        waits = start is not None and start.lacks_state
        given_up = start is not None and (start.kind, start.outcome) == ("http", "cold")  # handing.py has reported it
        return Instance(
            container, found.id, restored=found.id in self._restored, first=found.attempt == 0 and not waits,
            cold=given_up or self._cold.started(name, found.id),
        )  # fmt: skip
