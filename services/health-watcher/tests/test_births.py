"""A blank instance is held at birth: never a first one, never for longer than the budget, never by an agent that is gone."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import looptime
import pytest
from reprise.contracts.events import CheckpointStored, FailoverAbandoned, FailoverStarted
from reprise.contracts.model import CriuStats, Target, Workload, failover_id
from reprise.health_watcher import births
from reprise.health_watcher.decide import on_birth
from reprise.health_watcher.model import Birth
from reprise.health_watcher.origins import Origins
from reprise.runtime.cri import CriError, RunningContainer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
DEAD = RunningContainer("c1", "s", "default", "counter-1", "u1", "counter", "counter:1", "", 0, "exited", 0)
BLANK = replace(DEAD, id="c2", attempt=1, state="running")
RESTORED = replace(BLANK, id="c3")  # CRI-O shows its base image
STORED = CheckpointStored(
    node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger="interval", manifest_key="", size=1, sha256="",
    transfer_s=0, kubelet_s=0, stats=CriuStats(),
)  # fmt: skip
STARTED = FailoverStarted(
    node="n1", workload=WORKLOAD, failover_id=failover_id(TARGET), target=TARGET, cause="crash", path="in-place-patch",
    checkpoint_id="ck1", standby="n1", why="",
)  # fmt: skip
ABANDONED = FailoverAbandoned(
    node="n1", workload=WORKLOAD, failover_id=failover_id(TARGET), target=TARGET, cause="crash", reason="NoCheckpoint",
    message="", remedy="", at=datetime.now(UTC),
)  # fmt: skip
BUDGET_S = 5.0


class Node:
    """Its freezer and its runtime."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.frozen, self.ended = folder, set[str](), list[str]()
        self.isolated = set[str]()
        self.fails = self.dumb = False

    def births(self, budget_s: float = BUDGET_S) -> births.Births:
        here: Any = self
        return births.Births(Origins(here), here, self.folder, budget_s, self.isolated.__contains__)

    def freeze_alone(self, container_id: str) -> bool:
        if self.fails:
            raise OSError("busy")
        self.frozen.add(container_id)
        return True

    def thaw_alone(self, container_id: str) -> None:
        self.frozen.discard(container_id)

    async def is_restored(self, container_id: str) -> bool:
        if self.dumb:
            raise CriError("it does not answer", subject=container_id)
        return container_id == "c3"

    def kill(self, container_id: str) -> None:
        self.frozen.discard(container_id)
        self.ended.append(container_id)


