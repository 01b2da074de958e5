"""One value in a bucket that cannot be read is contained to its key, told once, and shown until it is put right."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel
from reprise.runtime.election import Election
from reprise.runtime.kv import Bucket, Change
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.runtime.unreadable import UnreadableRecord


class Value(BaseModel):
    number: int


class Brittle(BaseModel):
    number: int

    @classmethod
    def model_validate_json(cls, *_: object, **_more: object) -> "Brittle":
        raise KeyError("a validator of its own that met what it never expected")


names = (f"bucket-{number}" for number in range(1000))


@pytest.fixture
def name() -> Iterator[str]:
    """A process knows its buckets by name: each test has its own."""
    yield next(names)


def shown(bucket: str) -> float | None:
    return REGISTRY.get_sample_value("reprise_kv_unreadable", {"bucket": bucket})


async def next_of(watch: AsyncIterator[Change[Value]]) -> tuple[str, int | None]:
    change = await asyncio.wait_for(anext(watch), 2)
    return change.key, change.value.number if change.value else None


async def test_a_watch_goes_on_with_the_other_keys(name: str) -> None:
    server = MemoryServer()
    bucket = Bucket(MemoryBus(server), name, Value)
    await bucket.put("a", Value(number=1))
    server.poison(name, "b")
    await bucket.put("c", Value(number=3))
    watch = bucket.watch(5)
    assert [await next_of(watch), await next_of(watch)] == [("a", 1), ("c", 3)]
    server.poison(name, "a")
    await bucket.put("d", Value(number=4))
    assert await next_of(watch) == ("d", 4)
    assert bucket.unreadable == {"a", "b"}


async def test_a_listing_has_the_others(name: str) -> None:
    server = MemoryServer()
    bucket = Bucket(MemoryBus(server), name, Value)
    server.poison(name, "a")
    await bucket.put("b", Value(number=2))
    assert [entry.key for entry in await bucket.entries()] == ["b"]


async def test_reading_it_says_which_it_is_and_that_it_is_worth_another_try(name: str) -> None:
    server = MemoryServer()
    server.poison(name, "a", b'{"number": "many"}')
    with pytest.raises(UnreadableRecord, match=f"{name}/a.*number") as raised:
        await Bucket(MemoryBus(server), name, Value).get("a")
    assert raised.value.retryable


async def test_whatever_a_model_raises_is_contained(name: str) -> None:
    server = MemoryServer()
    server.poison(name, "a", b'{"number": 1}')
    with pytest.raises(UnreadableRecord):
        await Bucket(MemoryBus(server), name, Brittle).get("a")


async def test_its_revision_can_be_asked_for(name: str) -> None:
    server = MemoryServer()
    server.poison(name, "a")
    assert await Bucket(MemoryBus(server), name, Value).revision("a") == 1


async def test_each_writing_of_it_is_dead_lettered_once(name: str) -> None:
    server = MemoryServer()
    bucket = Bucket(MemoryBus(server), name, Value, instead=Value(number=0))
    server.poison(name, "node.n1", b"first")
    for _ in range(3):
        await bucket.get("node.n1")
    server.poison(name, "node.n1", b"second")
    await bucket.get("node.n1")
    root = f"reprise-dead.v1.kv-{name}.node.n1"
    assert server.dead_letters == {f"{root}.1": b"first", f"{root}.2": b"second"}


async def test_it_is_shown_until_it_is_written_anew_or_removed(name: str) -> None:
    server = MemoryServer()
    bucket = Bucket(MemoryBus(server), name, Value, instead=Value(number=0))
    assert shown(name) == 0
    for key in ("a", "b"):
        server.poison(name, key)
        await bucket.get(key)
    assert shown(name) == 2
    await bucket.put("a", Value(number=1))
    await bucket.get("a")
    await bucket.delete("b")
    await bucket.get("b")
    assert shown(name) == 0


async def test_a_listing_forgets_what_was_unreadable_and_is_gone(name: str) -> None:
    """NATS lost its data, and tells of no deletion."""
    server = MemoryServer()
    server.poison(name, "a")
    bucket = Bucket(MemoryBus(server), name, Value)
    assert await bucket.entries() == []
    assert bucket.unreadable == {"a"}
    server.buckets[name].clear()
    assert await bucket.entries() == []
    assert bucket.unreadable == set()


async def test_what_counts_instead_is_replaced_by_compare_and_set(name: str) -> None:
    server = MemoryServer()
    bucket = Bucket(MemoryBus(server), name, Value, instead=Value(number=7))
    server.poison(name, "a")
    entry = await bucket.get("a")
    assert entry
    assert entry.value.number == 7
    assert await bucket.update("a", Value(number=8), entry.revision)


async def test_an_election_is_won_over_a_value_that_nobody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reprise.runtime.election.TAKEOVER_S", 0.05)
    monkeypatch.setattr("reprise.runtime.election.LOOK_S", 0.02)
    server = MemoryServer()
    server.poison("elections", "arbiter")
    election = Election(MemoryBus(server), "arbiter", "me")
    task = asyncio.create_task(election.run())
    await asyncio.sleep(0.2)
    task.cancel()
    assert election.leading
