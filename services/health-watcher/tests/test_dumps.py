"""A dump that waits for what it has frozen itself is let go on; one that works is left alone."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import looptime
import pytest
from reprise.health_watcher.dumps import LOOK_S, Dumps


class Node:
    """Its freezer: who waits at each look, from the first on."""

    def __init__(self, *looks: set[int]) -> None:
        self._looks = list(looks)
        self.thawed: list[str] = []

    def waiting_tracers(self, container_id: str) -> frozenset[int]:
        assert container_id == "c1", "what has no container yet is not looked at"
        return frozenset(self._looks.pop(0)) if self._looks else frozenset()

    def thaw_alone(self, container_id: str) -> None:
        self.thawed.append(container_id)


@pytest.mark.parametrize(
    ("looks", "thawed"),
    [
        ([{7}, {7}], ["c1"]),
        ([{7}, set(), {7}], []),
        ([{7}, {8}], []),
        ([{7}, {7}, set(), {9}, {9}], ["c1", "c1"]),
    ],
    ids=["waits", "was attaching", "is another dump", "two dumps"],
)
def test_who_is_seen_waiting_twice_is_let_go_on(looks: list[set[int]], thawed: list[str]) -> None:
    node: Any = Node(*looks)
    containers = [
        SimpleNamespace(name="app", container_id="c1", running=True),
        SimpleNamespace(name="starting", container_id="", running=False),
    ]
    pods: Any = SimpleNamespace(pods={"u1": SimpleNamespace(name="counter-1", containers=containers)})

    async def run() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(Dumps(node, pods).run(), (len(looks) + 1) * LOOK_S)

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()
    assert node.thawed == thawed
