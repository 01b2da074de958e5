"""In which order a node acts: verdicts first, then the freezer; a lease counts again last (I1, I6, I9)."""

import fcntl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playing import play, running_node, runs
from reprise.contracts.annotations import RESTORE_FROM
from reprise.contracts.events import (
    CheckpointStaged,
    FailoverAbandoned,
    FailoverReleased,
    FailoverStarted,
    NodeIsolated,
    NodeReturned,
)
from reprise.contracts.records import Fence
from reprise.health_watcher.agent import Agent
from reprise.health_watcher.rules.origin import FAILOVER
from reprise.health_watcher.testing import WORKLOAD, MemoryNode
from reprise.health_watcher.verdicts import KEPT_S
from reprise.runtime.kv import Bucket, key
from reprise.runtime.testing import MemoryBus


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    return running_node(tmp_path, monkeypatch)


async def fence(node: MemoryNode, holder: Any, uid: str = "u1") -> None:
    await Bucket(MemoryBus(node.server), "fences", Fence).put(key(uid), Fence(pod_uid=uid, holder=holder, failover_id="fo-9"))


async def fence_of(node: MemoryNode, uid: str = "u1") -> str:
    entry = await Bucket(MemoryBus(node.server), "fences", Fence).get(key(uid))
    return entry.value.holder if entry else ""


def test_every_pod_has_a_file_and_only_the_protected_ones_a_verdict(node: MemoryNode) -> None:
    async def scene() -> None:
        node.pods.add("u2", "other", protected=False)
        agent = node.agent()
        await runs(agent, 2)
        assert (node.verdict(), node.verdict("u2")) == ("restore", "unprotected")
        node.pods.remove("u2")
        await runs(agent, 2)
        assert node.verdict("u2") == "none"

    play(scene())


def test_a_pods_file_stays_until_its_last_container_is_gone(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 2)
        node.pods.remove("u1")
        await runs(agent, 2)
        assert node.verdict() == "refuse", "its kubelet may start it again, once"
        node.containers.clear()
        await runs(agent, 30)
        assert node.verdict() == "refuse", "the engine may be waiting at it"
        await runs(agent, KEPT_S)
        assert node.verdict() == "none"

    play(scene())


@pytest.mark.parametrize(("outcome", "stands"), [("restored", True), ("blank", False)])
def test_a_node_that_is_cut_off_freezes_what_is_restored_though_the_runtime_has_only_created_it(
    node: MemoryNode, outcome: str, stands: bool
) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.end("c1")
        node.containers["c2"] = replace(node.start("c2", outcome=outcome, checkpoint_id="ck1", attempt=1), state="created")
        node.cut = True
        await runs(agent, 8)
        assert node.stands("c2") == stands

    play(scene())


