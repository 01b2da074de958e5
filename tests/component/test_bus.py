"""The bus, the buckets and the election, on a real NATS."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from pydantic import BaseModel
from reprise.contracts import envelope, subjects
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import NodeLost, node_subject
from reprise.runtime import bus as bus_module
from reprise.runtime import unreadable
from reprise.runtime.bus import Bus
from reprise.runtime.election import Election
from reprise.runtime.kv import Bucket

pytestmark = pytest.mark.component


class Value(BaseModel):
    number: int


def event(detail: str) -> NodeLost:
    return NodeLost(node="n1", workload=node_subject("n1"), detail=detail)


class Running:
    """A connected bus with one consumer that keeps what it was given; `fails` is raised that often first."""

    def __init__(self, port: int, **options: Any) -> None:
        self.bus = Bus(f"nats://127.0.0.1:{port}", "test")
        self.seen: list[str] = []
        self.fails: list[Exception] = []
        self.takes_s = 0.0
        self.bus.subscribe("test", NodeLost, self._handle, **options)

    async def _handle(self, received: NodeLost) -> None:
        await asyncio.sleep(self.takes_s)
        if self.fails:
            raise self.fails.pop()
        self.seen.append(received.detail)

    async def saw(self, count: int, seconds: float = 15) -> list[str]:
        async with asyncio.timeout(seconds):
            while len(self.seen) < count:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        return self.seen


@contextlib.asynccontextmanager
async def running(port: int, **options: Any) -> AsyncIterator[Running]:
    found = Running(port, **options)

    async def serve() -> None:
        await found.bus.connect()
        await found.bus.run()

    task = asyncio.create_task(serve())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await found.bus.drain(2)


async def connected(found: Running) -> None:
    async with asyncio.timeout(10):
        while not found.bus.connected:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


async def published(found: Running, detail: str) -> None:
    """The stream is made anew when a consumer notices that it is gone."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(Exception):
                await found.bus.publish(event(detail), dedup_id=detail, timeout_s=1)
                return
            await asyncio.sleep(0.5)


async def dead_letters(found: Running) -> list[Any]:
    subscription = await found.bus.jetstream.subscribe(f"{subjects.DEAD_LETTER_ROOT}.>", ordered_consumer=True)
    messages = []
    with contextlib.suppress(TimeoutError):
        while True:
            messages.append(await subscription.next_msg(timeout=1))
    return messages


