"""The last checkpoint of what is moved: the process stands still afterwards, until it is ended or let go of."""

import asyncio
from collections.abc import Awaitable, Callable

from reprise.contracts.errors import NotStored
from reprise.contracts.events import FailoverHolding
from reprise.contracts.records import UNREADABLE_HOLD, HoldRecord
from reprise.restorer import decide, outcomes
from reprise.restorer.model import Saga, Stop
from reprise.restorer.ports import Checkpoints
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key

POLL_S = 0.02
LOOK_S = 1.0
ANSWER_S = 60.0
"""To begin with: a node whose agent is away does not begin."""


class LastCheckpoint:
    """records: what the node's agent and we tell each other."""

    def __init__(self, bus: Bus, checkpoints: Checkpoints) -> None:
        self._bus, self._checkpoints = bus, checkpoints
        self.records = Bucket(bus, "holds", HoldRecord, instead=UNREADABLE_HOLD)

    async def take(self, saga: Saga, look: Callable[[], Awaitable[None]]) -> HoldRecord | Stop:
        """Until it is in the store, as an image. look: raises if the move may not go on."""
        name = key(saga.checkpoint_id)
        if await self.records.create(name, HoldRecord(failover_id=saga.failover_id)):
            await self._ask(saga)
        elif (entry := await self.records.get(name)) and entry.value.state == "wanted":
            await self._ask(saga)  # whoever wrote the record may have been killed before
        loop = asyncio.get_running_loop()
        began = look_at = loop.time()
        while True:
            if loop.time() >= look_at:
                await look()
                look_at = loop.time() + LOOK_S
            entry = await self.records.get(name)
            if entry is None or entry.value.state == "failed":
                return outcomes.not_held(entry.value) if entry else _forgotten()
            if entry.value.state == "held" and await self._stored(saga):
                return entry.value
            if loop.time() - began > ANSWER_S + decide.hold_s(saga.plan.size):
                return _too_late(saga)
            await asyncio.sleep(POLL_S)

    async def forget(self, saga: Saga) -> None:
        """It is not wanted any more: the node asks whether it may thaw, and what comes late holds nothing."""
        if saga.held_as:
            await self.records.delete(key(saga.held_as))

    async def _ask(self, saga: Saga) -> None:
        holding = FailoverHolding(
            node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id, target=saga.target,
            checkpoint_id=saga.checkpoint_id, keep=saga.keep, hold_s=decide.hold_s(saga.plan.size),
            attempt=saga.attempt.number, cause=saga.cause,
        )  # fmt: skip
        await self._bus.publish(holding, dedup_id=f"holding-{saga.name}")

    async def _stored(self, saga: Saga) -> bool:
        try:
            await self._checkpoints.publish(saga.workload, saga.target.container, saga.checkpoint_id)
        except NotStored:
            return False
        return True


def _forgotten() -> Stop:
    return Stop("HoldForgotten", "its record is gone", "ask again", "step-aside", again=True)


def _too_late(saga: Saga) -> Stop:
    remedy = f"see the workload's events, and ours on {saga.target.node}: `kubectl -n reprise-system get pods -o wide`"
    return Stop("NotStored", "its last checkpoint did not get into the store in time", remedy, "step-aside")