def test_a_node_that_is_cut_off_writes_its_verdicts_before_it_freezes_and_asks_before_it_thaws(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut = True
        await runs(agent, 5)
        assert node.told == ["freeze c1: wait"]
        assert node.announced(NodeIsolated) == [], "it has nobody to tell"
        assert node.stands()
        node.cut = False
        await runs(agent, 3)
        assert node.told[-1] == "thaw c1: restore"
        assert await fence_of(node) == "node"
        assert len(node.announced(NodeReturned)) == 1

    play(scene())


def test_what_is_frozen_here_is_no_engines_to_thaw(node: MemoryNode) -> None:
    """It was frozen for a checkpoint, and its engine was killed."""
    mark = node.folder / "run/freezing/c1"

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        mark.parent.mkdir()
        mark.touch()
        node.cut = True
        await runs(agent, 5)
        assert (node.stands(), mark.exists()) == (True, False)

    play(scene())


def test_a_lease_that_is_renewed_counts_only_once_every_verdict_waits_and_all_stands_still(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut, node.fails = True, "busy"
        await runs(agent, 5)
        node.cut = False
        await runs(agent, 3)
        file = node.files.read_node()
        assert file and agent.lease.clock() - (file.renewed_at_s or 0) > 3.0, "the engine must not take it for held"
        node.fails = ""
        await runs(agent, 2)
        file = node.files.read_node()
        assert file and agent.lease.clock() - (file.renewed_at_s or 0) < 1.5

    play(scene())


def test_what_was_restored_elsewhere_is_refused_and_stands_still_until_its_pod_is_deleted(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut = True
        await runs(agent, 5)
        await fence(node, "restorer")
        node.cut = False
        await runs(agent, 3)
        assert node.stands()
        file = node.files.read_pod("u1")
        assert file and file.containers["counter"].reason == "restored elsewhere by fo-9"
        node.told.clear()
        node.pods.delete("u1")
        await runs(agent, 2)
        assert node.told[:2] == ["kill c1", "thaw c1: refuse"]
        assert node.told.count("kill c1") == 1, "it is listed for a while"

    play(scene())


def test_a_failover_that_let_go_of_a_pod_gives_it_back(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await fence(node, "restorer")
        await runs(agent, 3)
        assert (node.stands(), node.verdict()) == (True, "refuse"), "an agent that starts asks for what runs too"
        await fence(node, "nobody")
        await runs(agent, 3)
        assert (node.stands(), node.verdict()) == (False, "restore")

    play(scene())


def test_all_of_a_deleted_pod_is_killed_before_any_of_it_is_thawed(node: MemoryNode) -> None:
    async def scene() -> None:
        node.pods.add(containers=("counter", "beside"))
        node.start("c2", name="beside")
        agent = node.agent()
        await fence(node, "restorer")
        await runs(agent, 3)
        node.told.clear()
        node.pods.delete("u1")
        await runs(agent, 2)
        assert sorted(node.told[:2]) == ["kill c1", "kill c2"]
        assert node.told[2].startswith("thaw")

    play(scene())


def test_where_it_cannot_be_killed_it_goes_on_standing_still(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await fence(node, "restorer")
        await runs(agent, 3)
        node.kills = False
        node.pods.delete("u1")
        await runs(agent, 2)
        assert node.stands()

    play(scene())


def test_a_pod_of_which_the_kernel_has_nothing_left_is_thawed(node: MemoryNode) -> None:
    """SIGKILL ends what is frozen by cgroup v2, and its monitor is frozen beside it."""

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut = True
        await runs(agent, 5)
        node.end("c1", 137)
        await runs(agent, 1)
        assert "thaw pod u1" in node.told
        assert node.verdict() == "wait", "and nothing starts in its place"

    play(scene())


def test_what_was_killed_while_its_node_was_cut_off_is_restarted_without_a_back_off(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.cut = True
        await runs(agent, 5)
        node.end("c1", 137)
        await runs(agent, 10)
        assert "remove c1" not in node.told
        node.cut = False
        await runs(agent, 3)
        assert node.verdict() == "restore"
        assert node.told[-1] == "remove c1"

    play(scene())


def test_one_thing_away_freezes_nobody_and_starts_everybody(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        node.server.buckets.clear()

        async def fails(*_: Any) -> None:
            raise TimeoutError

        agent.fences._records.get = fails  # type: ignore[method-assign,assignment]
        node.pods.add("u2", "new", absent_at_s=agent.lease.clock())
        await runs(agent, 5)
        assert node.told == []
        assert node.verdict("u2") == "restore", "it did not exist when this node's lease was held: nobody else can have it"

    play(scene())


def test_after_a_lapse_only_pods_that_are_younger_start_without_asking(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        seen_at_s = agent.lease.clock()
        node.cut = True
        await runs(agent, 5)
        node.cut = False
        await runs(agent, 2)

        async def fails(*_: Any) -> None:
            raise TimeoutError

        agent.fences._records.get = fails  # type: ignore[method-assign,assignment]
        node.pods.add("u2", "older", absent_at_s=seen_at_s)
        node.pods.add("u3", "younger", absent_at_s=agent.lease.clock())
        await runs(agent, 2)
        assert (node.verdict("u2"), node.verdict("u3")) == ("wait", "restore")

    play(scene())


def test_an_agent_that_starts_goes_by_its_predecessors_verdicts_while_nats_is_away(node: MemoryNode) -> None:
    async def scene() -> None:
        await runs(node.agent(), 3)
        agent = node.agent()
        node.away = True

        async def renews(_: Any) -> None:
            """By the API server."""

        agent.lease._kubernetes.renew = renews  # type: ignore[method-assign,assignment]
        await runs(agent, 3)
        assert node.verdict() == "restore"
        assert node.told == []

    play(scene())


def test_after_a_reboot_nothing_starts_before_its_fence_was_asked(node: MemoryNode) -> None:
    async def scene() -> None:
        node.containers.clear()
        await fence(node, "restorer")
        agent = node.agent()
        agent.lease._ever = True
        agent.reconciler.refresh()
        assert node.verdict() == "wait"
        await runs(agent, 2)
        assert node.verdict() == "refuse"

    play(scene())


def test_after_a_reboot_the_engine_is_told_of_the_agent_only_once_every_pod_has_its_file(node: MemoryNode) -> None:
    async def scene() -> None:
        node.pods.synced = False
        agent = node.agent()
        await runs(agent, 3)
        assert node.files.read_node() is None, "it would restore what has no file after a second"
        node.pods.synced = True
        await runs(agent, 3)
        assert node.files.read_node() is not None
        node.pods.synced = False
        before = node.files.read_node()
        await runs(node.agent(), 3)
        assert node.files.read_node() != before, "an agent that is updated is alive at once"

    play(scene())


def test_until_the_informer_knows_the_pods_their_files_stay_but_for_a_lapse(node: MemoryNode) -> None:
    async def scene() -> None:
        await runs(node.agent(), 3)
        node.pods.synced = False
        node.pods.pods.clear()  # its workload is not known yet
        agent = node.agent()
        await runs(agent, 2)
        assert node.verdict() == "restore"
        node.cut = True
        await runs(agent, 5)
        assert (node.verdict(), node.told) == ("wait", ["freeze c1: wait"])
        node.cut = False
        await runs(agent, 3)
        assert (node.verdict(), node.told[-1]) == ("restore", "thaw c1: restore")

    play(scene())


def test_an_agent_that_starts_leaves_a_pod_alone_that_is_ending(node: MemoryNode) -> None:
    """Its process may take its grace period."""

    async def scene() -> None:
        node.pods.delete("u1")
        await runs(node.agent(), 4)
        assert node.told == []
        assert node.verdict() == "refuse", "it ends: nothing starts in it any more"

    play(scene())


def shadow(node: MemoryNode, containers: tuple[str, ...] = ("counter",)) -> None:
    node.pods.add(
        "u2", "counter-mv-1-1", containers=containers, protected=False, annotations={RESTORE_FROM: "u1/ck7", FAILOVER: "mv-1-1"},
        workload=WORKLOAD.model_copy(update={"kind": "Pod", "name": "counter-mv-1-1"}), absent_at_s=0.0,
    )  # fmt: skip


async def restored_shadow(node: MemoryNode) -> Agent:
    """c2 in it stands still, and is not released yet."""
    shadow(node)
    node.slot("ck7", live="")
    agent = node.agent()
    await runs(agent, 2)
    node.start("c2", "u2", outcome="restored", checkpoint_id="ck7", frozen=True)
    await runs(agent, 2)
    return agent


def released(uid: str = "u2") -> FailoverReleased:
    target = {"node": "n1", "pod": "counter-mv-1-1", "pod_uid": uid, "container": "counter", "container_id": "c2"}
    return FailoverReleased.model_validate(
        {"node": "n1", "workload": WORKLOAD, "failover_id": "mv-1", "target": target, "checkpoint_id": "ck7"}
    )


def staged() -> CheckpointStaged:
    source = {"node": "n1", "pod": "counter-1", "pod_uid": "u1", "container": "counter", "container_id": "c1"}
    return CheckpointStaged.model_validate({
        "node": "n1", "workload": WORKLOAD, "checkpoint_id": "ck7", "target": source, "reference": "slot", "pull_s": 0.4,
        "role": "standby",
    })  # fmt: skip


def test_a_shadow_waits_for_its_checkpoint_is_restored_frozen_and_runs_once_it_is_released(node: MemoryNode) -> None:
    async def scene() -> None:
        shadow(node)
        agent = node.agent()
        await runs(agent, 2)
        assert node.verdict("u2") == "wait"
        node.slot("ck7", live="")
        await runs(agent, 2)
        file = node.files.read_pod("u2")
        assert file
        verdict = file.containers["counter"]
        assert (verdict.verdict, verdict.checkpoint_id, verdict.frozen) == ("restore", "ck7", True)
        assert verdict.slots == ("default/u2", "default/u1")
        node.start("c2", "u2", outcome="restored", checkpoint_id="ck7", frozen=True)
        await runs(agent, 2)
        assert node.stands("c2")
        assert "u2" in node.frozen_pods, "whoever ends it lets it run for a moment otherwise"
        node.told.clear()
        await agent.handlers.on_released(released())
        assert node.told == ["thaw c2: restore"]
        file = node.files.read_pod("u2")
        assert file and not file.containers["counter"].frozen and not file.containers["counter"].checkpoint_id
        await agent.handlers.on_released(released())
        await runs(node.agent(), 3)
        assert not node.stands("c2"), "an agent that starts anew knows that it was released"
        assert node.verdict("u2") == "restore"

    play(scene())


def test_until_its_checkpoint_is_there_no_container_of_a_shadow_starts(node: MemoryNode) -> None:
    """A planned move makes it before it takes the checkpoint: which container that is of is not known yet."""

    async def scene() -> None:
        shadow(node, containers=("proxy", "counter"))
        agent = node.agent()
        await runs(agent, 2)
        assert (node.verdict("u2", "proxy"), node.verdict("u2")) == ("wait", "wait")
        node.slot("ck7", live="")
        await runs(agent, 2)
        file = node.files.read_pod("u2")
        assert file and {name: each.verdict for name, each in file.containers.items()} == {"counter": "restore"}

    play(scene())


def test_an_engine_that_waits_is_told_as_soon_as_its_checkpoint_is_staged(node: MemoryNode) -> None:
    async def scene() -> None:
        shadow(node)
        agent = node.agent()
        await runs(agent, 2)
        node.slot("ck7", live="")
        await agent.handlers.on_staged(staged())
        assert node.verdict("u2") == "restore"

    play(scene())


def test_what_a_node_took_itself_makes_no_extra_pass(node: MemoryNode) -> None:
    """It is staged at each checkpoint, and no engine waits for it."""

    async def scene() -> None:
        shadow(node)
        agent = node.agent()
        await runs(agent, 2)
        node.slot("ck7", live="")
        await agent.handlers.on_staged(staged().model_copy(update={"role": "own"}))
        assert node.verdict("u2") == "wait"

    play(scene())


@pytest.mark.parametrize("state", ["created", "running"])
def test_one_that_is_released_before_the_runtime_shows_it_runs_all_the_same(node: MemoryNode, state: Any) -> None:
    """CRI-O lists a container 0.15 s after the engine has restored it. (It stood still until its kubelet killed it.)"""

    async def scene() -> None:
        shadow(node)
        agent = node.agent()
        node.slot("ck7", live="")
        await runs(agent, 2)
        container = node.start("c2", "u2", outcome="restored", checkpoint_id="ck7", frozen=True)
        del node.containers["c2"]
        await agent.handlers.on_released(released())
        await runs(agent, 1)
        node.containers["c2"] = replace(container, state=state)
        await runs(agent, 2)
        assert not node.stands("c2")
        node.told.clear()
        node.frozen.add("c2")  # for a checkpoint, by the engine
        (node.folder / "run/freezing").mkdir()
        with (node.folder / "run/freezing/c2").open("w") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)
            await runs(node.agent(), 2)
            assert node.told == [], "that is the engine's to thaw"

    play(scene())


def test_that_a_pod_is_released_is_on_disk_for_the_engine_before_it_runs_and_until_it_is_gone(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = node.folder / "state/released/u2"
    thaw = node.thaw

    def thawed(container_id: str) -> None:
        assert mark.exists()
        thaw(container_id)

    async def scene() -> None:
        agent = await restored_shadow(node)
        assert not mark.exists()
        monkeypatch.setattr(node, "thaw", thawed)
        await agent.handlers.on_released(released())
        assert not node.stands("c2")
        await runs(node.agent(), 2)
        assert mark.exists(), "also for an agent that starts anew"
        node.pods.remove("u2")
        del node.containers["c2"]
        await runs(node.agent(), KEPT_S + 2)
        assert not mark.exists()

    play(scene())


def test_a_shadow_of_another_workloads_checkpoint_is_refused(node: MemoryNode) -> None:
    async def scene() -> None:
        shadow(node)
        node.slot("ck7", pod="redis-1", live="")
        await runs(node.agent(), 2)
        assert node.verdict("u2") == "refuse"

    play(scene())


def test_a_shadow_that_is_discarded_is_killed_where_it_stands(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await restored_shadow(node)
        node.told.clear()
        node.pods.delete("u2")
        await runs(agent, 1)
        assert node.told == ["kill c2", "thaw c2: refuse"]

    play(scene())


def test_a_shadow_on_a_node_that_is_cut_off_before_its_release_stands_still_for_both_reasons(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = await restored_shadow(node)
        node.cut = True
        await runs(agent, 5)
        assert agent.ledger.reasons("c2") == {"isolated", "unreleased"}
        node.cut = False
        await runs(agent, 3)
        assert (node.stands("c1"), node.stands("c2")) == (False, True)
        await agent.handlers.on_released(released())
        assert not node.stands("c2")

    play(scene())


def test_a_restore_that_was_asked_for_ends_the_container_where_it_stands(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 2)
        started = FailoverStarted(
            node="n1", workload=WORKLOAD, failover_id="rs-1", target=node.target(), cause="restore", path="in-place",
            checkpoint_id="ck1", standby="n1", why="",
        )  # fmt: skip
        await agent.handlers.on_started(started.model_copy(update={"cause": "crash"}))
        assert node.told == [], "a crash is over already"
        await agent.handlers.on_started(started)
        assert node.told[0] == "kill c1"
        node.kills = False
        await agent.handlers.on_started(started)
        assert node.told[-1] == "stop c1"

    play(scene())


def test_an_announced_cold_start_is_blank_once(node: MemoryNode) -> None:
    def abandoned(container_id: str) -> FailoverAbandoned:
        target = node.target("c1").model_copy(update={"container_id": container_id})
        return FailoverAbandoned(
            node="n1", workload=WORKLOAD, failover_id="fo", target=target, cause="crash", reason="NoneFits", message="", remedy=""
        )

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 2)
        gone = abandoned("c1")
        node.end("c1")
        await runs(agent, 1)
        await agent.handlers.on_abandoned(gone.model_copy(update={"outcome": "step-aside"}))
        assert node.verdict() == "restore"
        await agent.handlers.on_abandoned(gone)
        assert node.verdict() == "blank"
        node.start("c2", attempt=1)
        await runs(agent, 2)
        assert node.verdict() == "restore"
        await agent.handlers.on_abandoned(gone)
        assert node.verdict() == "restore", "its next instance runs already"

    play(scene())


def test_an_agent_that_starts_anew_knows_which_cold_starts_were_announced(node: MemoryNode) -> None:
    async def scene() -> None:
        before = node.agent()
        await runs(before, 2)
        node.end("c1")
        await runs(before, 1)
        gone = node.target("c1")
        await before.handlers.on_abandoned(
            FailoverAbandoned(node="n1", workload=WORKLOAD, failover_id="fo", target=gone, cause="crash", reason="NoneFits",
                              message="no checkpoint fits", remedy="")
        )  # fmt: skip
        agent = node.agent()
        await runs(agent, 2)
        file = node.files.read_pod("u1")
        assert file and (file.containers["counter"].verdict, file.containers["counter"].reason) == (
            "blank", "NoneFits: no checkpoint fits"
        )  # fmt: skip
        node.start("c2", attempt=1)
        await runs(agent, 1)
        assert node.verdict() == "restore"
        await runs(node.agent(), 2)
        assert node.verdict() == "restore", "nor is it announced again"
        node.pods.remove("u1")
        node.containers.clear()
        await runs(agent, 70)
        assert "u1" not in (node.folder / "state/cold.json").read_text(), "of a pod that is gone nothing is kept"

    play(scene())


def test_what_a_checkpoints_end_thawed_is_frozen_again_and_what_stops_being_protected_is_not_thawed(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 2)
        node.cut = True
        await runs(agent, 5)
        node.frozen_pods.clear()
        await runs(agent, 1)
        assert node.stands()
        del node.pods.pods["u1"]
        await runs(agent, 1)
        assert node.stands()

    play(scene())
