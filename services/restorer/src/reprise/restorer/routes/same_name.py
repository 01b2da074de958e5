"""Same name: the pod is deleted for good, and the next one of its name goes on from its checkpoint (docs/adr/0016-same-name.md).

Of StatefulSets and bare pods, whose name only one pod may have. Until `delete` is recorded everything can be undone, as of a
shadow, and the checkpoint lies ready by then. From there on it only goes forward: the fence stays, no attempt follows, and what
does not come back starts from whatever its node has, or cold, and says so.

Whoever is faster makes the next pod: this, on the node that was planned; or the StatefulSet's controller, wherever the scheduler
puts it. The record in `resumes` keeps its node's agent from starting it blank until it is annotated with what it starts from, as
a shadow is from its birth.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace

from reprise.contracts.annotations import CHECKPOINT_IMAGE, RESTORE_FROM
from reprise.contracts.errors import DamagedObject, NotStored, RecoveryError
from reprise.contracts.model import Target
from reprise.contracts.records import ResumeRecord, StartRecord
from reprise.restorer import admission, choosing, decide, outcomes
from reprise.restorer.model import Life, PodView, Saga, Stop
from reprise.restorer.ports import REVISION_LABEL
from reprise.restorer.room import LIFE_S, LOOK_S, POLL_S, Abandon, Room
from reprise.restorer.routes import Step
from reprise.restorer.routes.shadow import INIT_MOST_S, RELEASE_AGAIN_S, UNTOLD_LOOKS, Shadow, annotations, made_by
from reprise.runtime.kv import Entry, key
from reprise.runtime.telemetry import log
from reprise.runtime.unreadable import UnreadableRecord

MISPLACED = 10
"""So often the next pod of what is moved is replaced because it was put back; then that has to do."""
REPLACED = 3
"""So often one that its node's kubelet did not take is."""
UNWANTED = Stop("ScaledToZero", "its owner does not want it any more", "nothing: a scale-down wins", "step-aside")
ROLLED_OUT = Stop("RolledOut", "its StatefulSet has another template by now: it starts without its memory",
                  "nothing: a rollout wins over a failover", "step-aside")  # fmt: skip
REPLACED_BY_ANOTHER = Stop("Replaced", "somebody made another pod of its name meanwhile: that starts as they made it",
                           "nothing: it is theirs", "step-aside")  # fmt: skip
GONE = Stop("PodGone", "the pod that was to go on from the checkpoint was deleted", "nothing: a deletion wins", "step-aside")


