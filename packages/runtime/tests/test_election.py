"""Who leads, and who lets another one lead: no two at once."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from functools import partial

import pytest
from reprise.runtime import election as module
from reprise.runtime.election import Election, Leadership
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer


@contextlib.asynccontextmanager
async def elected(server: MemoryServer) -> AsyncIterator[Election]:
    election = Election(MemoryBus(server), "arbiter", "me")
    task = asyncio.create_task(election.run())
    await asyncio.sleep(0.01)
    assert election.leading
    try:
        yield election
    finally:
        task.cancel()


async def holder(server: MemoryServer) -> str:
    entry = await Bucket(MemoryBus(server), "elections", Leadership).get("arbiter")
    return entry.value.holder if entry else ""


async def test_who_resigns_leaves_nobody_leading() -> None:
    server = MemoryServer()
    async with elected(server) as election:
        await election.resign()
        assert not election.leading
        assert await holder(server) == ""


async def test_who_was_overtaken_deletes_nobody_elses_lead() -> None:
    """It stood still for longer than its lead lasts, and was told to end before it noticed."""
    server = MemoryServer()
    async with elected(server) as election:
        await Bucket(MemoryBus(server), "elections", Leadership).put("arbiter", Leadership(holder="another"))
        await election.resign()
        assert await holder(server) == "another"


async def test_who_has_resigned_is_no_candidate_any_more() -> None:
    """Its process ends only after its handlers have."""
    server = MemoryServer()
    async with elected(server) as election:
        await election.resign()
        await asyncio.sleep(1.1)
        assert not election.leading
        assert await holder(server) == ""


def quicker(patch: pytest.MonkeyPatch) -> None:
    for name in ("RENEW_S", "LOOK_S", "LEAD_S", "TAKEOVER_S"):
        patch.setattr(module, name, getattr(module, name) / 10)


async def test_who_is_not_fit_lets_another_one_lead_and_takes_over_when_that_one_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch)
    server, fit = MemoryServer(), {"a": True, "b": True}
    elections = {name: Election(MemoryBus(server), "arbiter", name) for name in fit}
    for name, election in elections.items():
        election.only_while(partial(fit.__getitem__, name))
    tasks = {name: asyncio.create_task(election.run()) for name, election in elections.items()}
    led = []
    for unfit in ("a", "b"):
        await asyncio.sleep(0.05)
        fit.update({"a": True, "b": True, unfit: False})
        for _ in range(100):
            await asyncio.sleep(0.01)
            leading = [name for name, election in elections.items() if election.leading]
            assert len(leading) <= 1
            led += leading
    for task in tasks.values():
        task.cancel()
    assert [name for name, _ in itertools.groupby(led)] == ["a", "b", "a"]


async def test_where_nobody_is_fit_nobody_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    quicker(monkeypatch)
    server = MemoryServer()
    election = Election(MemoryBus(server), "arbiter", "me")
    election.only_while(lambda: False)
    task = asyncio.create_task(election.run())
    await asyncio.sleep(0.6)
    task.cancel()
    assert not election.leading
    assert await holder(server) == ""


def test_a_leader_has_stopped_before_another_one_takes_over() -> None:
    """Whatever their clocks' rates, within 5 %."""
    assert module.LEAD_S / 0.95 < module.TAKEOVER_S / 1.05
