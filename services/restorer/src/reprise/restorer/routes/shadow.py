"""Shadow and adopt: another pod on another node, restored frozen; once the decision is final it is let run, and its ReplicaSet
adopts it in the place of the old one.

Of a lost node, and of a planned move. That makes the pod first, whose engine waits for its checkpoint (`wait` in
docs/node-files.md), and only then takes the last one: what is moved serves while its successor gets its network and runs its init
containers. Until `release` is recorded everything can be
undone, and no instance has done any work that would be lost by it (I9). From then on nothing is undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Literal

from reprise.archive.images import image_reference
from reprise.contracts.annotations import CHECKPOINT_IMAGE, RESTORE_FROM
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import ImageBuilt
from reprise.contracts.model import Target
from reprise.restorer import decide, outcomes
from reprise.restorer.model import Attempt, Life, Saga, Standby, Stop
from reprise.restorer.planning import name_last
from reprise.restorer.ports import FAILOVER_ANNOTATION, shadow_name
from reprise.restorer.room import LIFE_S, LOOK_S, POLL_S, Abandon, Room
from reprise.restorer.routes import Step
from reprise.runtime.kv import key
from reprise.runtime.telemetry import log

RELEASE_AGAIN_S = 2.0
INIT_MOST_S = 1800.0
"""So long may init containers take on another node: in a failover, while nothing of it runs anyway."""
UNTOLD_LOOKS = 3
"""So often may an instance be seen running of which no engine has told how it was started."""


class Shadow:
    def __init__(self, room: Room) -> None:
        self._room = room
        self.steps: Mapping[str, Step] = {
            "place": self.place,
            "prepared": self.prepared,
            "hold": self.hold,
            "fence": self.fence,
            "stage": self.stage,
            "restored": self.restored,
            "release": self.release,
            "verify": self.verify,
            "adopt": self.adopt,
        }

    async def hold(self, saga: Saga) -> Saga:
        """Of a planned move: its process stands still from its last checkpoint on."""
        if saga.attempt.restored:
            made = made_by(saga)
            await self._room.cluster.mark(saga.workload.namespace, made.pod, made.pod_uid, annotations(saga))
        done = await self._room.last.take(saga, lambda: self._room.look(saga))
        if isinstance(done, Stop):
            raise Abandon(done)
        await self._ask_standby(saga)  # while it is fenced
        return saga.at("fence", fence_revision=done.fence_revision)

    async def fence(self, saga: Saga) -> Saga:
        room = self._room
        await room.look(saga)
        if stop := await room.take_fence(saga):
            raise Abandon(stop)
        await room.tell.started(saga)
        await room.tell.fenced(saga)
        return saga.at("stage")

    async def stage(self, saga: Saga) -> Saga:
        """Until the checkpoint lies ready on the node that is to take it."""
        if not (await self._standby(saga)).holds(saga.plan.standby, saga.plan.checkpoint_id):
            await self._ask_standby(saga)
            await self._until_staged(saga, self._room.timeouts.stage_s, self._room.look)
        return saga.at("restored" if saga.attempt.restored else "place")

    async def _ask_standby(self, saga: Saga) -> None:
        """To have the checkpoint lie ready, though nothing is decided yet."""
        room, plan = self._room, saga.plan
        reference, digest = await room.checkpoints.publish(saga.workload, saga.target.container, plan.checkpoint_id)
        await self._name_standby(saga)
        source = saga.target.but(pod_uid=saga.source_uid)
        built = ImageBuilt(
            node=plan.standby, workload=saga.workload, checkpoint_id=plan.checkpoint_id, target=source,
            reference=reference, digest=digest, role="standby", prestage="image", asked_by=saga.name,
        )  # fmt: skip
        await room.bus.publish(built, dedup_id=f"built-{saga.name}-{plan.standby}-{plan.checkpoint_id}")

    async def _standby(self, saga: Saga) -> Standby:
        return await self._room.standby(saga.source_uid, saga.target.container)

    async def _until_staged(self, saga: Saga, stage_s: float, look: Callable[[Saga], Awaitable[None]]) -> None:
        """stage_s: how long it may take, besides what its size takes to fetch. look: raises if it may not go on."""
        room, loop = self._room, asyncio.get_running_loop()
        patience_s = stage_s + decide.fetch_s(saga.plan.size)
        end, look_at = loop.time() + patience_s, loop.time() + LOOK_S
        while True:
            standby = await self._standby(saga)
            if standby.holds(saga.standby, saga.checkpoint_id):
                return
            if loop.time() > end or saga.standby in standby.refused:
                raise Abandon(outcomes.not_staged(saga, standby.refused, patience_s))
            if loop.time() > look_at:
                await look(saga)
                if saga.checkpoint_id in (await room.recovery(saga)).rejected:
                    raise Abandon(outcomes.damaged(saga))
                look_at = loop.time() + LOOK_S
            await asyncio.sleep(POLL_S)

    async def _name_standby(self, saga: Saga) -> None:
        """What another node than the one that is named says of its staging counts for nothing (Standbys.on_staged)."""
        bucket, name = self._room.standbys, key(saga.source_uid, saga.target.container)
        while True:
            entry = await bucket.get(name)
            before = entry.value if entry else Standby()
            same = before.node == saga.standby
            named = Standby(
                node=saga.standby, refused=before.refused, asked=saga.checkpoint_id,
                checkpoint_id=before.checkpoint_id if same else "", previous=before.previous if same else "",
                warm=before.warm and same,
            )  # fmt: skip
            if entry and named == before:
                return
            if await (bucket.update(name, named, entry.revision) if entry else bucket.create(name, named)):
                return

    async def place(self, saga: Saga) -> Saga:
        """A pod with its own image, from its ReplicaSet's template: what it starts from is an annotation."""
        await self._room.look(saga)
        plan, name = saga.plan, shadow_name(saga.workload, saga.name)
        uid = await self._room.cluster.create_shadow(
            saga.workload, saga.name, plan.owner, plan.standby, annotations(saga), source=saga.target, gated=plan.kind == "http"
        )
        made = Target(node=plan.standby, pod=name, pod_uid=uid, container=saga.target.container)
        return saga.at("prepared" if saga.unfenced else "restored", attempt=replace(saga.attempt, restored=made))

    async def prepared(self, saga: Saga) -> Saga:
        """Until its init containers are done. A kubelet that does not take the pod has cost nobody anything."""
        room, loop, made = self._room, asyncio.get_running_loop(), made_by(saga)
        end, look_at = loop.time() + room.timeouts.prepare_s, loop.time() + LOOK_S
        while True:
            pod = await room.cluster.prepared(saga.workload.namespace, made.pod)
            if pod.ready:
                return saga.at("hold", attempt=await self._named_anew(saga))
            if pod.rejected:
                raise Abandon(outcomes.not_taken(saga, made.pod, pod.rejected))
            if loop.time() > end:
                raise Abandon(outcomes.not_prepared(saga, made.pod, pod.detail, room.timeouts.prepare_s))
            if loop.time() > look_at:
                await room.look(saga)
                look_at = loop.time() + LOOK_S
            await asyncio.sleep(LIFE_S)

    async def _named_anew(self, saga: Saga) -> Attempt:
        """Checkpoints were taken while it got ready: the last one's id must be the newest, whatever becomes of the pod later."""
        stored = await self._room.checkpoints.good(saga.workload, saga.target.container)
        newest = max((*(each.checkpoint_id for each in stored), saga.checkpoint_id))
        return replace(saga.attempt, plan=replace(saga.plan, checkpoint_id=name_last(saga, newest)))

    async def restored(self, saga: Saga) -> Saga:
        """Until the engine has restored it, frozen. Recording the step after this one is the decision."""
        room, loop, made = self._room, asyncio.get_running_loop(), made_by(saga)
        # What was moved stands still meanwhile, and can run on where it was: nobody waits for it longer than for its hold.
        hold_s = decide.hold_s(saga.plan.size)
        patience_s = min(room.timeouts.verify_s, hold_s) if saga.planned else room.timeouts.verify_s
        end, look_at, ran = loop.time() + patience_s, loop.time() + LOOK_S, 0
        most = loop.time() + INIT_MOST_S
        while (start := room.starts.of(made.pod_uid, made.container)) is None or outcomes.waited(start):
            if loop.time() > look_at:
                await self._look(saga)
                life = await self._seen(saga, made)
                if life.preparing and not saga.planned:
                    end = min(loop.time() + patience_s, most)
                ran, look_at = ran + (life.runs and start is None), loop.time() + LOOK_S
                if ran > UNTOLD_LOOKS:
                    raise Abandon(outcomes.not_decided(saga, made.pod))
                if loop.time() > end:
                    raise Abandon(outcomes.not_started(saga, made.pod, life, patience_s))
            await asyncio.sleep(POLL_S)
        if stop := outcomes.not_restored(saga, start):
            raise Abandon(stop)
        await self._look(saga)
        known = made.but(container_id=start.container_id)
        return saga.at("release", attempt=replace(saga.attempt, restored=known, released=True))

    async def _look(self, saga: Saga) -> None:
        await self._room.look(saga)
        if await self._room.cluster.adopted(saga.workload, saga.name) is None:
            raise Abandon(Stop("ShadowGone", "somebody removed the restored pod", "nothing", "step-aside"))

    async def _seen(self, saga: Saga, made: Target) -> Life:
        """What the API server shows of it. The watch may be silent: the start of the container there is asked for."""
        pod = await self._room.cluster.pod(saga.workload.namespace, made.pod, made.container)
        if pod:
            await self._room.starts.ask(pod.container_id)
        return await self._room.cluster.life(saga.workload.namespace, made.pod, made, ())

    async def release(self, saga: Saga) -> Saga:
        """Its agent lets it run. Clients are not sent to the old one any more, which stands still."""
        await self._room.tell.released(saga, made_by(saga))
        await self._room.cluster.step_back(saga.target, saga.workload.namespace, saga.name)
        return saga.at("verify")

    async def verify(self, saga: Saga) -> Saga:
        """Until it serves. It is adopted all the same if it does not in time: nothing else has its state any more."""

        async def is_gone(_life: Life) -> bool:
            return await self._room.cluster.adopted(saga.workload, saga.name) is None

        outcome, _ = await self._until_serves(saga, is_gone)
        if outcome == "serves":
            await self._room.tell.restored(saga)
        return saga.at("adopt")

    async def _until_serves(
        self, saga: Saga, is_gone: Callable[[Life], Awaitable[bool]]
    ) -> tuple[Literal["serves", "gone", "late"], Life]:
        """Wait for verify_s at most, or as long as its spec lets it start up; its agent is told to let it run again and again.
        Return what was seen of it last, too.
        """
        room, loop, made = self._room, asyncio.get_running_loop(), made_by(saga)
        end, tell_at, told = loop.time() + room.timeouts.verify_s, loop.time() + RELEASE_AGAIN_S, 0
        while True:
            life = await room.cluster.life(saga.workload.namespace, made.pod, made, ())
            if life.healthy and await room.cluster.opens_gate(saga.workload.namespace, made.pod, saga.checkpoint_id):
                return "serves", life
            if await is_gone(life):
                return "gone", life
            if loop.time() > end and not life.grace_s:
                log().warning("the restored pod does not serve yet", failover=saga.failover_id, pod=made.pod, detail=life.detail)
                return "late", life
            if loop.time() > tell_at:
                told, tell_at = told + 1, loop.time() + RELEASE_AGAIN_S
                await room.tell.released(saga, made, again=told)
            await asyncio.sleep(LIFE_S)

    async def adopt(self, saga: Saga) -> Saga:
        room, loop = self._room, asyncio.get_running_loop()
        end = loop.time() + room.timeouts.adopt_s
        while (owned := await room.cluster.adopted(saga.workload, saga.name)) is False:
            if not await room.cluster.adopt(saga.target, saga.workload, saga.name, saga.plan.owner):
                return await self._unwanted(saga)
            if loop.time() > end:
                raise RecoveryError("its ReplicaSet does not adopt the restored pod", subject=str(saga.workload), retryable=True)
            await asyncio.sleep(LIFE_S)
        if saga.held_as or owned is None:
            await room.cluster.end(saga.target, saga.workload.namespace)
        await room.last.forget(saga)
        if owned is None:
            return await self._ended(saga, Stop("ShadowGone", "somebody removed the restored pod after it was let run",
                                                "nothing: its owner replaces it", "step-aside"))  # fmt: skip
        await room.tell.completed(saga)
        return saga.at("complete")

    async def _unwanted(self, saga: Saga) -> Saga:
        """Its owner was deleted after the restored pod was let run: a user's will wins. The fence stays."""
        await self._discard(saga)
        await self._room.last.forget(saga)
        return await self._ended(saga, Stop("OwnerGone", f"its owner {saga.plan.owner} was deleted", "nothing: a deletion wins",
                                            "step-aside"))  # fmt: skip

    async def _ended(self, saga: Saga, stop: Stop) -> Saga:
        await self._room.tell.abandoned(saga, stop)
        return saga.at("abandoned", attempt=replace(saga.attempt, stop=stop), why=stop.message)

    async def undo(self, saga: Saga) -> None:
        """Nothing restored is left before the process may run on where it stands."""
        await self._discard(saga)
        await self._room.last.forget(saga)

    async def _discard(self, saga: Saga) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._room.timeouts.adopt_s
        while not await self._room.cluster.discard_shadow(saga.workload, saga.name):
            if loop.time() > end:
                raise RecoveryError("it is not certain that the restored pod is gone", subject=saga.name, retryable=True)
            await asyncio.sleep(LIFE_S)


def annotations(saga: Saga) -> dict[str, str]:
    """Return what the pod says that is made: what it starts from, and of which failover it is."""
    return {
        RESTORE_FROM: f"{saga.source_uid}/{saga.checkpoint_id}",
        CHECKPOINT_IMAGE: image_reference(saga.workload, saga.target.container, saga.checkpoint_id),
        FAILOVER_ANNOTATION: saga.name,
    }


def made_by(saga: Saga) -> Target:
    assert saga.attempt.restored is not None, f"{saga.failover_id} made no pod"
    return saga.attempt.restored
