"""One function per event."""

from reprise.contracts.errors import DamagedObject, WrongSubject
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointStaged,
    CheckpointStored,
    FailoverAbandoned,
    FailoverDeclared,
    FailoverDelayed,
)
from reprise.contracts.model import ELSEWHERE
from reprise.restorer.model import KEEP_ALL, Recovery, Saga
from reprise.restorer.saga import SagaRunner
from reprise.restorer.standby import Standbys
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedPods
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.telemetry import log


class Handlers:
    def __init__(self, bus: Bus, pods: ProtectedPods, sagas: SagaRunner, standbys: Standbys, recorder: EventRecorder) -> None:
        self._pods, self._sagas, self._standbys, self._recorder = pods, sagas, standbys, recorder
        self._recoveries = Bucket(bus, "recoveries", Recovery, instead=Recovery())

    async def on_stored(self, event: CheckpointStored) -> None:
        """Have the standby of a living pod stage it. Its own node holds it already."""
        pod = self._pods.pods.get(event.target.pod_uid)
        if pod is None or pod.deleting:
            log().info("checkpoint of a pod that is gone: it is staged nowhere", pod=event.target.pod)
            return
        entry = await self._recoveries.get(container_key(event.workload, event.target.container))
        noted = entry.value if entry else Recovery()
        if event.checkpoint_id in noted.rejected or event.target.container_id in noted.dead:
            log().info("checkpoint of an instance that did not live: it is staged nowhere", checkpoint=event.checkpoint_id)
            return
        if event.trigger != "move":  # that is on its way already
            await self._standbys.send(event, pod)

    async def on_staged(self, event: CheckpointStaged) -> None:
        """On its standby, or on its pod's own node: somebody may wait for it."""
        await (self._standbys.on_staged(event) if event.role == "standby" else self._standbys.on_live(event))

    async def on_failed(self, event: CheckpointFailed) -> None:
        """A stored one that is damaged is not to be chosen, nor waited for."""
        if event.reason == DamagedObject.__name__:
            await self._sagas.reject(event.workload, event.target.container, (event.checkpoint_id,))

    async def on_declared(self, event: FailoverDeclared) -> None:
        """Run the failover to its end. Raises WrongSubject: what is told of a node holds for that node's pods only."""
        pod = self._pods.pods.get(event.target.pod_uid)
        if event.target.node != event.node or (pod and pod.node != event.node):
            detail = f"pod {event.target.pod} does not run on {event.node}, of which this failover was declared"
            raise WrongSubject(detail, subject=event.failover_id, remedy="find out who published it: docs/security.md")
        saga = Saga(
            failover_id=event.failover_id, workload=event.workload, target=event.target, cause=event.cause,
            declared_at=event.at, fence_revision=event.fence_revision, rejected=event.rejected,
            to=event.to, wanted=event.wanted, elsewhere=event.elsewhere,
            restored_from=event.restored_from, keep=pod.policy.keep if pod else KEEP_ALL,
        )  # fmt: skip
        await self.attend(saga)

    async def attend(self, saga: Saga) -> None:
        """Run it on to its end, and tell its owner. Called again for one that has ended it does nothing else."""
        ended = await self._sagas.run(saga)
        target, workload, name = saga.target, saga.workload, saga.failover_id
        if name.startswith(ELSEWHERE) and not ended.elsewhere and (stop := ended.attempt.failed):
            message = f"{saga.cause} of {target.pod}: not moved: {stop.reason}: {stop.message}. {stop.remedy}"
            await self._recorder.record(workload, "Warning", "NotMoved", message)
        if ended.step != "complete":
            return
        if ended.lost_work:
            message = (
                f"{name}: pod {target.pod} moved from {target.node} to {ended.standby}, but not from its last "
                f"checkpoint ({ended.lost_work}): it runs from {ended.checkpoint_id}, and what it did since is lost"
            )
            await self._recorder.record(workload, "Warning", "MoveLostWork", message)
        elif saga.cause == "move":
            what = f"pod {target.pod} moved from {target.node} to {ended.standby} with its memory ({ended.checkpoint_id})"
            await self._recorder.record(workload, "Normal", "Moved", f"{name}: {what}")
        elif saga.cause == "restore":
            await self._tell_restored(ended)
        else:
            where = f"from {ended.checkpoint_id} on {ended.standby} ({ended.plan.path})"
            await self._recorder.record(workload, "Normal", "Restored", f"{saga.cause} of {target.pod}: restored {where}")

    async def _tell_restored(self, ended: Saga) -> None:
        if ended.checkpoint_id == ended.wanted:
            message = f"{ended.failover_id}: goes on from {ended.wanted}, as was asked for"
            await self._recorder.record(ended.workload, "Normal", "RolledBack", message)
            return
        message = f"{ended.failover_id}: {ended.wanted} did not come back; it goes on from {ended.checkpoint_id}"
        await self._recorder.record(ended.workload, "Warning", "RollbackFailed", message)

    async def on_abandoned(self, event: FailoverAbandoned) -> None:
        """Tell the owner."""
        if event.cause == "move":
            left = "moved without its memory" if event.outcome == "cold" else "not moved, it runs on"
            message = f"{event.failover_id}: pod {event.target.pod} {left}: {event.reason}: {event.message}. {event.remedy}"
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
