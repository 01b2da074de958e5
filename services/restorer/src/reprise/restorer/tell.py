"""What a failover tells subscribers: each event once, whoever was killed where, because it is named by its attempt."""

from reprise.contracts.events import (
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverDelayed,
    FailoverFenced,
    FailoverReleased,
    FailoverRestored,
    FailoverStarted,
)
from reprise.contracts.model import Target, now
from reprise.restorer.model import Saga, Stop
from reprise.runtime.bus import Bus
from reprise.runtime.telemetry import log


class Tell:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def started(self, saga: Saga) -> None:
        plan = saga.plan
        await self._emit(
            FailoverStarted(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                            cause=saga.cause, path=plan.path, checkpoint_id=plan.checkpoint_id, standby=plan.standby,
                            why=plan.why, attempt=saga.attempt.number),
            "started", saga,
        )  # fmt: skip

    async def fenced(self, saga: Saga) -> None:
        how = (
            "its last checkpoint left it frozen, and its node may not thaw it"
            if saga.planned
            else "it has ended, and its node starts nothing in its place"
            if saga.elsewhere
            else "the node froze its containers before it was given up, and may not thaw them"
        )
        await self._emit(
            FailoverFenced(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                           how=how),
            "fenced", saga,
        )  # fmt: skip

    async def released(self, saga: Saga, restored: Target, again: int = 0) -> None:
        """To the node that the restored instance is on. again: how often it was told before."""
        await self._emit(
            FailoverReleased(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id, target=restored,
                             checkpoint_id=saga.checkpoint_id),
            f"released-{again}" if again else "released", saga,
        )  # fmt: skip

    async def restored(self, saga: Saga) -> None:
        await self._emit(
            FailoverRestored(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                             checkpoint_id=saga.checkpoint_id),
            "restored", saga,
        )  # fmt: skip

    async def completed(self, saga: Saga) -> None:
        total_s = (now() - saga.declared_at).total_seconds()
        await self._emit(
            FailoverCompleted(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                              cause=saga.cause, path=saga.plan.path, checkpoint_id=saga.checkpoint_id, total_s=total_s,
                              lost_work=saga.lost_work),
            "completed", saga,
        )  # fmt: skip
        log().info("failover completed", failover=saga.failover_id, total_s=round(total_s, 3))

    async def delayed(self, saga: Saga, stop: Stop) -> None:
        log().warning("failover delayed", failover=saga.failover_id, reason=stop.reason, message=stop.message, delays=saga.delays)
        await self._emit(
            FailoverDelayed(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                            cause=saga.cause, attempt=saga.attempt.number, reason=stop.reason, message=stop.message,
                            remedy=stop.remedy),
            f"delayed-{saga.delays}", saga,
        )  # fmt: skip

    async def abandoned(self, saga: Saga, stop: Stop) -> None:
        level = log().info if stop.harmless else log().error
        level("failover abandoned", failover=saga.failover_id, reason=stop.reason, message=stop.message, outcome=stop.outcome)
        await self._emit(
            FailoverAbandoned(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
                              cause=saga.cause, reason=stop.reason, message=stop.message, remedy=stop.remedy,
                              outcome=stop.outcome, attempt=saga.attempt.number),
            "abandoned", saga,
        )  # fmt: skip

    async def _emit(self, event: Event, what: str, saga: Saga) -> None:
        await self._bus.publish(event, dedup_id=f"{what}-{saga.name}")
