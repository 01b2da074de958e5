"""A dump that waits for what it has frozen itself is let go on, and so is what a killed engine left frozen; a dump that works is
left alone.
"""

import asyncio
import fcntl
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import looptime
import pytest
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.adapters.marks import FreezingMarks
from reprise.health_watcher.dumps import LOOK_S, Dumps
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import Frozen, Held
from reprise.health_watcher.reconciler import Reconciler


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
def test_who_is_seen_waiting_twice_is_let_go_on(looks: list[set[int]], thawed: list[str], tmp_path: Path) -> None:
    node: Any = Node(*looks)
    look(node, tmp_path, times=len(looks))
    assert node.thawed == thawed


def look(node: Any, folder: Path, times: int = 1, ledger: Ledger | None = None) -> None:
    marks, unused = FreezingMarks(folder), cast(Any, SimpleNamespace(changed=None))
    ledger = ledger or Ledger(folder / "frozen.json", folder / "released", Disk())
    reconciler = Reconciler(unused, ledger, unused, unused, node, marks, unused, unused)
    containers = [
        SimpleNamespace(name="app", container_id="c1", running=True),
        SimpleNamespace(name="starting", container_id="", running=False),
    ]
    pods: Any = SimpleNamespace(pods={"u1": SimpleNamespace(name="counter-1", containers=containers)})

    async def run() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(Dumps(node, pods, marks, reconciler).run(), (times + 1) * LOOK_S)

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """As an engine left it that was killed."""
    path = tmp_path / "freezing/c9"
    path.parent.mkdir()
    path.touch()
    return path


def test_what_a_killed_engine_left_frozen_is_thawed_though_its_pod_is_not_protected_any_more(mark: Path) -> None:
    node: Any = Node()
    look(node, mark.parents[1], times=3)
    assert node.thawed == ["c9"], "once"
    assert not mark.exists()


def test_what_an_engine_that_lives_has_frozen_is_left_alone(mark: Path) -> None:
    node: Any = Node()
    with mark.open() as engine:
        fcntl.flock(engine, fcntl.LOCK_EX)
        look(node, mark.parents[1])
        assert (node.thawed, mark.exists()) == ([], True)
    look(node, mark.parents[1])
    assert node.thawed == ["c9"], "until it is killed"


@pytest.mark.parametrize("why", ["isolated", "fenced", "held", "unreleased", "is being held"])
def test_what_is_to_stand_still_here_is_not_thawed_because_an_engine_was_killed(mark: Path, why: Any) -> None:
    node: Any = Node()
    ledger = Ledger(mark.parents[1] / "frozen.json", mark.parents[1] / "released", Disk())
    if why == "is being held":
        ledger.hold(Held("u9", "app", "c9", "ck1", 100.0))
    else:
        ledger.frozen["c9"] = Frozen(pod_uid="u9", container="app", reasons=(why,))
    look(node, mark.parents[1], ledger=ledger)
    assert node.thawed == []


def test_a_mark_that_is_replaced_while_it_is_looked_at_is_anothers(mark: Path) -> None:
    marks = FreezingMarks(mark.parents[1])
    opened = Path.open

    def replaced(path: Path, *of: Any, **how: Any) -> Any:
        found = opened(path, *of, **how)
        path.unlink()
        path.touch()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", replaced)
        assert list(marks.left()) == []


def test_nothing_is_thawed_while_the_reconciler_freezes(tmp_path: Path) -> None:
    """Thawed in between, it would be told to stand still and run."""
    node: Any = Node()
    unused: Any = SimpleNamespace(changed=None)
    ledger = Ledger(tmp_path / "frozen.json", tmp_path / "released", Disk())
    reconciler = Reconciler(unused, ledger, unused, unused, node, FreezingMarks(tmp_path), unused, unused)

    async def kill() -> None:
        node.kill = lambda _: seen.append(reconciler.thaw_dump("c1"))
        await reconciler.kill("c1", "u1")

    seen: list[bool] = []
    node.thaw = lambda _: None
    asyncio.run(kill())
    assert (seen, node.thawed) == ([False], [])
    assert reconciler.thaw_dump("c1")
