"""Ends of protected containers: told, declared once, and the kubelet's way is cleared before it looks."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from playing import inline_threads, play, runs
from reprise.contracts.events import ContainerEnded, FailoverDeclared
from reprise.contracts.records import Fence
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.hung import Hung
from reprise.health_watcher.model import Failing
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    inline_threads(monkeypatch)
    here = MemoryNode(tmp_path)
    here.pods.add()
    return here


def declared(node: MemoryNode) -> list[FailoverDeclared]:
    return node.announced(FailoverDeclared)


async def crashes(node: MemoryNode, agent: Agent, *names: str, lived_s: float = 60.0, checkpoint_id: str = "") -> None:
    """Instances, one after the other."""
    for name in names:
        outcome = "restored" if checkpoint_id else "blank"
        node.start(name, outcome=outcome, checkpoint_id=checkpoint_id, attempt=len(node.statuses))
        await runs(agent, max(0.2, lived_s))
        node.end(name, 137, lived_s=lived_s)
        await runs(agent, 0.2)


def test_a_crash_is_told_with_its_exit_code_and_the_end_of_its_log_and_declared(node: MemoryNode) -> None:
    async def scene() -> None:
        await crashes(node, node.agent(), "c1")
        (ended,) = node.announced(ContainerEnded)
        assert (ended.exit_code, ended.reason, ended.log_tail, ended.final) == (137, "Error", "its last line", False)
        (failover,) = declared(node)
        assert (failover.cause, failover.target.container_id, failover.armed) == ("crash", "c1", False)
        assert "137" in failover.detail
        assert node.told == ["Warning ContainerEnded: container counter of pod counter-1 ended with 137 (Error); its log ends: "
                             "its last line"]  # fmt: skip

    play(scene())


def test_it_is_armed_if_a_checkpoint_of_it_is_live(node: MemoryNode) -> None:
    async def scene() -> None:
        node.slot("ck1")
        await crashes(node, node.agent(), "c1", checkpoint_id="ck1")
        (failover,) = declared(node)
        assert (failover.armed, failover.restored_from) == (True, "ck1")

    play(scene())


def test_of_the_second_end_within_ten_minutes_no_dead_container_is_left_for_the_kubelet_to_back_off_from(
    node: MemoryNode,
) -> None:
    async def scene() -> None:
        agent = node.agent()
        await crashes(node, agent, "c1", "c2")
        assert [line for line in node.told if "remove" in line] == ["remove c2", "remove c1"]
        assert [e.target.container_id for e in node.announced(ContainerEnded)] == ["c1", "c2"]
        assert [e.target.container_id for e in declared(node)] == ["c1", "c2"]

    play(scene())


def test_a_log_is_read_until_the_runtime_has_written_what_was_said_last(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """containerd tells of the end before it has copied the last lines: the reason for a crash was among them."""

    async def scene() -> None:
        agent, written = node.agent(), iter(["started", "started", "started\nFATAL"])
        monkeypatch.setattr(node, "tail", lambda _path: next(written, "started\nFATAL"))
        await crashes(node, agent, "c1")
        [told] = [event for event in node.server.events.values() if event.TYPE == "container.ended"]
        assert told.log_tail == "started\nFATAL"

    play(scene())


def test_nothing_is_told_before_the_dead_container_is_removed_but_its_log_is_read(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        agent, story = node.agent(), []
        await crashes(node, agent, "c1")
        remove, record, announce, tail = node.remove_container, node.record, agent.announcer.announce, node.tail

        async def answers_late(container_id: str) -> None:
            story.append("removal")
            await asyncio.sleep(0.1)
            await remove(container_id)

        async def is_recorded(*args: Any) -> None:
            story.append("Kubernetes Event")
            await record(*args)

        def is_announced(event: Any, dedup_id: str) -> None:
            story.append(event.TYPE)
            announce(event, dedup_id)

        def is_read(path: str) -> str:
            story.append("log")
            return tail(path)

        for of, name, instead in (
            (node, "remove_container", answers_late), (node, "record", is_recorded), (agent.announcer, "announce", is_announced),
            (node, "tail", is_read),
        ):  # fmt: skip
            monkeypatch.setattr(of, name, instead)
        await crashes(node, agent, "c2")
        read, after = story[: story.index("removal")], story[story.index("removal") :]
        assert set(read) == {"log"}
        assert sorted(after) == ["Kubernetes Event", "container.ended", "failover.declared", "removal", "removal"]

    play(scene())


def test_while_the_runtime_does_not_answer_to_the_removal_the_end_is_told(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        agent = node.agent()
        await crashes(node, agent, "c1")
        monkeypatch.setattr(node, "remove_container", lambda _: asyncio.sleep(3600))
        await crashes(node, agent, "c2")
        assert [e.target.container_id for e in declared(node)] == ["c1", "c2"]

    play(scene())


def test_a_restarted_agent_remembers_when_it_ended_before(node: MemoryNode) -> None:
    async def scene() -> None:
        await crashes(node, node.agent(), "c1")
        await crashes(node, node.agent(), "c2")
        assert "remove c2" in node.told

    play(scene())


def test_what_ended_while_no_agent_ran_is_told_of_once_its_pod_is_known(node: MemoryNode) -> None:
    async def scene() -> None:
        node.start()
        node.end()
        node.pods.synced = False
        agent = node.agent()
        await runs(agent, 1)
        assert declared(node) == []
        node.pods.synced = True
        await runs(agent, 1)
        assert len(declared(node)) == 1
        await runs(node.agent(), 1)
        assert len(node.announced(ContainerEnded)) == 1, "an agent before has told of it"

    play(scene())


def test_what_ended_long_ago_and_has_a_successor_is_nobodys_business(node: MemoryNode) -> None:
    async def scene() -> None:
        node.start("c1")
        node.end("c1")
        node.start("c2", attempt=1)
        await runs(node.agent(), 1)
        assert declared(node) == []
        assert node.announced(ContainerEnded) == []

    play(scene())


def test_an_end_is_not_missed_though_the_kubelet_is_faster_than_we(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1")
        await runs(agent, 5)
        node.end("c1")
        node.start("c2", attempt=1)
        await runs(agent, 1)
        assert [e.target.container_id for e in declared(node)] == ["c1"]
        assert not [line for line in node.told if "remove" in line]

    play(scene())


@pytest.mark.parametrize(("policy", "code", "failovers"), [("Never", 1, 0), ("OnFailure", 0, 0), ("OnFailure", 3, 1)])
def test_a_job_that_has_ended_is_not_restored(node: MemoryNode, policy: str, code: int, failovers: int) -> None:
    async def scene() -> None:
        node.pods.add(restart_policy=policy)
        agent = node.agent()
        node.start("c1")
        await runs(agent, 1)
        node.end("c1", code)
        await runs(agent, 1)
        assert len(declared(node)) == failovers
        assert node.announced(ContainerEnded)[0].final == (not failovers)

    play(scene())


def test_the_end_of_a_pod_that_is_deleted_or_restored_elsewhere_is_no_failover(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1")
        await runs(agent, 1)
        fence = Fence(pod_uid="u1", holder="restorer", failover_id="fo-1")
        await Bucket(MemoryBus(node.server), "fences", Fence).put(key("u1"), fence)
        agent.fences.take("u1", "unknown")
        await runs(agent, 1)
        node.end("c1", 137)
        await runs(agent, 1)
        assert declared(node) == []
        node.pods.add("u2", "counter-2")
        node.start("c2", "u2")
        await runs(agent, 1)
        node.pods.delete("u2")
        node.end("c2", 143)
        await runs(agent, 1)
        assert declared(node) == []

    play(scene())


def test_a_container_that_was_ended_to_be_restored_is_no_crash_and_does_not_make_the_kubelet_back_off(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await crashes(node, agent, "c1")
        node.start("c2", attempt=1)
        await runs(agent, 1)
        agent.ends.expect("c2")
        node.end("c2", 137)
        await runs(agent, 1)
        assert [e.target.container_id for e in declared(node)] == ["c1"]
        assert "remove c2" in node.told

    play(scene())


def test_a_checkpoint_that_does_not_live_is_rejected_and_if_none_does_the_start_is_blank(node: MemoryNode) -> None:
    async def scene() -> None:
        node.slot("ck1", live="previous")
        node.slot("ck2")
        agent = node.agent()
        await crashes(node, agent, "c1", "c2", lived_s=2.0, checkpoint_id="ck2")
        file = node.files.read_pod("u1")
        assert file and (file.containers["counter"].verdict, file.containers["counter"].rejected) == ("restore", ("ck2",))
        assert declared(node)[-1].rejected == ("ck2",)
        await crashes(node, agent, "c3", "c4", lived_s=2.0, checkpoint_id="ck1")
        assert node.verdict() == "blank"
        await runs(node.agent(), 2)
        assert node.verdict() == "blank", "an agent that starts anew knows it too"
        node.slot("ck3")
        await runs(agent, 2)
        assert node.verdict() == "restore", "a newer checkpoint has not failed yet"

    play(scene())


@pytest.mark.parametrize(("probed", "verdict"), [(True, "blank"), (False, "restore")])
def test_a_checkpoint_of_a_process_that_hangs_again_is_rejected_though_it_takes_its_probe_a_while(
    node: MemoryNode, probed: bool, verdict: str
) -> None:
    async def scene() -> None:
        node.slot("ck1")
        if probed:
            liveness = SimpleNamespace(initial_delay_seconds=0, failure_threshold=3, period_seconds=10, timeout_seconds=1)
            pod = node.pods.pods["u1"]
            node.pods.pods["u1"] = replace(pod, containers=(replace(pod.containers[0], liveness=liveness),))
        await crashes(node, node.agent(), "c1", "c2", lived_s=31.0, checkpoint_id="ck1")
        assert node.verdict() == verdict

    play(scene())


@pytest.mark.parametrize(("failures", "cause"), [(1, "crash"), (2, "hang")])
def test_one_that_its_kubelet_ended_hung_since_the_first_probe_that_failed(node: MemoryNode, failures: int, cause: str) -> None:
    async def scene() -> None:
        agent = node.agent()
        node.start("c1")
        await runs(agent, 1)
        agent.hung.failing["c1"] = Failing(3, (time.monotonic() - 4.0,) * failures)
        node.end("c1")
        await runs(agent, 1)
        (failover,) = declared(node)
        assert (failover.cause, failover.noticed_after_s > 3.9) == (cause, cause == "hang")

    play(scene())


@pytest.mark.parametrize(("failed_ago_s", "cause"), [((5.0, 4.0), "hang"), ((3.5, 2.5), "crash"), ((2.5, 1.5), "crash")])
def test_what_failed_only_once_it_had_ended_does_not_make_a_crash_a_hang(
    node: MemoryNode, failed_ago_s: tuple[float, ...], cause: str
) -> None:
    """A busy runtime tells late of an end: its probe may have failed twice by then, or once as its process was ending."""

    async def scene() -> None:
        agent = node.agent()
        node.start("c1")
        await runs(agent, 1)
        agent.hung.failing["c1"] = Failing(3, tuple(time.monotonic() - ago_s for ago_s in failed_ago_s))
        node.end("c1", 137, at_s=time.time() - 3.0)
        await runs(agent, 1)
        (failover,) = declared(node)
        assert failover.cause == cause

    play(scene())


def test_what_fails_once_its_end_is_known_and_not_yet_told_does_not_either() -> None:
    hung, now_s = Hung(), time.monotonic()
    hung.failed("c1", 3, now_s - 4.0)
    hung.ended("c1", 3.0)
    hung.failed("c1", 3, now_s)
    assert not hung.is_hung("c1")


@pytest.mark.parametrize("deleting", [True, False])
def test_what_its_runtime_takes_to_run_for_ever_does_not_keep_a_deleted_pod(node: MemoryNode, deleting: bool) -> None:
    """Seen with CRI-O, of a container that ended in the middle of its checkpoint. Else it is the kubelet's, as ever."""

    async def scene() -> None:
        agent = node.agent()
        made = node.start("c1")
        await runs(agent, 1)
        node.pods.pods["u1"] = replace(node.pods.pods["u1"], deleting=deleting)
        node.end("c1", 137)
        node.statuses.pop("c1")
        node.containers["c1"] = replace(made, state="exited")
        await runs(agent, 4)
        assert ("remove c1" in node.told) is deleting

    play(scene())


