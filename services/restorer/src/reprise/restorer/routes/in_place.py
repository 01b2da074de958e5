"""In place: the kubelet restarts the container, and the engine makes that a restore. What is done here is to see what came of it.

A rollback is the same from a checkpoint that somebody chose: that is made the live one on the node, and the container is ended.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from reprise.contracts.events import ImageBuilt
from reprise.contracts.records import RollbackRecord, StartRecord
from reprise.restorer import choosing, decide, outcomes
from reprise.restorer.model import Life, Saga
from reprise.restorer.room import LIFE_S, LOOK_S, POLL_S, Abandon, Room
from reprise.restorer.routes import Step
from reprise.runtime.kv import container_key

NUDGE_S = 1.5
"""A kubelet that looks each second has begun to restart a container by then, unless it saw the ended one before its agent removed
it: then it tries again only 10 s later (pkg/kubelet/pod_workers.go, backOffPeriod), or as soon as its pod changes.
"""


class InPlace:
    """Of a crash, or a hang whose process its node's agent has ended."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.steps: Mapping[str, Step] = {"verify": self.verify}

    async def verify(self, saga: Saga) -> Saga:
        """Until a container that came after the one that is gone serves from its checkpoint, or has none."""
        room, target = self._room, saga.target
        loop = asyncio.get_running_loop()
        end, look_at = loop.time() + room.timeouts.verify_s, loop.time() + LOOK_S  # it was planned just now
        nudge_at, nudges = loop.time() + NUDGE_S, 0
        while True:
            if loop.time() >= look_at:
                await room.look(saga)
                look_at = loop.time() + LOOK_S
                await self._ask(saga)
            start = self._start(saga)
            if start is None and loop.time() >= nudge_at:
                nudges += 1
                await room.cluster.nudge(saga.workload.namespace, target.pod, f"{saga.name}-{nudges}")
                nudge_at = loop.time() + NUDGE_S * 2**nudges
            if start and start.outcome in ("blank", "cold"):
                raise Abandon(outcomes.came_back_cold(saga, start))
            life = Life(False, False, "no start of it was told of")
            if start and start.outcome == "restored":
                life = await room.cluster.life(saga.workload.namespace, target.pod, target, (target.container_id,))
                if life.healthy:
                    return await self._served(saga, start.checkpoint_id)
            if loop.time() > end and not life.grace_s:
                raise Abandon(outcomes.not_served(saga, life, start, room.timeouts.verify_s))
            await asyncio.sleep(LIFE_S if start else POLL_S)

    def _start(self, saga: Saga) -> StartRecord | None:
        target = saga.target
        return self._room.starts.after(target.pod_uid, target.container, target.container_id)

    async def _ask(self, saga: Saga) -> None:
        """The watch may be silent: what the API server shows as the pod's container is asked for."""
        pod = await self._room.cluster.pod(saga.workload.namespace, saga.target.pod, saga.target.container)
        for container_id in (saga.target.container_id, pod.container_id if pod else ""):
            if container_id and not self._room.starts.knows(container_id):
                await self._room.starts.ask(container_id)

    async def _served(self, saga: Saga, checkpoint_id: str) -> Saga:
        plan = replace(saga.plan, checkpoint_id=checkpoint_id or saga.checkpoint_id)
        served = saga.at("complete", attempt=replace(saga.attempt, plan=plan))
        await self._room.tell.restored(served)
        await self._room.tell.completed(served)
        return served

    async def undo(self, saga: Saga) -> None:
        """Nothing was done."""


class Rollback(InPlace):
    """From a checkpoint that somebody chose."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        self.steps = {"stage": self.stage, "end": self.end, "verify": self.verify}

    async def stage(self, saga: Saga) -> Saga:
        """Until the node holds it as the live one."""
        room, name = self._room, container_key(saga.workload, saga.target.container)
        await room.look(saga)
        await self._want(saga)
        reference, digest = await room.checkpoints.publish(saga.workload, saga.target.container, saga.checkpoint_id)
        built = ImageBuilt(
            node=saga.target.node, workload=saga.workload, checkpoint_id=saga.checkpoint_id, target=saga.target,
            reference=reference, digest=digest, role="own", asked_by=saga.name,
        )  # fmt: skip
        await room.bus.publish(built, dedup_id=f"built-own-{saga.name}")
        loop = asyncio.get_running_loop()
        patience_s = room.timeouts.stage_s + decide.fetch_s(saga.plan.size)
        end, look_at = loop.time() + patience_s, loop.time() + LOOK_S
        while True:
            entry = await room.wanted.get(name)
            if entry and entry.value.failover_id == saga.failover_id and entry.value.ready:
                return saga.at("end")
            if loop.time() > look_at:
                await room.look(saga)
                look_at = loop.time() + LOOK_S
            if loop.time() > end:
                raise Abandon(outcomes.not_staged(saga, {}, patience_s))
            await asyncio.sleep(POLL_S)

    async def _want(self, saga: Saga) -> None:
        """handlers.on_staged makes it ready."""
        name = container_key(saga.workload, saga.target.container)
        asked = RollbackRecord(failover_id=saga.failover_id, node=saga.target.node, checkpoint_id=saga.checkpoint_id)
        while True:
            entry = await self._room.wanted.get(name)
            if entry and entry.value.failover_id == saga.failover_id:
                return
            if await (self._room.wanted.update(name, asked, entry.revision) if entry else self._room.wanted.create(name, asked)):
                return

    async def end(self, saga: Saga) -> Saga:
        """Its node's agent ends the container where it stands, and the kubelet starts it again: from what was chosen."""
        room, target = self._room, saga.target
        await room.look(saga)
        good = await room.checkpoints.good(saga.workload, target.container)
        await room.note(
            saga.workload, target.container, lambda before: choosing.going_back(before, good, saga.wanted, target.container_id)
        )
        await room.tell.started(saga)
        return saga.at("verify")

    async def _served(self, saga: Saga, checkpoint_id: str) -> Saga:
        if checkpoint_id and checkpoint_id != saga.wanted:
            await self._room.note(
                saga.workload, saga.target.container, lambda before: choosing.went_back_to(before, saga.wanted, checkpoint_id)
            )
        await self._forget(saga)
        return await super()._served(saga, checkpoint_id)

    async def undo(self, saga: Saga) -> None:
        await self._forget(saga)

    async def _forget(self, saga: Saga) -> None:
        name = container_key(saga.workload, saga.target.container)
        entry = await self._room.wanted.get(name)
        if entry and entry.value.failover_id == saga.failover_id:
            await self._room.wanted.remove(name, entry.revision)
