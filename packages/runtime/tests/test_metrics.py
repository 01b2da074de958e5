"""What the runtime counts: operations on buckets as their callers meet them, and readiness by condition."""

import asyncio
from typing import Literal

import pytest
from nats.errors import TimeoutError as NatsTimeout
from prometheus_client import REGISTRY
from pydantic import BaseModel
from reprise.runtime.health import Health
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from starlette.testclient import TestClient


class Value(BaseModel):
    number: int


def counted(bucket: str, operation: str, outcome: str) -> float:
    labels = {"bucket": bucket, "operation": operation, "outcome": outcome}
    return REGISTRY.get_sample_value("reprise_kv_operations_total", labels) or 0.0


async def test_who_was_slower_has_a_conflict_and_who_finds_nothing_has_no_error() -> None:
    bucket = Bucket(MemoryBus(MemoryServer()), "conflicts", Value)
    assert await bucket.get("a") is None
    revision = await bucket.create("a", Value(number=1))
    assert revision
    assert await bucket.create("a", Value(number=2)) is None
    assert await bucket.update("a", Value(number=2), revision + 7) is None
    assert not await bucket.remove("a", revision + 7)
    assert await bucket.remove("a", revision)
    found = {
        op: (counted("conflicts", op, "ok"), counted("conflicts", op, "conflict")) for op in ("get", "create", "update", "delete")
    }
    assert found == {"get": (1, 0), "create": (1, 1), "update": (0, 1), "delete": (1, 1)}
    assert counted("conflicts", "get", "error") == 0


async def test_a_server_that_does_not_answer_is_an_error_also_where_the_caller_gave_up() -> None:
    async def away(when: Literal["before", "after"], what: str) -> None:
        if what.startswith("put"):
            raise NatsTimeout
        await asyncio.sleep(60)

    bucket = Bucket(MemoryBus(MemoryServer(), away), "silent", Value)
    with pytest.raises(NatsTimeout):
        await bucket.put("a", Value(number=1))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await bucket.get("a")
    assert (counted("silent", "put", "error"), counted("silent", "get", "error")) == (1, 1)


def test_readiness_is_told_by_condition_when_it_is_asked_for() -> None:
    health, up = Health(), [False]
    health.ready_when("store", lambda: up[0])
    client = TestClient(health.app())
    assert 'reprise_ready{condition="store"} 0.0' in client.get("/metrics").text
    up[0] = True
    assert 'reprise_ready{condition="store"} 1.0' in client.get("/metrics").text
