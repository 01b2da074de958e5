"""If a node died now: what the planner would decide for each container on it. It decides as for a failover, and does nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from reprise.contracts.model import Target, failover_id, now
from reprise.contracts.plans import Planned
from reprise.restorer import decide
from reprise.restorer.model import Plan, Saga, Stop
from reprise.restorer.planning import Planning
from reprise.runtime.kube import ProtectedPod
from starlette.requests import Request
from starlette.responses import Response

AT_ONCE = 8
PLANNED = TypeAdapter(list[Planned])


class Forecast:
    """pods: the protected ones, by UID."""

    def __init__(self, planning: Planning, pods: Mapping[str, ProtectedPod]) -> None:
        self._planning, self._pods = planning, pods
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def of(self, node: str) -> list[Planned]:
        """Raises RecoveryError, StoreError, nats.errors.Error or TimeoutError while something that it looks at is away."""
        here = [pod for pod in self._pods.values() if pod.node == node and not pod.deleting]
        targets = [(pod, pod.target(container)) for pod in here for container in pod.containers]
        return list(await asyncio.gather(*(self._plan(pod, target) for pod, target in targets)))

    async def answer(self, request: Request) -> Response:
        """As JSON, of the path's node."""
        return Response(PLANNED.dump_json(await self.of(request.path_params["node"])), media_type="application/json")

    async def _plan(self, pod: ProtectedPod, target: Target) -> Planned:
        saga = Saga(
            failover_id=failover_id(target, node_lost=True), workload=pod.workload, target=target, cause="node-loss",
            declared_at=now(),
        )  # fmt: skip
        async with self._slots:
            looked = await self._planning.snapshot(saga)
        match decide.plan(looked.snapshot):
            case Plan() as plan:
                told: dict[str, Any] = {"standby": plan.standby, "checkpoint_id": plan.checkpoint_id, "why": plan.why}
            case Stop() as stop:
                told = {"why": stop.message, "reason": stop.reason, "remedy": stop.remedy, "later": stop.later}
        return Planned.model_validate({"workload": pod.workload, "target": target, "at": saga.declared_at, **told})