async def test_an_event_is_handled_once_and_a_repeated_one_is_stored_once(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        await found.bus.publish(event("a"), dedup_id="same")
        await found.bus.publish(event("a"), dedup_id="same")
        assert await found.saw(1) == ["a"]


class Onlooker:
    """A bus that only observes."""

    def __init__(self, port: int) -> None:
        self.bus = Bus(f"nats://127.0.0.1:{port}", "onlooker")
        self.seen: list[str] = []
        self.bus.observe("onlooker", (NodeLost,), lambda found: self.seen.append(getattr(found, "detail", "")))

    async def saw(self, last: str, seconds: float = 20) -> list[str]:
        async with asyncio.timeout(seconds):
            while self.seen[-1:] != [last]:
                await asyncio.sleep(0.02)
        return self.seen


@contextlib.asynccontextmanager
async def onlooking(port: int) -> AsyncIterator[Onlooker]:
    found = Onlooker(port)
    await found.bus.connect()
    task = asyncio.create_task(found.bus.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await found.bus.drain(2)


async def test_every_onlooker_sees_the_newest_and_all_that_follows_and_takes_nothing_away(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        for detail in ("old", "older than the newest", "newest"):
            await found.bus.publish(event(detail))
        async with onlooking(nats_server.port) as one, onlooking(nats_server.port) as other:
            await one.saw("newest")
            await other.saw("newest")
            await found.bus.publish(event("next"))
            assert await one.saw("next") == await other.saw("next") == ["newest", "next"]
        assert (await found.saw(4))[-1] == "next"


async def test_an_onlooker_outlives_a_nats_that_lost_its_data(nats_server: Any) -> None:
    async with onlooking(nats_server.port) as one, running(nats_server.port) as found:
        await connected(found)
        await found.bus.publish(event("before"))
        await one.saw("before")
        nats_server.stop()
        nats_server.wipe()
        nats_server.start()
        await connected(found)
        await published(found, "after")
        await one.saw("after", seconds=40)


async def test_how_far_a_consumer_is_behind_is_told(nats_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "COUNT_EVERY_S", 0.1)

    def pending() -> float:
        return (REGISTRY.get_sample_value("reprise_events_pending", {"consumer": "test"}) or 0) + (
            REGISTRY.get_sample_value("reprise_events_unsettled", {"consumer": "test"}) or 0
        )

    async with running(nats_server.port) as found:
        await connected(found)
        found.takes_s = 0.5
        for number in range(12):
            await found.bus.publish(event(str(number)))
        async with asyncio.timeout(5):
            while pending() < 6:
                await asyncio.sleep(0.02)
        await found.saw(12)
        async with asyncio.timeout(5):
            while pending():
                await asyncio.sleep(0.02)


async def test_a_handler_that_fails_gets_its_event_again(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        found.fails = [RuntimeError("once"), RepriseError("twice", retryable=True)]
        await found.bus.publish(event("a"))
        assert await found.saw(1) == ["a"]


async def test_a_long_handler_keeps_its_message(nats_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "ACK_WAIT_S", 1.0)
    monkeypatch.setattr(bus_module, "HEARTBEAT_S", 0.3)
    async with running(nats_server.port) as found:
        await connected(found)
        found.takes_s = 3.0
        await found.bus.publish(event("a"))
        assert await found.saw(1) == ["a"]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"not json", "MalformedEvent"),
        (b'{"specversion": "1.0"}', "MalformedEvent"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"dev.reprise.v2.node.lost","time":"2026-01-01T00:00:00Z","data":{}}',
         "UnknownEventVersion"),
        (b'{"specversion":"1.0","id":"1","source":"s","type":"dev.reprise.v1.node.lost","time":"2026-01-01T00:00:00Z","data":{}}',
         "MalformedEvent"),
    ],
)  # fmt: skip
async def test_what_cannot_be_understood_is_dead_lettered_and_the_service_lives(
    nats_server: Any, payload: bytes, reason: str
) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        await found.bus.jetstream.publish(subjects.of(event("x")), payload)
        await found.bus.publish(event("after"))
        assert await found.saw(1) == ["after"]
        buried = await dead_letters(found)
        assert [message.headers["Reprise-Reason"] for message in buried] == [reason]


async def test_an_event_on_a_subject_that_is_not_its_own_is_dead_lettered(nats_server: Any) -> None:
    """Permissions are by subject: what is allowed to one node must not speak of another."""
    async with running(nats_server.port) as found:
        await connected(found)
        elsewhere = subjects.of(event("x").model_copy(update={"node": "n9"}))
        await found.bus.jetstream.publish(elsewhere, envelope.encode(event("forged"), source="test")[1])
        await found.bus.publish(event("after"))
        assert await found.saw(1) == ["after"]
        assert [message.headers["Reprise-Reason"] for message in await dead_letters(found)] == ["WrongSubject"]


