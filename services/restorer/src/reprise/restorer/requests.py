"""Notices that somebody asks for a planned move: an annotation on the Deployment, or a cordoned node. It declares the move."""

import asyncio
from datetime import datetime

from nats.errors import Error as NatsError
from reprise.contracts.annotations import ANY_NODE, MOVE_ID, MOVE_TO
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import FailoverDeclared
from reprise.contracts.images import parse_live
from reprise.contracts.model import Workload, move_id, now
from reprise.restorer.decide import Asked, later, refusal
from reprise.restorer.model import Saga
from reprise.restorer.ports import Checkpoints
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedPod, ProtectedPods
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

LOOK_S = 0.25


class Requests:
    """Every replica looks: the same request is one move, whoever declares it."""

    def __init__(self, bus: Bus, pods: ProtectedPods, checkpoints: Checkpoints, recorder: EventRecorder) -> None:
        self._bus, self._pods, self._checkpoints, self._recorder = bus, pods, checkpoints, recorder
        self._sagas = Bucket(bus, "failovers", Saga)
        self._settled: dict[Workload, str] = {}

    async def run(self) -> None:
        while True:
            if self._pods.synced:
                try:
                    await self.look()
                except (RepriseError, NatsError, OSError, TimeoutError) as error:
                    log().warning("cannot declare a move, trying again", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """What was asked for and is not settled yet."""
        for workload, annotations in list(self._pods.annotations.items()):
            request = annotations.get(MOVE_ID, "").strip()
            if request and self._settled.get(workload) != request:
                await self._ask(workload, request, annotations.get(MOVE_TO, "").strip())
                self._settled[workload] = request

    async def _ask(self, workload: Workload, request: str, to: str) -> None:
        pods = tuple(pod for pod in self._pods.pods.values() if pod.workload == workload and not pod.deleting)
        why_not = refusal(workload, {pod.name: len(pod.containers) for pod in pods})
        if why_not:
            message = f"{request}: not moved: {why_not}"
            await self._recorder.record(workload, "Warning", "MoveRefused", message)
            return
        asked = Asked(request, "" if to == ANY_NODE else to, f"asked for by annotation {MOVE_ID}={request}")
        await self.declare(pods[0], asked)

    async def declare(self, pod: ProtectedPod, asked: Asked) -> bool:
        """False if this very request was a move already."""
        container = pod.containers[0]
        name = move_id(pod.workload, container.name, asked.request)
        if pod.live_id.startswith(name) or await self._sagas.get(key(name)):
            return False
        declared = FailoverDeclared(
            node=pod.node, workload=pod.workload, failover_id=name, target=pod.target(container), cause="move",
            detail=asked.why, armed=parse_live(container.image) is not None, to=asked.to,
        )  # fmt: skip
        await self._bus.publish(declared, dedup_id=f"declared-{name}")
        log().info("move declared", move=name, pod=pod.name, to=asked.to or ANY_NODE, why=asked.why)
        return True

    async def next_due(self, workload: Workload, container: str) -> datetime:
        """Of a checkpoint that is asked for now."""
        good = await self._checkpoints.good(workload, container)
        return later(now(), good[0].checkpoint_id if good else "")

    async def is_stored(self, workload: Workload, container: str, checkpoint_id: str) -> bool:
        return any(good.checkpoint_id == checkpoint_id for good in await self._checkpoints.good(workload, container))
