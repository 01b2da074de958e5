"""The API server is away for 5, 30 or 120 minutes from any step of a failover on, and its message is lost: it ends all the same,
with one instance at most, and nothing stands still for ever.
"""

import asyncio
import contextlib

import pytest
from reprise.contracts.errors import NotStored, RecoveryError
from reprise.contracts.records import HoldRecord
from reprise.restorer.model import Saga
from reprise.restorer.reconciler import LOOK_S, STILL_S, Reconciler
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus
from worlds import (
    CASES,
    Prepare,
    World,
    end_of,
    no_standby,
    nothing,
)

OF_THE_API_SERVER = {
    "read pod", "nudge", "list nodes", "create shadow", "try shadow", "look at its init containers", "look at the instance",
    "read shadow", "adopt", "step back", "end the old pod", "read spec", "try next", "keep off", "let on", "delete for good",
    "create next", "carry labels", "mark next", "discard shadow",
}  # fmt: skip
FEW = [(path, prepare) for path, prepare, *_ in CASES if prepare in (nothing, no_standby)]


class Outage(World):
    """step: from whose first call on the API server is away; empty: it never is."""

    def __init__(self, path: str, prepare: Prepare, step: str = "", minutes: float = 0) -> None:
        super().__init__(path)
        prepare(self)
        self._step, self._minutes = step, minutes
        self._back_at: float | None = None
        self.steps: list[str] = []
        """Those that asked the API server anything."""

    def recorded(self) -> Saga | None:
        rows = list(self.server.buckets.get("failovers", {}).values())
        return Saga.model_validate_json(rows[0].value) if rows else None

    async def _on_call(self, when: str, what: str) -> None:
        await super()._on_call(when, what)
        if when == "before" and what in OF_THE_API_SERVER:
            now, saga = asyncio.get_running_loop().time(), self.recorded()
            step = saga.step if saga else ""
            if step not in self.steps:
                self.steps.append(step)
            if self._back_at is None and step == self._step:
                self._back_at = now + 60 * self._minutes
            if self._back_at is not None and now < self._back_at:
                raise RecoveryError("no route to host", subject="API server", retryable=True)

    async def ends(self) -> Saga:
        """Its message is delivered once, and given up if that fails."""
        await self.begin()
        async with self.runner() as runner:

            async def attend(saga: Saga) -> None:
                await runner.run(saga)

            reconciler = asyncio.create_task(Reconciler(runner, attend, lambda: True).run())
            with contextlib.suppress(Exception):
                await runner.run(self.saga())
            async with asyncio.timeout(60 * self._minutes + 20 * (STILL_S + LOOK_S)):
                while not (saga := self.recorded()) or not (saga.ended or saga.step == "wait"):
                    await asyncio.sleep(LOOK_S)
            reconciler.cancel()
        for _ in range(3):
            await self.nodes.act()
        return saga


async def survives(path: str, prepare: Prepare, minutes: int) -> None:
    undisturbed = Outage(path, prepare)
    expected = await end_of(undisturbed, await undisturbed.ends())
    for step in undisturbed.steps:
        world = Outage(path, prepare, step, minutes)
        end = await end_of(world, await world.ends())
        where = f"{path}, from step {step} on"
        assert len(end.serving) == len(expected.serving), where
        frozen = [pod.view.name for pod in world.cluster.pods.values() if pod.frozen and not pod.came_of]
        assert not frozen, f"{where}: {frozen} stand still"
        held = await Bucket(MemoryBus(world.server), "holds", HoldRecord).entries()
        assert not held, f"{where}: its node keeps it still"


@pytest.mark.looptime
@pytest.mark.parametrize(("path", "prepare"), FEW, ids=[f"{path}, {prepare.__name__}" for path, prepare in FEW])
async def test_after_half_an_hour_it_ends(path: str, prepare: Prepare) -> None:
    await survives(path, prepare, 30)


@pytest.mark.long
@pytest.mark.looptime
@pytest.mark.parametrize("minutes", [5, 120])
@pytest.mark.parametrize(("path", "prepare"), FEW, ids=[f"{path}, {prepare.__name__}" for path, prepare in FEW])
async def test_however_long_it_was_away_it_ends(path: str, prepare: Prepare, minutes: int) -> None:
    await survives(path, prepare, minutes)


@pytest.mark.looptime
@pytest.mark.parametrize("path", ["shadow", "stateful", "bare", "restore"])
async def test_an_error_of_the_store_that_no_retry_helps_ends_the_attempt_and_not_its_message(path: str) -> None:
    """In the dead letters it would leave what was frozen for it."""
    world = Outage(path, nothing)

    async def publish(*_: object) -> tuple[str, str]:
        raise NotStored("it was pruned", subject="ck3")

    world.store.publish = publish  # type: ignore[method-assign, assignment]
    await world.begin()
    async with world.runner() as runner:
        saga = await runner.run(world.saga())
    assert saga.ended
    assert len(world.cluster.serving()) <= 1


@pytest.mark.looptime
async def test_only_what_nobody_runs_and_what_waits_for_nothing_is_run_on_and_only_by_who_leads() -> None:
    world, attended, leads = Outage("shadow", no_standby), [], [True]

    async def attend(saga: Saga) -> None:
        attended.append(saga.step)

    async with world.runner() as runner:
        task = asyncio.create_task(Reconciler(runner, attend, lambda: leads[0]).run())
        assert (await runner.run(world.saga())).step == "wait"
        await asyncio.sleep(3 * STILL_S)
        assert attended == []
        entry = (await runner.sagas.entries())[0]
        runner.in_hand.add(entry.value.failover_id)
        await runner.sagas.put(entry.key, entry.value.at("fence"))
        await asyncio.sleep(3 * STILL_S)
        assert attended == []
        runner.in_hand.clear()
        leads[0] = False
        await asyncio.sleep(3 * STILL_S)
        assert attended == []
        leads[0] = True
        await asyncio.sleep(LOOK_S + 1)
        assert attended == ["fence"]
        await asyncio.sleep(STILL_S + LOOK_S)
        assert attended == ["fence", "fence"], "it has not ended: it is tried again"
        task.cancel()
