"""Notices that somebody asks for a planned move, or for an older state: annotations on the workload. It declares the failover."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime

from nats.errors import Error as NatsError
from reprise.contracts.annotations import ANY_NODE, MOVE_ID, MOVE_TO, RESTORE_ID, RESTORE_TO
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import Cause, FailoverDeclared
from reprise.contracts.model import Workload, move_id, now, restore_id
from reprise.restorer.decide import Asked, irrestorable, later, refusal
from reprise.restorer.model import Saga, Settled
from reprise.restorer.ports import Checkpoints
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedContainer, ProtectedPod, ProtectedPods
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log
from reprise.runtime.unreadable import UnreadableRecord

LOOK_S = 0.25


class Requests:
    """Every replica looks: the same request is one failover, whoever declares it."""

    def __init__(self, bus: Bus, pods: ProtectedPods, checkpoints: Checkpoints, recorder: EventRecorder) -> None:
        self._bus, self._pods, self._checkpoints, self._recorder = bus, pods, checkpoints, recorder
        self._sagas = Bucket(bus, "failovers", Saga)
        self._requests = Bucket(bus, "requests", Settled, instead=Settled())
        self._settled: dict[Workload, Settled] = {}

    async def run(self) -> None:
        while True:
            if self._pods.synced:
                try:
                    await self.look()
                except (RepriseError, NatsError, OSError, TimeoutError) as error:
                    log().warning("cannot declare what was asked for, trying again", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """What was asked for and is not settled yet."""
        bare = {pod.workload: pod.annotations for pod in self._pods.everything.values() if pod.workload.kind == "Pod"}
        for workload, annotations in [*self._pods.annotations.items(), *bare.items()]:
            move, restore = (annotations.get(name, "").strip() for name in (MOVE_ID, RESTORE_ID))
            asked = Settled(move=move, restore=restore)
            if asked != Settled() and self._settled.get(workload) != asked:
                with contextlib.suppress(UnreadableRecord):  # of its failover: the others do not wait for that
                    await self._settle(workload, annotations, asked)

    async def _settle(self, workload: Workload, annotations: Mapping[str, str], asked: Settled) -> None:
        name = key(workload.namespace, workload.kind, workload.name)
        entry = await self._requests.get(name)
        before = entry.value if entry else Settled()
        if asked.move and asked.move != before.move:
            await self._ask_move(workload, asked.move, annotations.get(MOVE_TO, "").strip())
        if asked.restore and asked.restore != before.restore:
            await self._ask_restore(workload, asked.restore, annotations.get(RESTORE_TO, "").strip())
        if asked == before or await (
            self._requests.update(name, asked, entry.revision) if entry else self._requests.create(name, asked)
        ):
            self._settled[workload] = asked

    async def _ask_move(self, workload: Workload, request: str, to: str) -> None:
        pods = self._of(workload)
        why_not = refusal(workload, {pod.name: len(pod.containers) for pod in pods})
        if why_not:
            await self._recorder.record(workload, "Warning", "MoveRefused", f"{request}: not moved: {why_not}")
            return
        asked = Asked(request, "" if to == ANY_NODE else to, f"asked for by annotation {MOVE_ID}={request}")
        await self.declare(pods[0], asked)

    async def _ask_restore(self, workload: Workload, request: str, wanted: str) -> None:
        pods = self._of(workload)
        holders = [each for pod in pods for each in pod.containers if await self.is_stored(workload, each.name, wanted)]
        why_not = irrestorable({pod.name: len(pod.containers) for pod in pods}, len(holders), wanted)
        if why_not:
            await self._recorder.record(workload, "Warning", "RollbackRefused", f"{request}: not restored: {why_not}")
            return
        name = restore_id(workload, holders[0].name, request)
        detail = f"asked for by annotation {RESTORE_ID}={request}"
        await self._declare(pods[0], holders[0], name, "restore", detail, wanted=wanted)

    def _of(self, workload: Workload) -> tuple[ProtectedPod, ...]:
        return tuple(pod for pod in self._pods.pods.values() if pod.workload == workload and not pod.deleting)

    async def declare(self, pod: ProtectedPod, asked: Asked) -> bool:
        """False if this very request was a move already."""
        container = pod.containers[0]
        name = move_id(pod.workload, container.name, asked.request)
        return await self._declare(pod, container, name, "move", asked.why, to=asked.to)

    async def _declare(
        self, pod: ProtectedPod, container: ProtectedContainer, name: str, cause: Cause, detail: str, *, to: str = "",
        wanted: str = "",
    ) -> bool:  # fmt: skip
        if await self._sagas.get(key(name)):
            return False
        declared = FailoverDeclared(
            node=pod.node, workload=pod.workload, failover_id=name, target=pod.target(container), cause=cause,
            detail=detail, to=to, wanted=wanted,
        )  # fmt: skip
        await self._bus.publish(declared, dedup_id=f"declared-{name}")
        log().info(f"{cause} declared", failover=name, pod=pod.name, to=to or wanted or ANY_NODE, why=detail)
        return True

    async def next_due(self, workload: Workload, container: str) -> datetime:
        """Of a checkpoint that is asked for now."""
        good = await self._checkpoints.good(workload, container)
        return later(now(), good[0].checkpoint_id if good else "")

    async def is_stored(self, workload: Workload, container: str, checkpoint_id: str) -> bool:
        return any(good.checkpoint_id == checkpoint_id for good in await self._checkpoints.good(workload, container))
