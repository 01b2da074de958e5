"""What the runtime tells, in one order, however it tells it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playing import play
from reprise.health_watcher import containers as module
from reprise.health_watcher.containers import Containers
from reprise.health_watcher.model import Exit
from reprise.health_watcher.ports import ContainerEvent, Ended, Look
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.cri import ContainerEvent as RuntimeEvent


class Listener:
    def __init__(self, name: str, told: list[str], *, fails: bool = False) -> None:
        self._name, self._told, self._fails = name, told, fails

    async def on_container(self, event: ContainerEvent) -> None:
        what = f"{len(event.containers)} born {sorted(event.born)}" if isinstance(event, Look) else f"ended {event.container.id}"
        self._told.append(f"{self._name}: {what}")
        if self._fails:
            raise RuntimeError("a bug")


def test_each_listener_is_told_in_the_order_in_which_they_are_named_whatever_another_does(tmp_path: Path) -> None:
    told: list[str] = []

    async def scene() -> None:
        node = MemoryNode(tmp_path)
        node.start()
        here: Any = node
        containers = Containers(here, here, (Listener("first", told, fails=True), Listener("second", told)))
        await containers.look()
        node.end()
        await containers.look()
        await containers.look()

    play(scene())
    assert told[:2] == ["first: 1 born ['c1']", "second: 1 born ['c1']"]
    assert told[4:6] == ["first: ended c1", "second: ended c1"]
    assert [line for line in told if "ended" in line] == told[4:6], "an end is told once"


def test_an_exit_file_tells_before_the_runtime_does_and_is_not_told_twice(tmp_path: Path) -> None:
    told: list[str] = []

    async def scene() -> None:
        node = MemoryNode(tmp_path)
        node.start()
        here: Any = node
        containers = Containers(here, here, (Listener("l", told),))
        await containers.look()
        tasks = [asyncio.ensure_future(containers.watch()), asyncio.ensure_future(containers.run())]
        node.exits.put_nowait(Exit("of a sandbox", 0))
        node.exits.put_nowait(Exit("c1", time.time_ns()))
        await asyncio.sleep(0.01)
        node.end()
        await containers.look()
        for task in tasks:
            task.cancel()

    play(scene())
    assert [line for line in told if "ended" in line] == ["l: ended c1"]


def test_of_two_dead_containers_of_a_name_the_older_is_superseded_and_one_from_before_us_has_no_known_life(
    tmp_path: Path,
) -> None:
    ended: list[Ended] = []

    class Keeps:
        async def on_container(self, event: ContainerEvent) -> None:
            if isinstance(event, Ended):
                ended.append(event)

    async def scene() -> None:
        node = MemoryNode(tmp_path)
        for name in ("c1", "c2"):
            node.start(name)
            node.end(name)
        here: Any = node
        await Containers(here, here, (Keeps(),)).look()

    play(scene())
    assert [(e.container.id, e.superseded, e.lived_s, e.witnessed) for e in ended] == [
        ("c1", True, None, False), ("c2", False, None, False)
    ]  # fmt: skip


def test_the_event_stream_asks_for_a_look_at_each_start_and_the_listing_goes_slower_meanwhile(tmp_path: Path) -> None:
    told: list[str] = []

    async def scene() -> None:
        node = MemoryNode(tmp_path)
        here: Any = node
        stream: asyncio.Queue[RuntimeEvent] = asyncio.Queue()

        async def events() -> AsyncIterator[RuntimeEvent]:
            while True:
                yield await stream.get()

        here.events = events
        containers = Containers(here, here, (Listener("l", told),))
        tasks = [asyncio.ensure_future(part()) for part in (containers.follow, containers.run)]
        node.start()
        stream.put_nowait(RuntimeEvent("c1", "started"))
        await asyncio.sleep(0.01)
        node.end()
        stream.put_nowait(RuntimeEvent("c1", "stopped", time.time_ns()))
        await asyncio.sleep(0.01)
        assert containers._streaming
        for task in tasks:
            task.cancel()

    play(scene())
    assert told == ["l: 1 born ['c1']", "l: ended c1"]
    assert module.FALLBACK_S < module.RELIST_S