async def test_an_error_that_no_retry_helps_is_dead_lettered_with_its_reason(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        found.fails = [RepriseError("never", reason="Hopeless", remedy="do that")]
        await found.bus.publish(event("a"))
        await found.bus.publish(event("b"))
        assert await found.saw(1) == ["b"]
        buried = await dead_letters(found)
        assert buried[0].headers["Reprise-Reason"] == "Hopeless"
        assert "do that" in buried[0].headers["Reprise-Detail"]


async def test_what_is_never_given_up_comes_again_however_often_it_failed(
    nats_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API server that is away for a minute fails a handler more often than MAX_ATTEMPTS."""
    monkeypatch.setattr(bus_module, "_DELAYS_S", (0.01,))
    failures = bus_module.MAX_ATTEMPTS + 2
    for max_attempts, seen in ((math.inf, ["a", "b"]), (bus_module.MAX_ATTEMPTS, ["b"])):
        nats_server.stop()
        nats_server.wipe()
        nats_server.start()
        async with running(nats_server.port, max_attempts=max_attempts) as found:
            await connected(found)
            found.fails = [RepriseError("away", retryable=True) for _ in range(failures)]
            await found.bus.publish(event("a"))
            async with asyncio.timeout(10):
                while len(found.fails) > failures - bus_module.MAX_ATTEMPTS:
                    await asyncio.sleep(0.01)
            if "a" not in seen:
                found.fails = []
            await found.bus.publish(event("b"))
            assert sorted(await found.saw(len(seen))) == seen


async def test_nats_may_be_absent_at_start_and_lost_later(nats_server: Any) -> None:
    nats_server.stop()
    async with running(nats_server.port) as found:
        await asyncio.sleep(1)
        assert not found.bus.connected
        nats_server.start()
        await connected(found)
        await found.bus.publish(event("a"))
        assert await found.saw(1) == ["a"]
        nats_server.stop()
        await asyncio.sleep(1)
        nats_server.start()
        await connected(found)
        await found.bus.publish(event("b"))
        assert await found.saw(2) == ["a", "b"]


async def test_nats_may_come_back_without_its_data(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        await found.bus.publish(event("a"))
        await found.saw(1)
        nats_server.stop()
        nats_server.wipe()
        nats_server.start()
        await connected(found)
        await published(found, "b")
        assert "b" in await found.saw(2, seconds=60)


async def test_a_bucket_compares_and_sets(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        bucket = Bucket(found.bus, "test", Value)
        first = await bucket.create("k", Value(number=1))
        assert first
        assert await bucket.create("k", Value(number=2)) is None
        assert await bucket.update("k", Value(number=2), first)
        assert await bucket.update("k", Value(number=3), first) is None
        entry = await bucket.get("k")
        assert entry is not None
        assert entry.value.number == 2


async def test_one_value_that_cannot_be_read_keeps_no_watch_from_the_others_and_is_dead_lettered_once(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        bucket = Bucket(found.bus, "poisoned", Value)
        await bucket.put("a", Value(number=1))
        await (await found.bus.jetstream.key_value("poisoned")).put("node.b", b"poison")
        await bucket.put("c", Value(number=3))
        for _ in range(2):  # two processes: what one of them was told is unknown to the other
            watch = bucket.watch(5)
            async with asyncio.timeout(5):
                assert [(await anext(watch)).key, (await anext(watch)).key] == ["a", "c"]
            await watch.aclose()  # type: ignore[attr-defined]
            unreadable._told["poisoned"].clear()
        buried = await dead_letters(found)
        assert [message.subject for message in buried] == ["reprise-dead.v1.kv-poisoned.node.b.2"]
        assert [message.data for message in buried] == [b"poison"]
        assert buried[0].headers["Reprise-Reason"] == "UnreadableRecord"


async def test_a_watch_outlives_the_loss_of_the_buckets_data(nats_server: Any) -> None:
    """A watch that fell silent unnoticed would make the arbiter see every node as silent."""
    async with running(nats_server.port) as found:
        await connected(found)
        bucket = Bucket(found.bus, "test", Value)
        numbers: list[int] = []

        async def follow() -> None:
            async for change in bucket.watch(1.0):
                if change.value:
                    numbers.append(change.value.number)

        task = asyncio.create_task(follow())
        await bucket.put("k", Value(number=1))
        await asyncio.sleep(0.5)
        nats_server.stop()
        nats_server.wipe()
        nats_server.start()
        await connected(found)
        async with asyncio.timeout(30):
            while 2 not in numbers:
                with contextlib.suppress(Exception):
                    await bucket.put("k", Value(number=2))
                await asyncio.sleep(0.5)
        task.cancel()


async def test_one_candidate_leads_and_another_takes_over(nats_server: Any) -> None:
    async with running(nats_server.port) as found:
        await connected(found)
        one, other = (Election(found.bus, "test", name) for name in ("one", "other"))
        first = asyncio.create_task(one.run())
        await asyncio.sleep(0.5)
        second = asyncio.create_task(other.run())
        await asyncio.sleep(2)
        assert (one.leading, other.leading) == (True, False)
        first.cancel()
        loop = asyncio.get_running_loop()
        end = loop.time() + 8
        while not other.leading and loop.time() < end:
            assert not (one.leading and other.leading)
            await asyncio.sleep(0.02)
        assert other.leading
        assert not one.leading
        second.cancel()
