"""A state that a program handed out is kept, stored and staged like any checkpoint."""

from pathlib import Path

from reprise.archive.testing import MemoryStore, state_members, write_slot
from reprise.contracts.events import CheckpointFailed, CheckpointStaged, CheckpointStored, CheckpointTaken
from reprise.transfer.testing import HOME, Node, built


def takes(node: Node, name: str, state: bytes = b"{}", container_id: str = "c1") -> CheckpointTaken:
    taken = node.takes(name, archive_path="", pause_s=None, kind="http")
    slot = node.slots.path(HOME, name)
    for path in sorted(slot.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    write_slot(slot, state_members(state, container_id, checkpoint_id=name))
    return taken


async def test_it_is_live_on_its_node_and_stored(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.handlers.on_upload(takes(node, "1"))
    (stored,) = node.told.of(CheckpointStored)
    assert (stored.kind, stored.pause_s, node.shown()) == ("http", None, ("1", ""))


async def test_a_standby_with_either_runtime_holds_it_byte_for_byte(tmp_path: Path) -> None:
    store = MemoryStore()
    own, standby = Node(tmp_path / "own", store), Node(tmp_path / "standby", store)
    standby.runtime.name = "containerd"
    for name, state in (("1", b"one" * 1000), ("2", b"two" * 1000)):
        await own.handlers.on_upload(takes(own, name, state))
        await standby.staging.on_image(built(name))
    assert [event.checkpoint_id for event in standby.told.of(CheckpointStaged)] == ["1", "2"]
    assert standby.content("2") == own.content("2") == state_members(b"two" * 1000, checkpoint_id="2")
    assert standby.shown() == ("2", "1")
    assert not (standby.slots.path(HOME, "2") / "checkpoint").exists()


async def test_the_newest_n_are_kept(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for name in ("1", "2", "3"):
        await node.handlers.on_upload(takes(node, name).model_copy(update={"keep": 2}))
    kept = {key.split("/")[-2] for key in node.store.objects if key.endswith("manifest.json")}
    assert kept == {"2", "3"}


async def test_one_of_another_container_is_not_made_live(tmp_path: Path) -> None:
    node = Node(tmp_path)
    await node.handlers.on_upload(takes(node, "1"))
    await node.handlers.on_upload(takes(node, "2", container_id="c0"))
    assert len(node.told.of(CheckpointFailed)) == 1
    assert node.shown() == ("1", "")
