"""Each good checkpoint is what its container is restored from, before and without the store; then it is stored from its slot."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from reprise.archive.crypto import KeyUnavailable
from reprise.archive.testing import members
from reprise.contracts.errors import DamagedObject
from reprise.contracts.events import CheckpointFailed, CheckpointSkipped, CheckpointStaged, CheckpointStored
from reprise.contracts.model import Target
from reprise.contracts.records import RollbackRecord
from reprise.runtime.kv import container_key
from reprise.transfer import handlers as handlers_module
from reprise.transfer.testing import HOME, TARGET, WORKLOAD, Node


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers_module, "STORE_RETRY_S", 0.001)
    monkeypatch.setattr(handlers_module, "STORE_RETRY_MAX_S", 0.001)


async def both(node: Node, taken: Any) -> None:
    """As its two subscriptions do, in either order."""
    await asyncio.gather(node.handlers.on_taken(taken), node.handlers.on_upload(taken))


async def test_a_checkpoint_is_live_and_told_as_staged_before_it_is_stored(node: Node) -> None:
    taken = node.takes("1")
    await node.handlers.on_upload(taken)
    assert node.told.types() == ["staged", "stored"]
    assert node.shown() == ("1", "")
    staged, stored = node.told.of(CheckpointStaged)[0], node.told.of(CheckpointStored)[0]
    assert (staged.role, staged.reference, staged.pull_s, staged.warm) == ("own", f"{HOME}/1", 0.0, True)
    assert stored.pause_s == 0.14
    assert list(node.checkpoints.iterdir()) == [], "the runtime's stub"


async def test_the_newest_two_stay_on_the_node(node: Node) -> None:
    for name in ("1", "2", "3", "4"):
        await both(node, node.takes(name))
    assert node.shown() == ("4", "3")
    assert node.lie_there() == {"3", "4"}
    assert [m.checkpoint_id for m in node.repository.list_manifests(WORKLOAD, "counter")] == ["4", "3", "2", "1"]


async def test_what_may_not_be_restored_is_told_with_its_first_checkpoint_and_once(node: Node, monkeypatch: Any) -> None:
    """And again once it is another volume; what has none is told nothing."""
    facts = {"1": {}, "2": {"sized": ("/data",)}, "3": {"sized": ("/data",)}, "4": {"sized": ("/cache",), "emptied": ("/cache",)}}
    write = node.repository.write_archive

    def written(*args: Any, checkpoint_id: str, **named: Any) -> Any:
        manifest = write(*args, checkpoint_id=checkpoint_id, **named)
        return manifest.model_copy(update={"facts": manifest.facts.model_copy(update=facts[checkpoint_id])})

    monkeypatch.setattr(node.repository, "write_archive", written)
    for name, told in zip(facts, (0, 1, 1, 2), strict=True):
        await node.handlers.on_upload(node.takes(name))
        assert len(node.told.recorded) == told
    (first, second) = node.told.recorded
    assert (first[0], "volume at /data" in first[1], "starts cold" in first[1], "emptyDir" in first[1]) == (
        "MayStartCold", True, True, False,
    )  # fmt: skip
    assert "emptyDir at /cache" in second[1]


async def test_a_held_checkpoint_is_live_too(node: Node) -> None:
    await node.handlers.on_taken(node.takes("1", held=True, trigger="move"))
    assert node.shown() == ("1", "")


async def test_what_is_taken_of_an_instance_that_is_given_up_is_stored_and_not_live(node: Node) -> None:
    """Somebody goes back to 1 while 2 is being taken: the container is ended, and must not come back from 2."""
    await both(node, node.takes("1"))
    name = container_key(WORKLOAD, "counter")
    await node.rollbacks.put(name, RollbackRecord(failover_id="rs-1", node="n1", checkpoint_id="1", ready=True))
    await both(node, node.takes("2"))
    assert node.shown() == ("1", "")
    assert node.told.types()[-1:] == ["stored"]
    await node.rollbacks.delete(name)
    await both(node, node.takes("3"))
    assert node.shown() == ("3", "1")


async def test_a_rollback_on_another_node_is_nothing_to_this_one(node: Node) -> None:
    other = RollbackRecord(failover_id="rs-1", node="n2", checkpoint_id="1", ready=True)
    await node.rollbacks.put(container_key(WORKLOAD, "counter"), other)
    await both(node, node.takes("2"))
    assert node.shown() == ("2", "")


@pytest.mark.usefixtures("waits")
async def test_while_the_store_is_away_the_slot_is_live_and_the_upload_is_tried_until_it_is_back(node: Node) -> None:
    node.store.away = True
    taken = node.takes("1")
    await node.handlers.on_taken(taken)
    upload = asyncio.create_task(node.handlers.on_upload(taken))
    await asyncio.sleep(0.1)
    assert not upload.done()
    assert node.shown() == ("1", "")
    assert node.told.of(CheckpointStored) == []
    node.store.away = False
    await upload
    assert [event.checkpoint_id for event in node.told.of(CheckpointStored)] == ["1"]


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("what", ["its key is away", "another upload's object in the store is damaged"])
async def test_what_is_not_the_slots_fault_leaves_it_live_is_told_once_and_the_upload_is_tried_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise KeyUnavailable(what) if "key" in what else DamagedObject(what)

    write = node.repository.write_archive
    await both(node, node.takes("1"))
    monkeypatch.setattr(node.repository, "write_archive", fails)
    taken = node.takes("2")
    await node.handlers.on_taken(taken)
    upload = asyncio.create_task(node.handlers.on_upload(taken))
    await asyncio.sleep(0.1)
    assert not upload.done()
    assert node.shown() == ("2", "1")
    assert [reason for reason, message in node.told.recorded if what in message] == ["CheckpointFailed"]
    monkeypatch.setattr(node.repository, "write_archive", write)
    await upload
    assert [event.checkpoint_id for event in node.told.of(CheckpointStored)] == ["1", "2"]
    assert node.told.of(CheckpointFailed) == []


@pytest.mark.usefixtures("waits")
async def test_a_long_outage_of_the_store_fills_no_disk_and_stops_no_newer_checkpoint(node: Node) -> None:
    node.store.away = True
    uploads = []
    for name in ("1", "2", "3", "4", "5"):
        taken = node.takes(name)
        await node.handlers.on_taken(taken)
        uploads.append(asyncio.create_task(node.handlers.on_upload(taken)))
        await asyncio.sleep(0.1)
    assert node.shown() == ("5", "4")
    assert node.lie_there() == {"4", "5"}
    node.store.away = False
    await asyncio.gather(*uploads)
    assert {event.checkpoint_id for event in node.told.of(CheckpointStored)} == {"4", "5"}
    assert {event.checkpoint_id for event in node.told.of(CheckpointSkipped)} == {"1", "2", "3"}
    assert node.told.of(CheckpointFailed) == []


async def test_an_upload_that_goes_on_keeps_its_slot(node: Node) -> None:
    first = node.takes("1")
    left = 0

    def step(verb: str, key: str) -> None:
        nonlocal left
        if verb == "put" and key.startswith("packs/") and not left:
            for name in ("2", "3", "4"):
                asyncio.run_coroutine_threadsafe(node.handlers.on_taken(node.takes(name)), loop).result(10)
            left = len(node.lie_there())

    loop, node.store.step = asyncio.get_running_loop(), step
    await node.handlers.on_upload(first)
    assert left == 3
    assert [event.checkpoint_id for event in node.told.of(CheckpointStored)] == ["1"]


@pytest.mark.parametrize("missing", ["checkpoint/inventory.img", "spec.dump", "stats-dump"])
async def test_a_slot_that_is_not_whole_is_never_live_and_is_told_with_its_reason(node: Node, missing: str) -> None:
    await both(node, node.takes("1"))
    taken = node.takes("2")
    (node.slots.path(HOME, "2") / missing).unlink()
    await node.handlers.on_taken(taken)
    assert node.shown() == ("1", "")
    assert node.lie_there() == {"1"}
    assert node.told.of(CheckpointFailed)[0].reason == "BadArchive"


async def test_a_slot_of_another_container_is_refused(node: Node) -> None:
    taken = node.takes("1")
    (node.slots.path(HOME, "1") / "config.dump").write_bytes(members("other")["config.dump"])
    await node.handlers.on_taken(taken)
    assert node.told.of(CheckpointFailed)[0].reason == "OtherContainer"
    assert node.shown() == ("", "")


async def test_what_is_found_damaged_at_its_upload_is_taken_back_and_the_one_before_is_live_again(node: Node) -> None:
    await both(node, node.takes("1"))
    taken = node.takes("2")

    def step(verb: str, key: str) -> None:
        if verb == "put" and key.startswith("packs/"):
            (node.slots.path(HOME, "2") / "dump.log").write_bytes(b"somebody wrote into it")

    await node.handlers.on_taken(taken)
    assert node.shown() == ("2", "1")
    node.store.step = step
    await node.handlers.on_upload(taken)
    assert node.told.of(CheckpointFailed)[0].checkpoint_id == "2"
    assert node.shown() == ("1", "")
    assert node.lie_there() == {"1"}


async def test_nats_may_be_away_meanwhile_and_then_it_is_told_again(node: Node) -> None:
    taken = node.takes("1")
    node.told.away = True
    with pytest.raises(TimeoutError):
        await node.handlers.on_upload(taken)
    assert node.shown() == ("1", "")
    node.told.away = False
    await node.handlers.on_upload(taken)
    assert node.told.types() == ["staged", "stored"]
    assert len(node.repository.list_manifests(WORKLOAD, "counter")) == 1


async def test_a_slot_that_vanished_is_told(node: Node) -> None:
    taken = node.takes("1")
    node.slots.remove(HOME, "1")
    await node.handlers.on_taken(taken)
    assert node.told.of(CheckpointFailed)[0].reason == "SlotGone"


async def test_the_pause_that_is_counted_is_the_real_one_beside_criu_s(node: Node) -> None:
    def total(name: str) -> float:
        return REGISTRY.get_sample_value(f"reprise_checkpoint_{name}_seconds_sum") or 0.0

    before = total("pause"), total("criu_frozen")
    await node.handlers.on_upload(node.takes("1"))
    await node.handlers.on_upload(node.takes("2", pause_s=None))
    assert total("pause") - before[0] == pytest.approx(0.14)
    assert total("criu_frozen") - before[1] == pytest.approx(0.003)


class TestFailed:
    async def test_a_failed_checkpoint_removes_its_own_slot_and_stub_and_nothing_else(self, node: Node) -> None:
        await both(node, node.takes("1"))
        failed, waiting = node.takes("2"), node.takes("3")
        for _ in range(2):
            await node.handlers.on_failed(node.fails(failed))
        assert node.lie_there() == {"1", "3"}
        assert [path.name for path in node.checkpoints.iterdir()] == ["checkpoint-3.tar"]
        await node.handlers.on_taken(waiting)
        assert node.shown() == ("3", "1")

    @pytest.mark.parametrize(
        "slot",
        [
            "",
            "/",
            "..",
            f"{HOME}/1",
            f"{HOME}/../counter/1",
            f"{HOME}/live",
            "ns/u2/counter/2",
            f"{HOME}",
            "/etc",
            f"{HOME}/2/../1",
        ],
    )
    async def test_a_slot_that_is_not_its_own_is_left_alone(self, node: Node, slot: str) -> None:
        await both(node, node.takes("1"))
        failed = node.takes("2")
        other = node.slots.path("ns/u2/counter/2")
        other.mkdir(parents=True)
        await node.handlers.on_failed(node.fails(failed, slot))
        assert node.lie_there() == {"1", "2"}
        assert node.shown() == ("1", "")
        assert other.is_dir()

    async def test_what_was_told_as_good_is_not_removed_by_a_late_failure(self, node: Node) -> None:
        taken = node.takes("1")
        await both(node, taken)
        await node.handlers.on_failed(node.fails(taken))
        assert node.shown() == ("1", "")


@pytest.mark.parametrize("slot", ["", "/etc", f"{HOME}/../counter/1", f"{HOME}/live", "ns/u2/counter/2", f"{HOME}/1"])
async def test_a_checkpoint_that_names_another_slot_is_refused_and_nothing_is_touched(node: Node, slot: str) -> None:
    await both(node, node.takes("1"))
    node.slots.path("ns/u2/counter/2").mkdir(parents=True)
    taken = node.takes("2", slot=slot)
    await both(node, taken)
    assert {event.reason for event in node.told.of(CheckpointFailed)} == {"ForeignSlot"}
    assert node.lie_there() == {"1", "2"}
    assert node.shown() == ("1", "")
    assert node.slots.path("ns/u2/counter/2").is_dir()


async def test_names_in_a_target_lead_nowhere(node: Node) -> None:
    outside = node.folder / "victim"
    outside.mkdir()
    target = Target.model_construct(node="n1", pod="p", pod_uid="..", container="..", container_id="c1")
    taken = node.takes("1", target=target, slot="ns/../../victim", checkpoint_id="victim")
    await both(node, taken)
    await node.handlers.on_failed(node.fails(taken, "ns/../../victim").model_copy(update={"target": target}))
    assert outside.is_dir()
    assert TARGET.pod_uid == "u1"


async def test_the_kubelets_stub_is_removed_only_in_its_folder(node: Node) -> None:
    victim = node.folder / "checkpoint-victim.tar"
    victim.touch()
    for path in (str(victim), f"{node.checkpoints}/../checkpoint-victim.tar", "/etc/passwd"):
        await node.handlers.on_taken(node.takes("1", archive_path=path))
    assert victim.exists()
    assert Path("/etc/passwd").exists()
    assert node.shown() == ("1", "")
