"""Who resigns gives away only its own lead."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
