"""Makes the pods that a node's loss would need while the node is only suspected to be lost.

A pod takes about a second from its creation until its container may start: its network, its volumes, its init containers. CRIU
takes another for each GiB. Both pass while the arbiter waits anyway: the engine restores the process, frozen, and does not end
`create` (docs/node-files.md, `ahead`) until the failover takes the pod (routes/shadow.py, `place`). Nothing is started, fenced or
recorded; a node that renews again costs a pod that was never Ready, and is removed.

Only for what lies ready on its standby, and is brought back by a shadow: the others keep their pod's name.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from reprise.contracts.errors import RepriseError
from reprise.contracts.events import NodeSuspected
from reprise.contracts.model import Target, failover_id, now
from reprise.restorer import decide
from reprise.restorer.model import Plan, Saga
from reprise.restorer.planning import Planning
from reprise.restorer.room import LOOK_S, Room
from reprise.restorer.routes.shadow import annotations
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

FRESH_S = 5.0
"""What is suspected for longer is decided by now: a message that comes again has only to be cleaned up after."""
UNDECIDED_S = 30.0
"""So long a pod waits to be taken. Less than its engine does (limit in engine/internal/create)."""
AT_ONCE = 8


class Ahead:
    """pods: the protected ones, by UID."""

    def __init__(self, room: Room, planning: Planning, sagas: Bucket[Saga], pods: Mapping[str, ProtectedPod]) -> None:
        self._room, self._planning, self._sagas, self._pods = room, planning, sagas, pods
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def on_suspected(self, event: NodeSuspected) -> None:
        """Returns once each pod is taken or gone: whoever is killed before gets the message again, and cleans up."""
        here = [pod for pod in self._pods.values() if pod.node == event.node and not pod.deleting]
        renewals = await self._room.fences.revision(event.node)
        async with asyncio.TaskGroup() as group:
            for pod in here:
                for container in pod.containers:
                    group.create_task(self._one(event, pod, pod.target(container), renewals))

    async def _one(self, event: NodeSuspected, pod: ProtectedPod, target: Target, renewals: int) -> None:
        saga = Saga(
            failover_id=failover_id(target, node_lost=True), workload=pod.workload, target=target, cause="node-loss",
            declared_at=event.at, keep=pod.policy.keep,
        )  # fmt: skip
        try:
            if (now() - event.at).total_seconds() < FRESH_S:
                async with self._slots:
                    if not await self._make(saga):
                        return
            await self._until_decided(saga, renewals)
        except RepriseError as error:
            log().info("no pod is made ahead", workload=str(pod.workload), why=str(error))
        while not await self._room.cluster.discard_ahead(saga.workload, saga.name):
            await asyncio.sleep(LOOK_S)

    async def _make(self, saga: Saga) -> bool:
        """False if there is nothing to make: the failover would go another way. One that has begun may be about to take it."""
        if await self._sagas.get(key(saga.failover_id)):
            return True
        plan = decide.plan((await self._planning.snapshot(saga)).snapshot)
        if not isinstance(plan, Plan) or not plan.placed_first:
            return False
        planned = saga.at("place", attempt=replace(saga.attempt, plan=plan))
        standby = await self._room.standby(planned.source_uid, saga.target.container)
        if not standby.holds(plan.standby, plan.checkpoint_id):
            return False
        await self._room.cluster.create_shadow(
            saga.workload, saga.name, plan.owner, plan.standby, annotations(planned), source=saga.target, ahead=True
        )
        log().info("a pod is made ahead", workload=str(saga.workload), standby=plan.standby, checkpoint=plan.checkpoint_id)
        return True

    async def _until_decided(self, saga: Saga, renewals: int) -> None:
        """Until its failover has taken a pod or has ended, or its node is well."""
        loop = asyncio.get_running_loop()
        end = loop.time() + UNDECIDED_S
        while loop.time() < end:
            entry = await self._sagas.get(key(saga.failover_id))
            if entry and (entry.value.attempt.restored or entry.value.ended or entry.value.step == "wait"):
                return
            if entry is None and await self._room.fences.renewed(saga.target.node, renewals):
                return
            await asyncio.sleep(LOOK_S)
