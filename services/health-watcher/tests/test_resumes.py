"""The next pod of a name does not start blank before its node knows whether a failover restores it; nor does it wait for ever."""

from pathlib import Path
from typing import Any

import pytest
from playing import play, runs
from reprise.contracts.annotations import RESTORE_FROM
from reprise.contracts.model import Workload
from reprise.contracts.records import ResumeRecord
from reprise.health_watcher.resumes import UNKNOWN_S
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus

STATEFUL = Workload(namespace="default", kind="StatefulSet", name="counter")
BARE = Workload(namespace="default", kind="Pod", name="counter-0")


@pytest.fixture
def node(tmp_path: Path) -> MemoryNode:
    return MemoryNode(tmp_path)


def records(node: MemoryNode) -> Bucket[ResumeRecord]:
    return Bucket(MemoryBus(node.server), "resumes", ResumeRecord)


async def deleted(node: MemoryNode, uid: str = "u1", wait_s: float = 60.0) -> None:
    """A failover is about to delete this pod, of which the next one is to go on."""
    record = ResumeRecord(pod_uid=uid, checkpoint_id="ck1", workload=STATEFUL, failover_id="fo-1", wait_s=wait_s)
    await records(node).put(key("default", "counter-0"), record)


def comes(node: MemoryNode, uid: str = "u2", workload: Workload = STATEFUL, **more: Any) -> None:
    node.pods.add(uid, "counter-0", workload=workload, absent_at_s=1e9, **more)


@pytest.mark.parametrize("workload", [STATEFUL, BARE])
def test_the_next_pod_waits_until_it_is_told_what_it_starts_from_and_is_restored_frozen(
    node: MemoryNode, workload: Workload
) -> None:
    async def scene() -> None:
        await deleted(node)
        comes(node, workload=workload)
        agent = node.agent()
        await runs(agent, 10)
        assert node.verdict("u2") == "wait"
        node.slot("ck1", uid="u1", pod="counter-0")
        comes(node, workload=workload, annotations={RESTORE_FROM: "u1/ck1"})
        await runs(agent, 1)
        file = node.files.read_pod("u2")
        assert file
        verdict = file.containers["counter"]
        assert (verdict.verdict, verdict.checkpoint_id, verdict.frozen) == ("restore", "ck1", True)
        assert "default/u1" in verdict.slots

    play(scene())


def test_the_pod_that_the_record_is_about_is_not_kept_from_its_own_restart(node: MemoryNode) -> None:
    async def scene() -> None:
        await deleted(node, "u1")
        comes(node, "u1")
        await runs(node.agent(), 2)
        assert node.verdict("u1") == "restore"

    play(scene())


def test_the_first_pod_of_a_name_starts_as_soon_as_it_was_asked(node: MemoryNode) -> None:
    async def scene() -> None:
        comes(node)
        agent = node.agent()
        agent.verdicts.refresh()
        assert node.verdict("u2") == "wait", "nobody knows of it yet"
        await runs(agent, 0.5)
        assert node.verdict("u2") == "restore"

    play(scene())


def test_a_record_that_goes_lets_its_pod_go(node: MemoryNode) -> None:
    async def scene() -> None:
        await deleted(node)
        comes(node)
        agent = node.agent()
        await runs(agent, 5)
        await records(node).delete(key("default", "counter-0"))
        await runs(agent, 1)
        assert node.verdict("u2") == "restore"

    play(scene())


def test_neither_nats_nor_a_restorer_that_is_away_keeps_it_from_starting_for_ever(node: MemoryNode) -> None:
    async def scene() -> None:
        await deleted(node, wait_s=20.0)
        comes(node)
        agent = node.agent()
        await runs(agent, 10)
        assert node.verdict("u2") == "wait"
        await runs(agent, 15)
        assert node.verdict("u2") == "restore", "its failover does not come any more"
        node.away = True
        comes(node, "u3")
        agent = node.agent()
        agent.verdicts.refresh()
        assert agent.resumes.of("u3") == "unknown"
        await runs(agent, UNKNOWN_S + 3)
        assert agent.resumes.of("u3") == ""

    play(scene())


def test_what_has_been_at_home_here_is_asked_nothing(node: MemoryNode) -> None:
    """A restart while NATS is away is as fast as ever."""

    async def scene() -> None:
        await deleted(node)
        comes(node)
        node.slot("ck2", uid="u2", pod="counter-0")
        comes(node, "u4")
        node.start("c4", "u4")
        node.pods.add("u5", "other-1", absent_at_s=1e9)
        agent = node.agent()
        await runs(agent, 1)
        assert [node.verdict(uid) for uid in ("u2", "u4", "u5")] == ["restore"] * 3

    play(scene())
