"""What the engine did at a start is told: to whoever waits for it in KV, and as an event of restores."""

import os
import time
from pathlib import Path

import pytest
from playing import play, runs
from reprise.contracts.events import ContainerRestored
from reprise.contracts.records import StartRecord
from reprise.health_watcher import starts as module
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus


@pytest.fixture
def node(tmp_path: Path) -> MemoryNode:
    here = MemoryNode(tmp_path)
    here.pods.add()
    return here


async def record(node: MemoryNode, container_id: str = "c1") -> StartRecord | None:
    entry = await Bucket(MemoryBus(node.server), "starts", StartRecord).get(key(container_id))
    return entry.value if entry else None


def test_a_restore_is_told_with_its_checkpoint(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1", outcome="restored", checkpoint_id="ck1")
        await runs(agent, 1)
        found = await record(node)
        assert found == StartRecord(container_id="c1", pod_uid="u1", container="counter", outcome="restored", checkpoint_id="ck1")
        (event,) = node.announced(ContainerRestored)
        assert (event.checkpoint_id, event.took_s, event.frozen, event.target.container_id) == ("ck1", 0.1, False, "c1")

    play(scene())


def test_a_blank_or_cold_start_is_told_but_is_no_restore(node: MemoryNode) -> None:
    async def scene() -> None:
        node.start("c1", outcome="cold")
        await runs(node.agent(), 1)
        found = await record(node)
        assert found and found.outcome == "cold"
        assert node.announced(ContainerRestored) == []

    play(scene())


def test_while_nats_is_away_nothing_is_lost(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.away = True
        node.start("c1", outcome="restored", checkpoint_id="ck1")
        await runs(agent, 3)
        node.away = False
        await runs(agent, 3)
        assert await record(node)

    play(scene())


def test_a_shadow_is_told_of_in_kv_at_once_and_of_its_workload_when_that_has_adopted_it(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.pods.add("u2", "shadow", protected=False)
        node.start("c2", "u2", outcome="restored", checkpoint_id="ck1", frozen=True)
        await runs(agent, 1)
        found = await record(node, "c2")
        assert found and found.frozen
        assert node.announced(ContainerRestored) == []
        node.pods.add("u2", "shadow")
        await runs(agent, 1)
        assert [e.target.pod_uid for e in node.announced(ContainerRestored)] == ["u2"]

    play(scene())


def test_what_nobody_adopts_is_forgotten(node: MemoryNode, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(module, "KNOWN_S", -1.0)
        agent = node.agent()
        node.start("c2", "nobodys", outcome="restored", checkpoint_id="ck1")
        await runs(agent, 1)
        assert not agent.starts._untold

    play(scene())


def test_a_start_that_is_written_again_at_once_is_read_again(node: MemoryNode) -> None:
    """Both may fall into one tick of the file system's clock: the folder's time does not tell them apart."""

    async def scene() -> None:
        agent = node.agent()
        node.start("c1", outcome="blank")
        folder = node.files.root / "starts"
        changed = folder.stat().st_mtime_ns
        await runs(agent, 1)
        node.start("c1", outcome="restored", checkpoint_id="ck1")
        os.utime(folder, ns=(changed, changed))
        await runs(agent, 1)
        found = await record(node)
        assert found and found.outcome == "restored"

    play(scene())


def test_what_was_refused_long_ago_and_is_not_there_any_more_leaves_no_file(node: MemoryNode) -> None:
    """A runtime never deletes what was not created, and the kubelet tries again under another name each few seconds."""

    async def scene() -> None:
        for name in ("c1", "c-refused", "c-just-refused"):
            node.start(name, outcome="refused" if name != "c1" else "blank")
        del node.containers["c-refused"], node.containers["c-just-refused"]
        for name in ("c1", "c-refused"):
            file, long_ago = node.files.root / "starts" / f"{name}.json", time.time_ns() - 2 * module.REFUSED_KEPT_NS
            os.utime(file, ns=(long_ago, long_ago))
        await runs(node.agent(), 3)
        assert {start.container_id for start in node.files.starts()} == {"c1", "c-just-refused"}

    play(scene())
