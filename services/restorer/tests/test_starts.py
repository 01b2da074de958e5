"""The order in which the engines started a pod's containers, as their nodes' agents told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from reprise.contracts.records import StartRecord
from reprise.restorer.starts import Starts
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer


def record(container_id: str) -> StartRecord:
    return StartRecord(container_id=container_id, pod_uid="u1", container="app", outcome="restored", checkpoint_id=container_id)


@contextlib.asynccontextmanager
async def following(starts: Starts) -> AsyncIterator[None]:
    task = asyncio.create_task(starts.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until_known(starts: Starts, container_id: str) -> None:
    async with asyncio.timeout(5):
        while not starts.knows(container_id):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("loses_its_data", [False, True])
async def test_what_was_started_after_a_container_is_found_though_nats_lost_its_data_meanwhile(loses_its_data: bool) -> None:
    server = MemoryServer()
    starts, bucket = Starts(MemoryBus(server)), Bucket(MemoryBus(server), "starts", StartRecord)
    for name in ("of another time", "dead"):
        await bucket.put(name.replace(" ", "-"), record(name))
    async with following(starts):
        await until_known(starts, "dead")
        assert starts.after("u1", "app", "dead") is None
    if loses_its_data:
        starts.bucket = bucket = Bucket(MemoryBus(MemoryServer()), "starts", StartRecord)
    await bucket.put("next", record("next"))
    async with following(starts):
        await until_known(starts, "next")
    found = starts.after("u1", "app", "dead")
    assert found and found.container_id == "next"
    assert starts.after("u1", "app", "next") is None
