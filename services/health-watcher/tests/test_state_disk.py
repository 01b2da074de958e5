"""A state disk that is full, read-only or hangs keeps no node from freezing, nor from renewing its lease."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playing import inline_threads, play, runs
from reprise.contracts.events import NodeUnguarded
from reprise.health_watcher.adapters import files
from reprise.health_watcher.decide import FREEZE_AFTER_S, needed_s
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus

FREEZES_S = 0.02


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    inline_threads(monkeypatch, lambda: FREEZES_S)
    here = MemoryNode(tmp_path)
    here.pods.add()
    here.start()
    here.slot("ck1")
    return here


class Faulty:
    """What is below a folder fails, or hangs, once fails() or hangs() was called: whoever reads or writes there."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._folder, self._number, self._answers = str(folder), 0, threading.Event()
        self._answers.set()
        self.touched = 0
        for owner, name in (
            (Path, "write_text"),
            (Path, "read_text"),
            (Path, "readlink"),
            (Path, "glob"),
            (Path, "touch"),
            (os, "open"),
        ):
            patch.setattr(owner, name, self._wrapped(getattr(owner, name), reads=name in ("read_text", "readlink", "glob")))

    def fails(self, number: int) -> None:
        self._number = number

    def hangs(self) -> None:
        self._answers.clear()

    def answers(self) -> None:
        self._answers.set()

    def _wrapped(self, act: Callable[..., Any], *, reads: bool) -> Callable[..., Any]:
        def acts(path: Any, *of: Any, **how: Any) -> Any:
            if str(path).startswith(self._folder):
                self.touched += 1
                self._answers.wait(60)
                if self._number and not reads and not (of and isinstance(of[0], int) and not of[0] & os.O_WRONLY):
                    raise OSError(self._number, os.strerror(self._number), str(path))
            return act(path, *of, **how)

        return acts


@pytest.fixture
def disk(node: MemoryNode, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """The node's state disk."""
    node.disk_wait_s = 0.5
    found = Faulty(monkeypatch, node.folder / "state")
    yield found
    found.answers()


async def lease(node: MemoryNode) -> NodeLease:
    entry = await Bucket(MemoryBus(node.server), "leases", NodeLease).get("node.n1")
    assert entry
    return entry.value


def is_killed(*_: Any) -> None:
    raise RuntimeError("its reconciler ends here")


async def froze_after_s(node: MemoryNode, agent: Any) -> float:
    """From now on."""
    began_s = asyncio.get_running_loop().time()
    running = asyncio.ensure_future(runs(agent, 20))
    while not node.stands() and not running.done():
        await asyncio.sleep(0.02)
    took_s = asyncio.get_running_loop().time() - began_s
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return took_s


@pytest.mark.parametrize("how", [errno.ENOSPC, errno.EROFS, "hangs"])
def test_a_node_that_is_cut_off_freezes_in_time_whatever_its_state_disk_does(node: MemoryNode, disk: Faulty, how: Any) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        assert (await lease(node)).can_freeze
        disk.hangs() if how == "hangs" else disk.fails(how)
        node.end("c1", code=1)
        node.start("c2", attempt=1)
        await runs(agent, 3)
        assert (await lease(node)).can_freeze, "what fencing needs is not on that disk"
        node.cut = True
        began_s = asyncio.get_running_loop().time()
        running = asyncio.ensure_future(runs(agent, 20))
        while not node.stands("c2") and not running.done():
            await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - began_s <= FREEZE_AFTER_S + needed_s(FREEZES_S)
        await running

    play(scene())
    assert disk.touched, "nobody asked the disk anything: this proves nothing"


def test_a_hanging_disk_holds_the_agent_up_once_and_what_was_known_is_told(node: MemoryNode, disk: Faulty) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 1)
        known = agent.slots.kept("default/u1", "counter")
        assert known == ("ck1",)
        disk.hangs()
        assert agent.slots.kept("default/u1", "counter") == known
        assert agent.disk.hangs()
        assert agent.slots.kept("default/u2", "counter") == ()
        agent.cold.announce(("u1", "counter"), "c1", "because")
        disk.answers()

    play(scene())


def test_what_the_disk_did_not_take_is_written_once_it_does(node: MemoryNode, disk: Faulty) -> None:
    async def scene() -> None:
        agent = node.agent()
        disk.fails(errno.ENOSPC)
        agent.ledger.release("u1")
        agent.cold.announce(("u1", "counter"), "c1", "because")
        assert node.agent().ledger.released == {"u1"}, "tmpfs has it until the node reboots"
        disk.fails(0)
        agent.disk.try_again()
        assert (node.folder / "state/released/u1").exists()
        assert node.agent().cold.next(("u1", "counter"), "") == "because"

    play(scene())


def test_a_node_whose_tmpfs_takes_nothing_says_at_once_that_it_cannot_be_given_up(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent that starts anew would not know that it held a lease, and would not freeze."""
    run = Faulty(monkeypatch, node.folder / "run/agent")

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        assert (await lease(node)).can_freeze
        before = (await lease(node)).renewals
        run.fails(errno.ENOSPC)
        await runs(agent, 1.5)
        assert not (await lease(node)).can_freeze
        assert (await lease(node)).renewals <= before + 3
        assert "No space left on device" in node.announced(NodeUnguarded)[-1].detail
        assert not agent.lease.lapsed(), "it renews all the same"
        node.cut = True
        assert await froze_after_s(node, agent) <= FREEZE_AFTER_S + needed_s(FREEZES_S)
        node.cut = False
        run.fails(0)
        await runs(agent, 4)
        assert (await lease(node)).can_freeze
        assert not node.stands()

    play(scene())


def test_what_an_agent_froze_and_was_killed_before_it_wrote_that_down_is_asked_about_and_runs_on(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        with pytest.MonkeyPatch.context() as killed:
            killed.setattr(agent.ledger, "freeze", is_killed)
            node.cut = True
            await runs(agent, 6)
        assert node.stands()
        node.cut = False
        node.told.clear()
        await runs(node.agent(), 5)
        assert not node.stands()
        assert node.told[-1] == "thaw c1: restore"

    play(scene())


def test_what_is_frozen_for_a_checkpoint_is_left_to_its_engine_by_an_agent_that_starts(node: MemoryNode) -> None:
    async def scene() -> None:
        node.frozen.add("c1")
        mark = node.folder / "run/freezing/c1"
        mark.parent.mkdir(parents=True)
        mark.touch()
        await runs(node.agent(), 3)
        assert not [line for line in node.told if line.startswith("thaw")]

    play(scene())


def test_the_records_of_an_agent_from_before_are_brought_to_tmpfs(node: MemoryNode) -> None:
    state, run = node.folder / "state", node.folder / "run/agent"
    files.write_whole(state / "renewed.json", '{"boot_id": "b", "at_s": 990.0}')
    files.write_whole(
        state / "frozen.json", '{"frozen": {"c1": {"pod_uid": "u1", "container": "counter", "reasons": ["fenced"]}}}'
    )

    async def scene() -> None:
        assert node.agent().ledger.reasons("c1") == {"fenced"}

    play(scene())
    assert not list(state.glob("*.json"))
    assert {path.name for path in run.iterdir()} == {"renewed.json", "frozen.json"}