Play = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    async def inline(act: Any, *args: Any) -> Any:
        return act(*args)

    monkeypatch.setattr(asyncio, "to_thread", inline)
    monkeypatch.setattr(births, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
    return Node(tmp_path)


def play(scene: Coroutine[Any, Any, None]) -> None:
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(scene)
    finally:
        loop.close()


async def crashed(held: births.Births) -> None:
    await held.listed([replace(DEAD, state="running")])
    await held.on_event(STORED)
    held.died(TARGET)


def test_it_is_held_until_its_restore_begins_and_then_ended_and_its_end_is_no_crash(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await crashed(held)
        await held.listed([DEAD, BLANK])
        assert node.frozen == {"c2"}
        await held.on_event(STARTED)
        assert (node.ended, node.frozen) == (["c2"], set())
        assert "c2" in held.superseded
        await held.listed([DEAD, replace(BLANK, state="exited"), RESTORED])
        assert (node.ended, node.frozen) == (["c2"], set())

    play(scene())


def test_one_that_the_kubelet_starts_although_its_pod_has_its_checkpoint_already_is_ended(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await crashed(held)
        await held.on_event(STARTED)
        await held.listed([DEAD, BLANK])
        assert node.ended == ["c2"]

    play(scene())


def test_a_blank_that_the_kubelet_starts_while_its_pod_is_armed_is_ended_and_its_end_is_no_crash(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await held.listed([replace(DEAD, state="running")])
        await held.on_event(STARTED)  # nobody has died: it is ended for its restore in place
        await held.listed([replace(DEAD, state="running")])
        assert node.ended == []
        await held.listed([BLANK])
        assert node.ended == ["c2"]
        assert "c2" in held.superseded
        await held.listed([RESTORED])
        assert node.ended == ["c2"]

    play(scene())


def test_a_restored_instance_is_never_taken_for_a_blank_one_nor_one_of_which_that_is_not_known(node: Node) -> None:
    async def scene() -> None:
        for case in ("restored", "not known"):
            held, node.dumb = node.births(), case == "not known"
            await crashed(held)
            await held.on_event(STARTED)
            await held.listed([DEAD, BLANK if node.dumb else RESTORED])
            assert (node.ended, node.frozen) == ([], set())

    play(scene())


def test_it_is_let_run_when_the_budget_is_over_whoever_is_away(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        task = asyncio.create_task(held.run())
        await crashed(held)
        await held.listed([DEAD, BLANK])
        await asyncio.sleep(BUDGET_S - 0.2)
        assert node.frozen == {"c2"}
        await asyncio.sleep(0.4)
        assert node.frozen == set()
        assert "c2" not in held.superseded, "its next end is a crash"
        again = replace(BLANK, id="c4", attempt=2)
        await held.listed([DEAD, again])
        assert node.frozen == set(), "one death, one budget"
        task.cancel()

    play(scene())


def test_it_is_let_run_at_once_when_its_failover_is_given_up(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await crashed(held)
        await held.listed([DEAD, BLANK])
        await held.on_event(ABANDONED)
        assert node.frozen == set()

    play(scene())


def test_what_an_agent_held_that_is_gone_is_let_run_by_the_next(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await crashed(held)
        await held.listed([DEAD, BLANK])
        task = asyncio.create_task(node.births().run())
        await asyncio.sleep(0.2)
        assert node.frozen == set()
        task.cancel()

    play(scene())


def test_what_its_nodes_isolation_froze_is_not_thawed_by_this(node: Node) -> None:
    async def scene() -> None:
        held = node.births()
        await crashed(held)
        await held.listed([DEAD, BLANK])
        node.isolated.add("c2")
        await held.on_event(ABANDONED)
        assert node.frozen == {"c2"}

    play(scene())


@pytest.mark.parametrize("case", ["first", "no checkpoint", "nobody died", "off", "another pod"])
def test_nothing_else_is_ever_held(node: Node, case: str) -> None:
    async def scene() -> None:
        held = node.births(0.0 if case == "off" else BUDGET_S)
        await held.listed([replace(DEAD, state="running")])
        if case != "no checkpoint":
            await held.on_event(STORED)
        if case != "nobody died":
            held.died(TARGET)
        born = {"first": replace(BLANK, attempt=0), "another pod": replace(BLANK, pod_uid="u2")}.get(case, BLANK)
        await held.listed([DEAD, born])
        assert (node.frozen, node.ended) == (set(), [])

    play(scene())


def test_one_that_cannot_be_frozen_runs(node: Node) -> None:
    async def scene() -> None:
        held, node.fails = node.births(), True
        await crashed(held)
        await held.listed([DEAD, BLANK])
        assert (node.frozen, node.ended) == (set(), [])
        assert "c2" not in held.superseded

    play(scene())


@pytest.mark.parametrize(
    ("birth", "act"),
    [
        (Birth(restored=False, first=False, has_checkpoint=True, placed=False, in_budget=True), "hold"),
        (Birth(restored=True, first=False, has_checkpoint=True, placed=False, in_budget=True), "run"),
        (Birth(restored=False, first=True, has_checkpoint=True, placed=True, in_budget=True), "run"),
        (Birth(restored=False, first=False, has_checkpoint=False, placed=False, in_budget=True), "run"),
        (Birth(restored=False, first=False, has_checkpoint=True, placed=False, in_budget=False), "run"),
        (Birth(restored=False, first=False, has_checkpoint=False, placed=True, in_budget=True), "end"),
    ],
)
def test_the_rule(birth: Birth, act: str) -> None:
    assert on_birth(birth).act == act