def test_a_runtime_that_does_not_know_yet_is_asked_again(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        made = node.start("c1")
        await runs(agent, 1)
        node.end("c1", 3)
        status = node.statuses.pop("c1")
        node.containers["c1"] = replace(made, state="exited")
        waiting = asyncio.ensure_future(runs(agent, 1))
        await asyncio.sleep(0.3)
        assert node.announced(ContainerEnded) == []
        node.statuses["c1"] = status
        await waiting
        assert node.announced(ContainerEnded)[0].exit_code == 3

    play(scene())


async def restored_and_killed_for_its_memory(node: MemoryNode, number: int, lived_s: float = 45.0) -> str:
    """From the checkpoint before, and checkpointed again meanwhile. The agent is another one each time. Returns the verdict."""
    agent = node.agent()
    node.start(f"c{number}", outcome="restored", checkpoint_id=f"ck{number}", attempt=number)
    await runs(agent, 1)
    node.slot(f"ck{number}", live="previous")
    node.slot(f"ck{number + 1}")
    node.end(f"c{number}", 137, lived_s=lived_s, reason="OOMKilled")
    await runs(agent, 1)
    return node.verdict()


async def ends_a_third_time(node: MemoryNode) -> Agent:
    """Nothing was checkpointed of it, and its agent has not looked since."""
    for n in (1, 2):
        await restored_and_killed_for_its_memory(node, n)
    agent = node.agent()
    node.start("c3", outcome="restored", checkpoint_id="ck3", attempt=3)
    await runs(agent, 1)
    node.end("c3", 137, lived_s=45.0, reason="OOMKilled")
    return agent


def test_what_is_killed_for_its_memory_again_and_again_starts_cold_once_and_says_so(node: MemoryNode) -> None:
    """Each checkpoint is newer than the one before, and as full: it would be restored for ever."""

    async def scene() -> None:
        node.slot("ck1")
        assert [await restored_and_killed_for_its_memory(node, n) for n in (1, 2, 3)] == ["restore", "restore", "blank"]
        file = node.files.read_pod("u1")
        assert file and "OOMKilled" in file.containers["counter"].reason
        assert [line for line in node.told if "ColdStart" in line and "memory limit" in line]
        assert set(declared(node)[-1].rejected) == {"ck3", "ck4"}, "nor is it restored of them elsewhere"
        agent = node.agent()
        await runs(agent, 1)
        assert node.verdict() == "blank", "an agent that starts anew knows it too"
        node.start("c4", attempt=4)
        await runs(agent, 1)
        node.slot("ck5")
        await runs(agent, 2)
        file = node.files.read_pod("u1")
        assert file and file.containers["counter"].verdict == "restore", "what is checkpointed of the new one counts"
        assert {"ck3", "ck4"} <= set(file.containers["counter"].rejected)

    play(scene())


def test_a_checkpoint_that_gets_in_place_after_the_end_is_not_restored_either(node: MemoryNode) -> None:
    async def scene() -> None:
        node.slot("ck1")
        agent = await ends_a_third_time(node)
        await runs(agent, 1)
        node.slot("ck4")
        await runs(agent, 2)
        assert node.verdict() == "blank"

    play(scene())


def test_one_that_lives_for_long_in_between_is_no_loop(node: MemoryNode) -> None:
    async def scene() -> None:
        node.slot("ck1")
        lived = (45.0, 45.0, 1200.0, 45.0, 45.0)
        assert {await restored_and_killed_for_its_memory(node, n, s) for n, s in enumerate(lived, 1)} == {"restore"}

    play(scene())


@pytest.mark.parametrize(("failures", "verdict"), [(3, "restore"), (0, "blank")])
def test_what_its_kubelet_ends_for_its_probe_is_no_loop_though_it_ends_in_good_order(
    node: MemoryNode, failures: int, verdict: str
) -> None:
    """Most processes exit with 0 at SIGTERM; what its probe waits for may be away for a while."""

    async def scene() -> None:
        node.slot("ck1")
        for number in (1, 2, 3):
            agent = node.agent()
            node.start(f"c{number}", outcome="restored", checkpoint_id=f"ck{number}", attempt=number)
            await runs(agent, 1)
            node.slot(f"ck{number + 1}")
            if failures:
                agent.hung.failing[f"c{number}"] = Failing(3, (time.monotonic() - 30.0,) * failures)
            node.end(f"c{number}", 0, lived_s=90.0)
            await runs(agent, 1)
        assert node.verdict() == verdict

    play(scene())


def test_if_the_kubelet_was_faster_the_next_end_makes_it_start_cold(node: MemoryNode) -> None:
    async def scene() -> None:
        node.slot("ck1")
        agent = await ends_a_third_time(node)
        node.start("c4", outcome="restored", checkpoint_id="ck3", attempt=4)
        await runs(agent, 1)
        assert not [line for line in node.told if "ColdStart" in line], "it was restored once more"
        node.slot("ck4", live="previous")
        assert await restored_and_killed_for_its_memory(node, 4) == "blank"

    play(scene())
