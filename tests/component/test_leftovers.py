"""Records of pods that are gone, on a real NATS: removed, unless they are written meanwhile. And how starts are followed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from reprise.contracts.model import Workload
from reprise.contracts.records import Fence, StartRecord
from reprise.restorer import leftovers
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.model import PodNames, Standby
from reprise.restorer.starts import Starts
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")


@pytest.fixture
async def bus(nats_server: Any) -> AsyncIterator[Bus]:
    found = Bus(f"nats://127.0.0.1:{nats_server.port}", "test")
    await found.connect()
    yield found
    await found.drain(2)


class Pods:
    """ports.Pods."""

    def __init__(self, *uids: str) -> None:
        self.uids = uids

    async def everyone(self) -> tuple[PodNames, ...]:
        return tuple(PodNames(WORKLOAD, uid) for uid in self.uids)


def start(container_id: str, pod_uid: str) -> StartRecord:
    return StartRecord(container_id=container_id, pod_uid=pod_uid, container="counter", outcome="restored", frozen=True)


async def test_fences_and_starts_of_pods_that_are_gone_are_removed_and_no_others(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "LEFT_OVER_S", 0.0)
    fences, starts = Bucket(bus, "fences", Fence), Bucket(bus, "starts", StartRecord)
    for uid in ("u1", "u2"):
        await fences.put(uid, Fence(pod_uid=uid, holder="restorer"))
        await starts.put(f"c-{uid}", start(f"c-{uid}", uid))
    cleaner = LeftOvers(bus, Pods("u2"), lambda: True)
    async with asyncio.timeout(10):
        while {entry.key for entry in (*await fences.entries(), *await starts.entries())} != {"u2", "c-u2"}:
            await cleaner.look()  # each look removes only what it sees, and a listing may be a moment old


async def test_a_record_that_changed_since_it_was_read_is_not_removed(bus: Bus) -> None:
    bucket = Bucket(bus, "standby", Standby)
    first = await bucket.put("a.b.c.d", Standby(node="n1"))
    await bucket.put("a.b.c.d", Standby(node="n2"))
    assert not await bucket.remove("a.b.c.d", first)
    entry = await bucket.get("a.b.c.d")
    assert entry
    assert [found.value.node for found in await bucket.entries()] == ["n2"]
    assert await bucket.remove("a.b.c.d", entry.revision)
    assert await bucket.entries() == []


async def test_a_start_is_known_as_soon_as_it_is_written_and_those_of_before_too(bus: Bus) -> None:
    bucket, starts = Bucket(bus, "starts", StartRecord), Starts(bus)
    await bucket.put("c-old", start("c-old", "u7"))
    following = asyncio.create_task(starts.run())
    try:
        async with asyncio.timeout(5):
            while not starts.knows("c-old"):
                await asyncio.sleep(0.01)
        await bucket.put("c-new", start("c-new", "u7"))
        async with asyncio.timeout(1):
            while (found := starts.after("u7", "counter", "c-old")) is None:
                await asyncio.sleep(0.01)
        assert found.container_id == "c-new"
        assert starts.after("u7", "counter", "c-new") is None
        assert await Starts(bus).ask("c-new") == found, "without the watch"
    finally:
        following.cancel()
