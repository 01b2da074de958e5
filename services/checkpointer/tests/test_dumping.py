"""A checkpoint is asked of the engine by a file that is there exactly while the kubelet is called."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from reprise.checkpointer.decide import Failure, Refusal
from reprise.checkpointer.dumping import Dumped, Dumping
from reprise.checkpointer.testing import STUB, Machine, dumps, fails
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import Target, Workload, now
from reprise.runtime.nodefiles import DumpFile, NodeFiles, boottime_s

WORKLOAD = Workload(namespace="shop", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
SLOT = "shop/u1/counter/ck1"


def due(name: str = "ck1", *, hold: bool = False) -> CheckpointDue:
    return CheckpointDue(
        node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="move" if hold else "interval", due_at=now(),
        interval_s=10, keep=3, hold=hold,
    )  # fmt: skip


async def take(node: Any, *, hold: bool = False, name: str = "ck1") -> Dumped | Failure:
    return await Dumping(node, node, node, 120.0).take(due(name, hold=hold), "shop")


async def test_the_engine_is_asked_before_the_kubelet_and_the_request_goes_afterwards() -> None:
    node = Machine()
    assert await take(node) == Dumped(STUB, SLOT, 0.14, held=False)
    assert node.story == ["request written", "kubelet", "request removed"]


async def test_a_request_names_the_checkpoint_its_slots_and_when_it_is_void() -> None:
    node, seen = Machine(), []
    node.engine = lambda request, container_id: seen.append(request) or dumps(request, container_id)  # type: ignore[func-returns-value]
    await take(node)
    [request] = seen
    assert (request.checkpoint_id, request.slots, request.hold) == ("ck1", "shop/u1", False)
    assert 110 < request.expires_at_s - boottime_s() <= 120


@pytest.mark.parametrize("answer", [Refusal(500, "no"), Failure("KubeletTimeout", "slow", "wait"), RuntimeError("a bug")])
async def test_the_request_goes_whatever_the_kubelet_does(answer: Any) -> None:
    node = Machine(answer=answer)
    if isinstance(answer, Exception):
        with pytest.raises(RuntimeError):
            await take(node)
    else:
        assert isinstance(await take(node), Failure)
    assert node.requests == {}


async def test_the_files_are_the_nodes(tmp_path: Path) -> None:
    files, node = NodeFiles(tmp_path), Machine()

    async def checkpoint(_namespace: str, _target: Target) -> str:
        assert (tmp_path / "requests/c1.json").stat().st_mode & 0o777 == 0o600
        told = DumpFile(checkpoint_id="ck1", container_id="c1", outcome="ok", slot=SLOT, pause_s=0.2)
        (tmp_path / "dumps").mkdir()
        (tmp_path / "dumps/c1.json").write_text(told.model_dump_json())
        return STUB

    node.write_request, node.remove_request, node.read_dump = files.write_request, files.remove_request, files.read_dump  # type: ignore[method-assign]
    node.checkpoint = checkpoint  # type: ignore[method-assign,assignment]
    assert await take(node) == Dumped(STUB, SLOT, 0.2)
    assert list((tmp_path / "requests").iterdir()) == []


async def test_where_no_request_can_be_written_the_kubelet_is_not_called() -> None:
    node = Machine()
    node.unwritable = True
    failure = await take(node)
    assert isinstance(failure, Failure)
    assert failure.reason == "NoRequest"
    assert node.story == []


@pytest.mark.parametrize(
    "engine",
    [
        None,
        lambda request, container_id: dumps(request, container_id, checkpoint_id="ck0"),
        lambda request, container_id: dumps(request, container_id, container_id="c2"),
        lambda request, container_id: dumps(request, container_id, slot="kube-system/u9/etcd/ck1"),
    ],
    ids=["no engine", "of the one before", "of another container", "a slot elsewhere"],
)
async def test_a_checkpoint_that_the_engine_did_not_take_does_not_count(engine: Any) -> None:
    failure = await take(Machine(engine))
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.archive_path, failure.slot) == ("EngineMissing", STUB, "")
    assert "deploy/node" in failure.remedy


async def test_the_engines_own_words_say_why_criu_failed_whatever_the_runtime_says() -> None:
    """containerd's message is another than CRI-O's, and neither has the cause."""
    said = "dump failed: (00.05) Error (criu/sk-inet.c:206): inet: Unsupported proto 262 for socket 1f"
    for answer in (Refusal(500, "rpc error: failed to checkpoint container 1"), Refusal(500, "task checkpoint: exit 1"), STUB):
        failure = await take(Machine(fails(said), answer))
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.slot) == ("MptcpSocket", "")
        assert "GODEBUG" in failure.remedy


async def test_a_slot_that_lies_there_although_the_runtime_failed_is_named_so_that_it_is_removed() -> None:
    failure = await take(Machine(answer=Refusal(500, "no space left for the stub")))
    assert isinstance(failure, Failure)
    assert failure.slot == SLOT


class TestHeld:
    async def test_the_pod_is_frozen_above_the_container_before_the_request_goes(self) -> None:
        node = Machine()
        assert await take(node, hold=True) == Dumped(STUB, SLOT, 0.14, held=True)
        assert node.story == ["request written", "kubelet", "pod frozen", "request removed"]
        assert node.container_frozen
        assert node.pod_frozen

    async def test_it_is_told_while_the_runtime_still_packs_and_the_request_stays_until_it_has(self) -> None:
        node = Machine()
        node.packs = asyncio.Event()
        assert await take(node, hold=True) == Dumped("", SLOT, 0.14, held=True)
        assert node.story == ["request written", "kubelet", "pod frozen"]
        node.packs.set()
        await asyncio.sleep(0.05)
        assert node.story[3:] == ["request removed"]

    async def test_another_checkpoint_of_it_waits_until_the_kubelet_has_answered(self) -> None:
        node = Machine()
        dumping, node.packs = Dumping(node, node, node, 120.0), asyncio.Event()
        await dumping.take(due(hold=True), "shop")
        again = asyncio.create_task(dumping.take(due("ck2"), "shop"))
        await asyncio.sleep(0.05)
        assert node.requests["c1"].checkpoint_id == "ck1"
        node.packs.set()
        assert await again == Dumped(STUB, "shop/u1/counter/ck2", 0.14)
        assert node.requests == {}

    async def test_a_held_process_is_told_although_the_runtime_fails_to_pack(self) -> None:
        node = Machine(answer=Refusal(500, "no space left for the stub"))
        node.packs = asyncio.Event()
        assert await take(node, hold=True) == Dumped("", SLOT, 0.14, held=True)
        node.packs.set()
        await asyncio.sleep(0.05)
        assert node.requests == {}
        assert node.container_frozen

    async def test_what_the_engine_let_run_on_is_not_held(self) -> None:
        node = Machine(lambda request, container_id: dumps(request, container_id, held=False))
        assert await take(node, hold=True) == Dumped(STUB, SLOT, 0.14, held=False)
        assert "pod frozen" not in node.story

    async def test_a_pod_that_cannot_be_frozen_runs_on_and_its_slot_goes(self) -> None:
        node = Machine()
        node.freezes = OSError("read-only file system")
        failure = await take(node, hold=True)
        assert isinstance(failure, Failure)
        assert (failure.reason, failure.slot, failure.archive_path) == ("CannotHold", SLOT, STUB)
        assert not node.container_frozen
        assert node.story[-2:] == ["thawed", "request removed"]

    async def test_a_checkpoint_that_the_runtime_failed_after_the_engine_held_it_lets_the_process_run_on(self) -> None:
        node = Machine(answer=Refusal(500, "no"))
        assert isinstance(await take(node, hold=True), Failure)
        assert not node.container_frozen

    async def test_a_dump_that_failed_thaws_nothing_that_somebody_else_froze(self) -> None:
        node = Machine(fails("Error: no"), Refusal(500, "no"))
        assert isinstance(await take(node, hold=True), Failure)
        assert "thawed" not in node.story

    async def test_a_process_that_ended_just_then_is_not_held(self) -> None:
        node = Machine()
        node.freezes = False
        assert await take(node, hold=True) == Dumped(STUB, SLOT, 0.14, held=False)


class TestKilledInThePause:
    """The engine did not live to thaw what it had frozen: its container's own cgroup."""

    @pytest.mark.parametrize("answer", [Refusal(500, "signal: killed"), STUB], ids=["the runtime failed", "it went on"])
    @pytest.mark.parametrize("hold", [True, False])
    @pytest.mark.parametrize(
        "engine",
        [None, fails("signal: killed"), lambda request, container_id: dumps(request, container_id, held=False)],
        ids=["no dump", "one that failed", "one that is not held"],
    )
    async def test_the_container_alone_is_thawed_once_the_kubelet_has_answered(
        self, engine: Any, answer: Any, hold: bool
    ) -> None:
        node = Machine(engine, answer)
        node.killed_in_the_pause = True
        await take(node, hold=hold)
        assert not node.container_frozen
        assert node.story[1:3] == ["kubelet", "thawed alone"]
        assert "thawed" not in node.story

    async def test_while_the_kubelet_has_not_answered_the_engine_may_be_at_work_and_nothing_is_thawed(self) -> None:
        node = Machine(None, Failure("KubeletTimeout", "slow", "wait"))
        node.killed_in_the_pause = True
        await take(node)
        assert node.container_frozen

    async def test_what_stood_still_before_stands_still_afterwards(self) -> None:
        """As a shadow that was restored frozen and is not released yet."""
        node = Machine(None, Refusal(500, "no"))
        node.container_frozen = True
        await take(node)
        assert node.container_frozen

    async def test_a_pod_that_its_node_froze_meanwhile_stays_frozen(self) -> None:
        node = Machine(None, Refusal(500, "no"))
        checkpoint = node.checkpoint

        async def is_isolated_meanwhile(namespace: str, target: Target) -> Any:
            node.pod_frozen = True
            return await checkpoint(namespace, target)

        node.checkpoint = is_isolated_meanwhile  # type: ignore[method-assign]
        await take(node)
        assert node.pod_frozen
