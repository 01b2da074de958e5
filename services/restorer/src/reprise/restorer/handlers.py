"""One function per event."""

from reprise.contracts.errors import NotStored
from reprise.contracts.events import (
    CheckpointStaged,
    CheckpointStored,
    FailoverAbandoned,
    FailoverDeclared,
    FailoverDelayed,
    ImageBuilt,
)
from reprise.contracts.images import parse_live
from reprise.contracts.model import failover_id
from reprise.restorer.model import KEEP_ALL, Recovery, Saga
from reprise.restorer.ports import Checkpoints, recovery_key
from reprise.restorer.saga import SagaRunner
from reprise.restorer.standby import Standbys
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.telemetry import about, log, span, traceparent


class Handlers:
    def __init__(
        self,
        bus: Bus,
        pods: ProtectedPods,
        checkpoints: Checkpoints,
        sagas: SagaRunner,
        standbys: Standbys,
        recorder: EventRecorder,
    ) -> None:
        self._bus, self._pods, self._checkpoints, self._sagas, self._recorder = bus, pods, checkpoints, sagas, recorder
        self._standbys = standbys

    async def on_stored(self, event: CheckpointStored) -> None:
        """Have the standby of a living pod stage it; and its own node, if that did not hold it before it told of it. A planned
        move's last one too: what its kubelet may end while it stands still comes back with all that it had.
        """
        pod = self._pods.pods.get(event.target.pod_uid)
        if pod is None or pod.deleting:
            log().info("checkpoint of a pod that is gone: no image is made", pod=event.target.pod)
            return
        noted = await self._noted(pod.live_id, event.target.container)
        if event.checkpoint_id in noted.void or event.target.container_id in noted.dead:
            log().info("checkpoint of an instance that did not live: no image is made", checkpoint=event.checkpoint_id)
            return
        # Its node may hold it already, and told of it after that; an arming's last one by the name that its pod is to go by.
        if event.live_id != pod.live_id and not (event.trigger == "arm" and event.live_id):
            await self._show(event, pod.live_id)
        if event.trigger != "move":  # that is on its way already
            await self._standbys.send(event, pod)

    async def _show(self, event: CheckpointStored, live_id: str) -> None:
        try:
            with span("image"):
                reference, digest = await self._checkpoints.publish(
                    event.workload, event.target.container, event.checkpoint_id, live_id
                )
        except NotStored:
            log().info("checkpoint was pruned meanwhile", checkpoint=event.checkpoint_id)
            return
        built = ImageBuilt(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reference=reference, digest=digest,
        )  # fmt: skip
        await self._bus.publish(built, dedup_id=f"built-{event.checkpoint_id}")

    async def on_staged(self, event: CheckpointStaged) -> None:
        """On its standby: it is noted. On the pod's own node: arm the pod, if it is not and its policy says so."""
        if event.role == "standby":
            await self._standbys.on_staged(event)
            return
        pod = self._pods.pods.get(event.target.pod_uid)
        container = next((c for c in pod.containers if c.name == event.target.container), None) if pod else None
        if pod is None or container is None or pod.deleting or pod.policy.arm != "first-checkpoint":
            return
        if parse_live(container.image) or container.container_id != event.target.container_id:
            return
        if not (await self._noted(pod.live_id, event.target.container)).arms:
            return  # it was, and had to start cold: a user's change makes another pod
        name = failover_id(event.target)
        declared = FailoverDeclared(
            node=event.node, workload=event.workload, failover_id=name, target=event.target, cause="arm",
            detail=f"first good checkpoint: {event.checkpoint_id}", armed=False,
        )  # fmt: skip
        with span("failover.declared", root=True, links=[traceparent()], attributes=about(declared)):
            await self._bus.publish(declared, dedup_id=f"declared-{name}")

    async def on_declared(self, event: FailoverDeclared) -> None:
        """Run the failover to its end."""
        pod = self._pods.pods.get(event.target.pod_uid)
        saga = Saga(
            failover_id=event.failover_id, workload=event.workload, target=event.target, cause=event.cause,
            declared_at=event.at, fence_revision=event.fence_revision, lived_s=event.lived_s, ran=event.reference,
            to=event.to, wanted=event.wanted, keep=pod.policy.keep if pod else KEEP_ALL,
        )  # fmt: skip
        ended = await self._sagas.run(saga)
        if ended.step == "complete" and event.cause == "move":
            message = f"{ended.failover_id}: moved from {event.node} to {ended.standby} with its memory ({ended.checkpoint_id})"
            await self._recorder.record(event.workload, "Normal", "Moved", message)
        elif ended.step == "complete" and event.cause == "restore":
            await self._tell_restored(event, ended)
        elif ended.step == "complete" and event.cause != "arm":
            where = f"from {ended.checkpoint_id} on {ended.standby} ({ended.path})"
            message = f"{event.cause} of {event.target.pod}: restored {where}"
            await self._recorder.record(event.workload, "Normal", "Restored", message)

    async def _tell_restored(self, event: FailoverDeclared, ended: Saga) -> None:
        if ended.checkpoint_id == event.wanted:
            message = f"{ended.failover_id}: goes on from {event.wanted}, as was asked for"
            await self._recorder.record(event.workload, "Normal", "RolledBack", message)
            return
        message = f"{ended.failover_id}: {event.wanted} did not come back; it goes on from {ended.checkpoint_id}"
        await self._recorder.record(event.workload, "Warning", "RollbackFailed", message)

    async def on_abandoned(self, event: FailoverAbandoned) -> None:
        """Tell the owner."""
        if event.cause == "move":
            message = f"{event.failover_id}: not moved, it runs on: {event.reason}: {event.message}. {event.remedy}"
            await self._recorder.record(event.workload, "Warning", "MoveFailed", message)
            return
        if event.cause == "restore":
            left = "it starts cold" if event.outcome == "cold" else "it runs on"
            message = f"{event.failover_id}: not restored, {left}: {event.reason}: {event.message}. {event.remedy}"
            await self._recorder.record(event.workload, "Warning", "RollbackFailed", message)
            return
        lost = event.outcome == "cold"
        reason = "FailoverAbandoned" if lost else "FailoverSteppedAside"
        message = f"{event.reason}: {event.message}. {event.remedy}"
        await self._recorder.record(event.workload, "Warning" if lost else "Normal", reason, message)

    async def on_delayed(self, event: FailoverDelayed) -> None:
        """Tell the owner."""
        message = f"{event.reason}: {event.message}. {event.remedy}; it is tried again"
        await self._recorder.record(event.workload, "Warning", "FailoverDelayed", message)

    async def _noted(self, live_id: str, container: str) -> Recovery:
        entry = await self._sagas.recoveries.get(recovery_key(live_id, container))
        return entry.value if entry else Recovery()
