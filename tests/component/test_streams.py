"""How our streams and buckets are made, on real servers."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import nats
import pytest
from nats.errors import Error as NatsError
from nats.js.api import DiscardPolicy, StreamConfig
from pydantic import BaseModel
from reprise.contracts import subjects
from reprise.contracts.events import NodeLost, node_subject
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket
from reprise.runtime.streams import Storage

pytestmark = pytest.mark.component


class Value(BaseModel):
    number: int


async def connected(port: int, storage: Storage | None = None) -> Bus:
    bus = Bus(f"nats://127.0.0.1:{port}", "test", storage)
    async with asyncio.timeout(30):
        await bus.connect()
    return bus


async def config(bus: Bus, name: str = subjects.STREAM) -> StreamConfig:
    return (await bus.jetstream.stream_info(name)).config


async def made_before(port: int, **limits: Any) -> None:
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    await client.jetstream().add_stream(StreamConfig(name=subjects.STREAM, subjects=[f"{subjects.ROOT}.>"], **limits))
    await client.close()


async def test_events_drop_their_oldest_and_leave_the_disk_to_leases(nats_server: Any) -> None:
    bus = await connected(nats_server.port, Storage(events_max_bytes=256 << 10))
    bucket = Bucket(bus, "leases", Value)
    for number in range(100):
        detail = f"{number} " + "x" * 8000
        await bus.publish(NodeLost(node="n1", workload=node_subject("n1"), detail=detail), dedup_id=f"{number}")
        await bucket.put("node.n1", Value(number=number))
    state = (await bus.jetstream.stream_info(subjects.STREAM)).state
    assert state.bytes <= 256 << 10
    assert (state.last_seq, state.first_seq > 1) == (100, True)
    entry = await bucket.get("node.n1")
    assert entry and entry.value == Value(number=99)
    await bus.drain(1)


async def test_a_stream_of_a_version_without_a_bound_is_given_one_and_an_operators_own_stays(nats_server: Any) -> None:
    await made_before(nats_server.port)
    bus = await connected(nats_server.port)
    assert (await config(bus)).max_bytes == Storage().events_max_bytes
    assert (await config(bus)).discard == DiscardPolicy.OLD
    await bus.jetstream.delete_stream(subjects.STREAM)
    await made_before(nats_server.port, max_bytes=99 << 20)
    other = await connected(nats_server.port)
    assert (await config(other)).max_bytes == 99 << 20
    for each in (bus, other):
        await each.drain(1)


async def test_a_server_with_less_room_gives_what_it_has(nats_server: Any) -> None:
    bus = await connected(nats_server.port, Storage(events_max_bytes=1 << 50))
    assert 0 < ((await config(bus)).max_bytes or 0) < 1 << 50
    await bus.drain(1)


async def test_on_three_servers_everything_has_three_replicas_and_outlives_one_of_them(three: list[Any]) -> None:
    alone = await connected(three[1].port)
    unreplicated = Bucket(alone, "leases", Value)
    await again(lambda: unreplicated.put("node.n1", Value(number=1)))
    bus = await connected(three[1].port, Storage(replicas=3))
    leases, fences = Bucket(bus, "leases", Value), Bucket(bus, "fences", Value)
    await again(lambda: leases.put("node.n1", Value(number=2)))
    await again(lambda: fences.create("u1", Value(number=1)))
    names = (subjects.STREAM, subjects.DEAD_LETTER_STREAM, "KV_leases", "KV_fences")
    assert {name: (await again(partial(config, bus, name))).num_replicas for name in names} == dict.fromkeys(names, 3)
    await asyncio.sleep(1)
    three[0].stop()
    await again(lambda: leases.put("node.n1", Value(number=3)))
    entry = await again(lambda: leases.get("node.n1"))
    assert entry.value == Value(number=3)
    for each in (alone, bus):
        await each.drain(1)


async def again(act: Callable[[], Awaitable[Any]]) -> Any:
    """Until the replicas have agreed who leads them."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await act()
            except (NatsError, TimeoutError):
                await asyncio.sleep(0.2)