class SameName(Shadow):
    """hold, fence and stage are a shadow's."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.steps: Mapping[str, Step] = {
            "hold": self.hold,
            "fence": self.fence,
            "stage": self.stage,
            "place": self.place,
            "delete": self.delete,
            "fetch": self.fetch,
            "restored": self.restored,
            "release": self.release,
            "verify": self.verify,
            "free": self.free,
        }

    async def place(self, saga: Saga) -> Saga:
        """What the next pod is made of, and from, is written down. Recording the step after this one is the decision."""
        room, target = self._room, saga.target
        body = await room.cluster.body(saga.workload.namespace, target.pod, target.pod_uid, annotations(saga))
        if body is None:
            raise Abandon(GONE)
        if stop := await admission.refusal(room, saga):  # what was asked before it stood still may be forbidden by now
            raise Abandon(stop)
        record = ResumeRecord(
            pod_uid=target.pod_uid, checkpoint_id=saga.checkpoint_id, workload=saga.workload, failover_id=saga.failover_id,
            body=body, wait_s=3 * room.timeouts.verify_s + decide.fetch_s(saga.plan.size),
        )  # fmt: skip
        await room.resumes.put(_name(saga), record)  # another failover's is of a pod before this one
        await room.look(saga)
        return saga.at("delete", attempt=replace(saga.attempt, released=True))

    async def delete(self, saga: Saga) -> Saga:
        """Until another pod has its name, on a node where it can be brought back."""
        room, loop, namespace = self._room, asyncio.get_running_loop(), saga.workload.namespace
        await self._keep_off(saga)
        entry = await self._resume(saga)
        body = entry.value.body if entry else ""
        end, misplaced, refused, wait_s = loop.time() + room.timeouts.verify_s, 0, 0, LIFE_S
        while True:
            pod = await room.cluster.pod(namespace, saga.target.pod, saga.target.container)
            if pod and pod.uid != saga.target.pod_uid and pod.wanted == 0:
                return await self._ended(saga, UNWANTED)
            if pod and pod.uid != saga.target.pod_uid and not decide.is_next(pod, saga):
                return await self._ended(saga, REPLACED_BY_ANOTHER)
            wrong = pod is not None and decide.misplaced(pod, saga) and not (saga.planned and misplaced >= MISPLACED)
            if pod and not wrong and _may_come_back(pod, saga):
                return await (self._ended(saga, ROLLED_OUT) if _is_newer(pod, body) else self._made(saga, pod, body))
            if pod and wrong and pod.uid != saga.target.pod_uid and (start := await self._start_of(pod, saga)):
                return await self._ended(saga, outcomes.came_back_cold(saga, start))
            if pod is None or wrong or pod.uid == saga.target.pod_uid or pod.evicted:
                misplaced, refused = misplaced + wrong, refused + bool(pod and pod.evicted)
                if pod:
                    gone = saga.target.but(node=pod.node or saga.target.node, pod_uid=pod.uid)
                    await room.cluster.end_for_good(gone, namespace)
                # At once: the node that was planned is better than any that the scheduler might choose.
                await self._create(saga, body, saga.standby if refused == 0 else "")
            if loop.time() > end:
                return await self._not_made(saga, pod)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LOOK_S)

    async def _resume(self, saga: Saga) -> Entry[ResumeRecord] | None:
        """This failover's record, if it is there and can be read: without it, a StatefulSet makes the next pod by itself."""
        try:
            entry = await self._room.resumes.get(_name(saga))
        except UnreadableRecord:
            return None
        return entry if entry and entry.value.failover_id == saga.failover_id else None

    async def _keep_off(self, saga: Saga) -> None:
        """A StatefulSet's controller is faster, and the scheduler takes a lost node for a good one for 40 s."""
        try:
            await self._room.taints.keep_off(saga.target.node, saga.failover_id)
        except RecoveryError as error:
            if error.retryable:
                raise
            log().warning("the next pod may be put back on its node, and is made again then", error=str(error))

    async def _let_on(self, saga: Saga) -> None:
        """If that fails, taints.py does it."""
        with contextlib.suppress(RecoveryError):
            await self._room.taints.let_on(saga.target.node, saga.failover_id)

    async def _start_of(self, pod: PodView, saga: Saga) -> StartRecord | None:
        """How it was started, if it was: its node has waited long enough (ResumeRecord.wait_s). What it has done since counts."""
        await self._room.starts.ask(pod.container_id)
        start = self._room.starts.of(pod.uid, saga.target.container)
        return start if start and start.outcome != "refused" else None

    async def _create(self, saga: Saga, body: str, node: str) -> None:
        if not body:
            return  # NATS has lost the record: a StatefulSet makes it by itself
        try:
            await self._room.cluster.recreate(saga.workload.namespace, body, node)
        except RecoveryError as error:
            if error.retryable:
                raise
            log().warning("the next pod is not accepted, trying again", failover=saga.failover_id, error=str(error))

    async def _made(self, saga: Saga, pod: PodView, body: str) -> Saga:
        await self._let_on(saga)
        if body and not pod.failover:  # its StatefulSet was faster, and knows its template only
            await self._room.cluster.carry(saga.workload.namespace, pod.name, pod.uid, body)
        await self._room.last.forget(saga)  # its node ends what stands still: its pod is gone, and the fence is ours
        made = Target(node=pod.node, pod=pod.name, pod_uid=pod.uid, container=saga.target.container)
        plan = replace(saga.plan, standby=pod.node)
        return saga.at("fetch", attempt=replace(saga.attempt, plan=plan, restored=made))

    async def _not_made(self, saga: Saga, pod: PodView | None) -> Saga:
        """Nobody else makes a bare pod: quota that another took, or a webhook that is down, are waited for without end. So is
        what keeps the old pod.
        """
        is_old = pod is not None and pod.uid == saga.target.pod_uid
        if pod is None:
            why = "no pod of its name was made"
        elif is_old:
            why = "a finalizer keeps the old one"
        else:
            why = f"pod {pod.name} {pod.evicted or 'is not on a node yet'}"
        if is_old or (pod is None and not saga.plan.owner):
            raise RecoveryError(
                f"{why}, trying again", subject=f"pod {saga.workload.namespace}/{saga.target.pod}", retryable=True
            )
        return await self._ended(
            saga, Stop("NotPlaced", f"{why}: it starts cold", "see `kubectl describe` of it and of its owner")
        )

    async def fetch(self, saga: Saga) -> Saga:
        """Until the node that it is on has the checkpoint: another one may have been meant. Then its agent may be told."""
        try:
            if not (await self._standby(saga)).holds(saga.standby, saga.checkpoint_id):
                await self._ask_standby(saga)
                await self._until_staged(saga, self._room.timeouts.verify_s, self._look_after)
        except (NotStored, DamagedObject) as error:
            return await self._back(saga, Stop(error.reason, str(error), error.remedy, poisoned=True))
        except Abandon as abandon:
            return await (self._ended(saga, GONE) if abandon.stop is GONE else self._back(saga, abandon.stop))
        await self._mark(saga)
        return saga.at("restored")

    async def _back(self, saga: Saga, stop: Stop, failed: str = "") -> Saga:
        """One that does not come back is followed by the one before it; then by whatever lies there. failed: the container."""
        room, tried = self._room, (*saga.attempt.tried, saga.checkpoint_id)
        attempt = replace(saga.attempt, tried=tried, stop=stop, restored=made_by(saga).but(container_id=failed))
        uids = ("", saga.target.pod_uid, saga.plan.source_uid)
        stored = choosing.usable(await room.checkpoints.good(saga.workload, saga.target.container), await room.recovery(saga))
        older = next((each for each in stored if each.checkpoint_id not in tried and each.pod_uid in uids), None)
        if older is None or not stop.poisoned or len(tried) > decide.STEPS_BACK:
            return saga.at("free", attempt=attempt, why=stop.message)
        log().warning("it does not come back, the one before it is tried", failover=saga.failover_id, why=stop.message)
        plan = replace(
            saga.plan, checkpoint_id=older.checkpoint_id, source_uid=older.pod_uid or saga.target.pod_uid, size=older.size
        )
        return saga.at("fetch", attempt=replace(attempt, plan=plan), why=stop.message)

    async def _mark(self, saga: Saga) -> None:
        made = made_by(saga)
        await self._room.cluster.mark(saga.workload.namespace, made.pod, made.pod_uid, annotations(saga))

    async def _look_after(self, saga: Saga) -> None:
        """Raises Abandon if the next pod is gone too: that is somebody's will."""
        pod = await self._next(saga)
        if pod is None or pod.deleting:
            raise Abandon(GONE)

    async def _next(self, saga: Saga) -> PodView | None:
        made = made_by(saga)
        pod = await self._room.cluster.pod(saga.workload.namespace, made.pod, made.container)
        return pod if pod and pod.uid == made.pod_uid else None

    async def restored(self, saga: Saga) -> Saga:
        """Until the engine has restored it, frozen."""
        room, loop, made = self._room, asyncio.get_running_loop(), made_by(saga)
        end, look_at, ran = loop.time() + room.timeouts.verify_s, loop.time() + LOOK_S, 0
        most = loop.time() + INIT_MOST_S
        while True:
            start = room.starts.after(made.pod_uid, made.container, made.container_id)
            if start and not outcomes.still_waits(saga, start):
                return await self._started(saga, start)
            if loop.time() > look_at:
                pod = await self._next(saga)
                if pod and pod.evicted and saga.delays < REPLACED:
                    return saga.at("delete", delays=saga.delays + 1)
                if pod is None or pod.deleting:
                    return await self._ended(saga, GONE)
                await room.starts.ask(pod.container_id)
                life = await room.cluster.life(saga.workload.namespace, made.pod, made, ())
                if life.preparing:
                    end = min(loop.time() + room.timeouts.verify_s, most)
                # Its node's agent did not know it in time: it was started as if nobody protected it.
                ran, look_at = ran + (life.runs and start is None), loop.time() + LOOK_S
                if ran > UNTOLD_LOOKS:
                    return await self._cold(saga, outcomes.not_decided(saga, made.pod))
            if loop.time() > end:
                life = await room.cluster.life(saga.workload.namespace, made.pod, made, ())
                stop = outcomes.not_started(saga, made.pod, life, room.timeouts.verify_s)
                return saga.at("free", attempt=replace(saga.attempt, stop=stop))
            await asyncio.sleep(POLL_S)

    async def _started(self, saga: Saga, start: StartRecord) -> Saga:
        if stop := outcomes.not_restored(saga, start):
            if start.outcome in ("blank", "cold"):
                return await self._cold(saga, outcomes.came_back_cold(saga, start))
            return await self._back(saga, stop, start.container_id)
        known = made_by(saga).but(container_id=start.container_id)
        return saga.at("release", attempt=replace(saga.attempt, restored=known))

    async def release(self, saga: Saga) -> Saga:
        """Its agent lets it run."""
        await self._room.tell.released(saga, made_by(saga))
        return saga.at("verify")

    async def verify(self, saga: Saga) -> Saga:
        """Until it serves. It is left as it is if it does not in time: nothing else has its state any more."""

        async def is_gone(life: Life) -> bool:
            return not life.runs and await self._next(saga) is None

        outcome, life = await self._until_serves(saga, is_gone)
        return await (self._ended(saga, GONE) if outcome == "gone" else self._complete(saga, life))

    async def _complete(self, saga: Saga, life: Life) -> Saga:
        if life.healthy:
            await self._room.tell.restored(saga)
        await self._forget(saga)
        await self._room.tell.completed(saga)
        return saga.at("complete")

    async def free(self, saga: Saga) -> Saga:
        """What it was to start from did not come back there: it starts from whatever its node has of it, or cold."""
        room, loop, made = self._room, asyncio.get_running_loop(), made_by(saga)
        await self._mark(saga)  # where its other checkpoints lie
        end, tell_at, told = loop.time() + room.timeouts.verify_s, loop.time(), 0
        while True:
            if loop.time() >= tell_at:
                await room.tell.released(saga, made, again=told)
                told, tell_at = told + 1, loop.time() + RELEASE_AGAIN_S
                if (pod := await self._next(saga)) is None or pod.deleting:
                    return await self._ended(saga, GONE)
                await room.starts.ask(pod.container_id)
            start = room.starts.of(made.pod_uid, made.container)
            if start and start.outcome == "restored":
                plan = replace(saga.plan, checkpoint_id=start.checkpoint_id or saga.checkpoint_id)
                known = made.but(container_id=start.container_id)
                return saga.at("release", attempt=replace(saga.attempt, plan=plan, restored=known))
            if start and start.outcome in ("blank", "cold"):
                return await self._cold(saga, saga.attempt.stop or outcomes.came_back_cold(saga, start))
            if loop.time() > end:
                return await self._ended(saga, replace(saga.attempt.stop or GONE, outcome="hand-over"))
            await asyncio.sleep(POLL_S)

    async def _cold(self, saga: Saga, stop: Stop) -> Saga:
        """It has begun anew. From here on it is another instance: what it should have started from is none of its business, or
        its next restart would go back behind that.
        """
        made = made_by(saga)
        await self._room.cluster.mark(
            saga.workload.namespace, made.pod, made.pod_uid, {RESTORE_FROM: None, CHECKPOINT_IMAGE: None}
        )
        return await self._ended(saga, stop)

    async def _ended(self, saga: Saga, stop: Stop) -> Saga:
        """The record goes first: what is made next is nobody's business any more. What was told what to start from is let go of:
        it would stand still after its next restart.
        """
        await self._forget(saga)
        if saga.attempt.restored:
            await self._room.tell.released(saga, saga.attempt.restored)
        return await super()._ended(saga, stop)

    async def undo(self, saga: Saga) -> None:
        """Nothing was deleted, but by a version that knew another next step."""
        await self._forget(saga)

    async def _forget(self, saga: Saga) -> None:
        """Of this failover only: the next pod may have one of its own by now."""
        await self._let_on(saga)
        if entry := await self._resume(saga):
            await self._room.resumes.remove(entry.key, entry.revision)
        await self._room.last.forget(saga)


def _name(saga: Saga) -> str:
    return key(saga.workload.namespace, saga.target.pod)


def _is_newer(pod: PodView, body: str) -> bool:
    """Whether its owner made it of another template than the pod before it: what was checkpointed is of that one's."""
    before = json.loads(body).get("metadata", {}).get("labels", {}).get(REVISION_LABEL, "") if body else ""
    return bool(before and pod.revision) and pod.revision != before


def _may_come_back(pod: PodView, saga: Saga) -> bool:
    return pod.uid != saga.target.pod_uid and bool(pod.node) and not pod.deleting and not pod.evicted
