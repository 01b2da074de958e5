"""If a node died now: what the planner would decide for each container on it. It decides as for a failover, and does nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

from reprise.contracts.model import Target, failover_id, now
from reprise.contracts.plans import Planned
from reprise.restorer import decide
from reprise.restorer.model import Go, Saga, Stop
from reprise.restorer.saga import SagaRunner
from reprise.runtime.kube import ProtectedPod

AT_ONCE = 8


class Forecast:
    """pods: the protected ones, by UID."""

    def __init__(self, sagas: SagaRunner, pods: Mapping[str, ProtectedPod]) -> None:
        self._sagas, self._pods = sagas, pods
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def of(self, node: str) -> list[Planned]:
        """Raises RecoveryError, StoreError, nats.errors.Error or TimeoutError while something that it looks at is away."""
        here = [pod for pod in self._pods.values() if pod.node == node and not pod.deleting]
        targets = [(pod, pod.target(container)) for pod in here for container in pod.containers]
        return list(await asyncio.gather(*(self._plan(pod, target) for pod, target in targets)))

    async def _plan(self, pod: ProtectedPod, target: Target) -> Planned:
        saga = Saga(
            failover_id=failover_id(target, node_lost=True), workload=pod.workload, target=target, cause="node-loss",
            declared_at=now(),
        )  # fmt: skip
        async with self._slots:
            looked = await self._sagas.snapshot(saga)
        match decide.plan(looked.snapshot):
            case Go() as go:
                told: dict[str, Any] = {"standby": go.standby, "checkpoint_id": go.checkpoint_id, "why": go.why}
            case Stop() as stop:
                told = {"why": stop.message, "reason": stop.reason, "remedy": stop.remedy, "later": stop.later}
        return Planned.model_validate({"workload": pod.workload, "target": target, "at": saga.declared_at, **told})
