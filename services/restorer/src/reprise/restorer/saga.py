"""Runs a failover to its end, whoever is killed meanwhile: plan, then its route's steps; or undo, and another attempt or the end.

Each step is idempotent and is recorded by compare-and-set before the next begins. The record names the step to do
next, so whoever gets the message again after a crash goes on from there; who loses a compare-and-set stops at once,
because another replica is ahead. What ends a failover is recorded before anything is undone, and nothing is placed for
it after that: the pod's fence is let go of only when no restored instance can be left.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace

from reprise.contracts.errors import RecoveryError, RepriseError, StoreError
from reprise.contracts.model import Workload
from reprise.restorer import choosing, decide
from reprise.restorer.counting import STEP_SECONDS, attributes, count
from reprise.restorer.model import Route as RouteName
from reprise.restorer.model import Saga, Stop
from reprise.restorer.planning import Planning
from reprise.restorer.room import Abandon, Room
from reprise.restorer.routes import Route, Step
from reprise.restorer.routes.in_place import InPlace, Rollback
from reprise.restorer.routes.same_name import SameName
from reprise.restorer.routes.shadow import Shadow
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log, span

AGAIN_S = 1.0
"""What was held runs on for so long before it is held again."""


class Overtaken(Exception):
    """Another replica has moved this saga on."""


class SagaRunner:
    def __init__(self, room: Room) -> None:
        self._room, self.planning = room, Planning(room)
        self.sagas = Bucket(room.bus, "failovers", Saga)
        self.in_hand: set[str] = set()
        """Failovers that this replica runs."""
        self._routes: Mapping[RouteName, Route] = {
            "in-place": InPlace(room), "rollback": Rollback(room), "shadow": Shadow(room),
            "same-name": SameName(room),
        }  # fmt: skip

    async def run(self, declared: Saga) -> Saga:
        """Start the saga, or go on with the one that is recorded under its id. Returns it as it ended, or waits."""
        name = key(declared.failover_id)
        saga, revision = declared, await self.sagas.create(name, declared)
        self.in_hand.add(declared.failover_id)
        try:
            if revision is None:
                saga, revision = await self._resume(name, declared)
            while not saga.ended and saga.step != "wait":
                trace = saga.attempt.plan.trace if saga.attempt.plan else ""
                with span(f"saga.{saga.step}", links=[trace], attributes=attributes(saga)):
                    saga, revision = await self._advance(saga, revision)
        except Overtaken:
            log().info("another replica runs this failover", failover=saga.failover_id)
        finally:
            self.in_hand.discard(declared.failover_id)
        return saga

    async def reject(self, workload: Workload, container: str, checkpoints: tuple[str, ...]) -> None:
        """They are not restored any more, whatever the failover."""
        await self._room.note(workload, container, lambda before: choosing.rejecting(before, checkpoints))

    async def _resume(self, name: str, declared: Saga) -> tuple[Saga, int]:
        entry = await self.sagas.get(name)
        if entry is None:
            raise RecoveryError("its record vanished", subject=declared.failover_id, retryable=True)
        log().info("resuming failover", failover=declared.failover_id, step=entry.value.step)
        again = decide.taken_up(entry.value, declared)
        if again is None:
            return entry.value, entry.revision
        revision = await self.sagas.update(name, again, entry.revision)
        if revision is None:
            raise Overtaken
        return again, revision

    async def _advance(self, saga: Saga, revision: int) -> tuple[Saga, int]:
        began = time.monotonic()
        try:
            after = await self._step(saga)(saga)
        except Abandon as abandon:
            after = _undone(saga, abandon.stop)
        except RepriseError as error:
            if error.retryable:
                raise
            if saga.step == "undo" or saga.attempt.released:  # there is no way but on: whatever is wrong may be put right
                raise RecoveryError(str(error), reason=error.reason, remedy=error.remedy, retryable=True) from error
            bad = isinstance(error, StoreError)  # the checkpoint, not the attempt: the one before it may do
            after = _undone(saga, Stop(error.reason, str(error), error.remedy, poisoned=bad))
        updated = await self.sagas.update(key(saga.failover_id), after, revision)
        if updated is None:
            raise Overtaken
        STEP_SECONDS.labels(saga.step).observe(time.monotonic() - began)
        count(saga, after)
        return after, updated

    def _step(self, saga: Saga) -> Step:
        """Raises Abandon for a step that this version does not know."""
        known: dict[str, Step] = {"plan": self.planning.plan, "undo": self._undo}
        if saga.attempt.plan:
            known |= self._routes[saga.plan.route].steps
        if saga.step not in known:
            message = f"its record is of another version of Reprise: this one does not know a step {saga.step!r}"
            remedy = "nothing: what was begun is undone; ask again for a move or a restore"
            raise Abandon(Stop("OtherVersion", message, remedy))
        return known[saga.step]

    async def _undo(self, saga: Saga) -> Saga:
        """Nothing restored is left running before the fence is let go of; that is let go of before the end is told."""
        stop = saga.attempt.stop
        assert stop is not None
        if saga.attempt.plan:
            await self._routes[saga.plan.route].undo(saga)
        if saga.planned:
            await self._room.let_go(saga)
        again = decide.after(saga, stop)
        following = saga.attempt.next(without=saga.checkpoint_id if stop.poisoned else "", failed=stop)
        if again and not again.later:
            log().warning("attempt failed, another one follows", failover=saga.failover_id, why=again.why)
            await asyncio.sleep(AGAIN_S if saga.planned else 0.0)
            return saga.at("plan", attempt=following)
        revision = await self._room.let_go(saga)
        if saga.elsewhere:
            log().warning("not moved, restored in place", failover=saga.failover_id, reason=stop.reason, why=stop.message)
            await self._room.last.forget(saga)
            return saga.in_place(stop)
        if again:
            await self._room.tell.delayed(saga, stop)
            waiting = replace(saga.attempt, plan=None, stop=None)
            return saga.at("wait", attempt=waiting, delays=saga.delays + 1, fence_revision=revision, why=stop.message)
        await self._room.tell.abandoned(saga, stop)
        return saga.at("abandoned", fence_revision=revision, why=stop.message)


def _undone(saga: Saga, stop: Stop) -> Saga:
    return saga.undone(replace(stop, outcome="step-aside") if saga.untouched and stop.outcome == "cold" else stop)
