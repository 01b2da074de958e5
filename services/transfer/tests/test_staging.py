"""A checkpoint lies ready in a slot of its standby, byte for byte as on its own node; what may be restored is never changed."""

import os
import stat
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reprise.archive.identity import PAGE
from reprise.archive.testing import MemoryStore, build, members, slot_members, write_slot
from reprise.contracts.events import CheckpointFailed, CheckpointStaged, StandbyRefused
from reprise.runtime.nodefiles import ContainerVerdict, PodFile
from reprise.transfer import staging as staging_module
from reprise.transfer.adapters import filling
from reprise.transfer.decide import staging_limitation
from reprise.transfer.testing import HOME, TARGET, WORKLOAD, Node, built, memory


class Two:
    """A node that runs it, and its standby."""

    def __init__(self, folder: Path) -> None:
        store = MemoryStore()
        self.own, self.standby = Node(folder / "own", store), Node(folder / "standby", store)

    async def checkpoint(self, name: str, pages: bytes = b"") -> None:
        await self.own.handlers.on_upload(self.own.takes(name, pages))

    async def stage(self, name: str, pages: bytes = b"") -> CheckpointStaged:
        await self.checkpoint(name, pages)
        await self.standby.staging.on_image(built(name))
        found: CheckpointStaged = self.standby.told.of(CheckpointStaged)[-1]
        return found


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


async def test_a_standby_holds_what_the_own_node_holds_byte_for_byte(two: Two) -> None:
    staged = await two.stage("1", os.urandom(300 * PAGE))
    assert two.standby.content("1") == two.own.content("1")
    assert two.standby.shown() == ("1", "")
    assert (staged.role, staged.reference, staged.node, staged.warm) == ("standby", f"{HOME}/1", "n2", True)
    assert staged.bytes_fetched > 300 * PAGE
    assert staged.bytes_written > 300 * PAGE


async def test_only_roots_own_may_read_a_slot(two: Two) -> None:
    await two.stage("1")
    home = two.standby.slots.path(HOME)
    for path in (home.parent.parent, home.parent, home, *home.rglob("*")):
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_a_newer_one_costs_what_changed_once_there_is_a_spare(two: Two) -> None:
    first = os.urandom(300 * PAGE)
    pages = [first, first[: 7 * PAGE] + os.urandom(PAGE) + first[8 * PAGE :]]
    pages.append(pages[1][: 99 * PAGE] + os.urandom(2 * PAGE) + pages[1][101 * PAGE :])
    pages += [pages[2][: 200 * PAGE] + os.urandom(PAGE) + pages[2][201 * PAGE :], pages[2]]
    written = []
    for name, content in zip("12345", pages, strict=True):
        written.append((await two.stage(name, content)).bytes_written)
        assert two.standby.content(name) == two.own.content(name)
        assert two.standby.shown()[0] == name
    assert two.standby.shown() == ("5", "4")
    assert written[0] > 300 * PAGE
    assert all(count < 30 * PAGE for count in written[3:]), written
    assert len(two.standby.lie_there()) <= 3


@pytest.fixture(params=["cloned", "spare", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the pages that did not change come into the new slot; cloning is imitated, where the file system cannot."""

    def clone(source: int, fd: int) -> bool:
        if request.param == "cloned":
            os.pwrite(fd, os.pread(source, os.fstat(source).st_size, 0), 0)
        return bool(request.param == "cloned")

    monkeypatch.setattr(filling, "_clone", clone)
    if request.param == "copied":
        monkeypatch.setattr("reprise.transfer.adapters.slots.Slots.spare", lambda *_: "")
    return str(request.param)


labels = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(st.lists(labels, min_size=2, max_size=5), st.data())
async def test_any_sequence_of_memories_is_staged_exactly_and_live_slots_are_not_touched(
    tmp_path_factory: pytest.TempPathFactory, way: str, memories: list[list[int]], data: st.DataObject
) -> None:
    two = Two(tmp_path_factory.mktemp("two"))
    for number, found in enumerate(memories):
        before = {name: two.standby.content(name) for name in two.standby.slots.shown(HOME)}
        inodes = {name: two.standby.slots.path(HOME, name).stat().st_ino for name in before}
        await two.checkpoint(str(number), memory(*found))
        if number and data.draw(st.booleans()):
            continue  # this one is not staged
        await two.standby.staging.on_image(built(str(number)))
        assert two.standby.content(str(number)) == two.own.content(str(number)), way
        for name, content in before.items():
            path = two.standby.slots.path(HOME, name)
            assert not path.exists() or (two.standby.content(name), path.stat().st_ino) == (content, inodes[name])


async def test_a_spare_that_a_restore_still_reads_is_left_to_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "_clone", lambda *_: False)
    for name in ("1", "2", "3"):
        await two.stage(name, memory(*range(20), int(name)))
    assert two.standby.slots.spare(HOME) == "1"
    content = two.standby.content("1")["checkpoint/pages-1.img"]
    with (two.standby.slots.path(HOME, "1") / "checkpoint/pages-1.img").open("rb") as criu:
        await two.stage("4", memory(*range(50, 71)))
        assert criu.read() == content
    assert two.standby.content("4") == two.own.content("4")


async def test_a_staging_that_is_interrupted_leaves_nothing_and_what_was_live_stays(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1", "2", "3"):
        await two.stage(name, memory(*range(20), int(name)))
    await two.checkpoint("4", memory(*range(40)))
    real, calls = filling.sync, []

    def full(folder: Path) -> None:
        calls.append(folder)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filling, "sync", full)
    with pytest.raises(OSError, match="No space"):
        await two.standby.staging.on_image(built("4"))
    assert calls
    assert two.standby.shown() == ("3", "2")
    assert two.standby.lie_there() <= {"1", "2", "3"}
    monkeypatch.setattr(filling, "sync", real)
    await two.standby.staging.on_image(built("4"))
    assert two.standby.content("4") == two.own.content("4")


async def test_of_several_that_come_at_once_older_ones_are_not_staged_any_more(two: Two) -> None:
    await two.checkpoint("1")
    await two.checkpoint("2")
    await two.standby.staging.on_image(built("2"))
    await two.standby.staging.on_image(built("1"))
    assert two.standby.shown() == ("2", "")
    assert two.standby.lie_there() == {"2"}


async def test_what_a_failover_asks_its_standby_for_is_staged_though_a_newer_one_is_there(two: Two) -> None:
    """The newest was rejected: what came of it ended soon."""
    for name in ("1", "2", "3"):
        await two.stage(name)
    two.standby.slots.forget(HOME)
    await two.standby.staging.on_image(built("3"))
    await two.standby.staging.on_image(built("1", asked_by="fo-1"))
    assert two.standby.shown() == ("1", "3")
    assert two.standby.told.of(CheckpointStaged)[-1].checkpoint_id == "1"


async def test_a_slot_that_is_there_already_is_told_again_and_not_written(two: Two) -> None:
    await two.stage("1")
    await two.standby.staging.on_image(built("1"))
    assert [event.bytes_written > 0 for event in two.standby.told.of(CheckpointStaged)] == [True, False]


async def test_where_only_chunks_are_wanted_no_slot_is_written(two: Two) -> None:
    await two.checkpoint("1")
    await two.standby.staging.on_image(built("1", prestage="chunks"))
    assert not two.standby.told.of(CheckpointStaged)[0].warm
    assert two.standby.lie_there() == set()


class TestAskedForOnItsOwnNode:
    async def test_an_older_checkpoint_is_fetched_and_made_live(self, two: Two) -> None:
        for name in ("1", "2", "3", "4"):
            await two.checkpoint(name, memory(int(name)))
        assert two.own.lie_there() == {"3", "4"}
        await two.own.staging.on_image(built("1", "own", "n1"))
        assert two.own.shown() == ("1", "4")
        assert two.own.content("1")["checkpoint/pages-1.img"] == memory(1)
        assert two.own.told.of(CheckpointStaged)[-1].checkpoint_id == "1"

    async def test_one_that_lies_there_is_made_live_as_it_is(self, two: Two) -> None:
        for name in ("1", "2"):
            await two.checkpoint(name)
        two.own.store.away = True
        await two.own.staging.on_image(built("1", "own", "n1"))
        assert two.own.shown() == ("1", "2")

    async def test_the_next_checkpoint_is_newer_than_both(self, two: Two) -> None:
        for name in ("1", "2"):
            await two.checkpoint(name)
        await two.own.staging.on_image(built("1", "own", "n1"))
        await two.checkpoint("3")
        assert two.own.shown() == ("3", "1")
        assert two.own.lie_there() == {"1", "3"}


async def test_an_archive_from_before_the_engine_becomes_a_slot_of_known_members_only(two: Two, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-1.tar"
    odd = {"checkpoint/sub/core-1.img": b"deeper", "rootfs/etc/passwd": b"x", ".hidden": b"y", "checkpoint/.up": b"z"}
    path.write_bytes(build(members() | odd))
    two.own.repository.write_archive(path, checkpoint_id="1", workload=WORKLOAD, target=TARGET, trigger="interval")
    await two.standby.staging.on_image(built("1"))
    assert set(two.standby.content("1")) == set(slot_members())
    assert b'"runtime": "cri-o"' in two.standby.content("1")["slot.json"]


@pytest.mark.parametrize("changed", [{"checkpoint_id": "../../x"}, {"target": TARGET.model_copy(update={"pod_uid": ".."})}])
async def test_names_in_an_event_lead_nowhere(two: Two, changed: dict[str, object]) -> None:
    await two.checkpoint("1")
    await two.standby.staging.on_image(built("1", **changed))
    assert two.standby.told.events == []
    assert list(two.standby.slots.root.iterdir()) == []


async def test_a_damaged_checkpoint_is_healed_by_who_has_it_and_else_told(two: Two) -> None:
    await two.checkpoint("1", os.urandom(20 * PAGE))
    store = two.own.store
    for key in [key for key in store.objects if key.startswith("packs/")]:
        store.objects[key] = store.objects[key][:40] + b"other" + store.objects[key][45:]
    await two.standby.staging.on_image(built("1"))
    failed = two.standby.told.of(CheckpointFailed)[0]
    assert failed.reason == "DamagedObject"
    assert two.standby.lie_there() == set()
    await two.own.staging.on_damage(failed)
    await two.standby.staging.on_image(built("1"))
    assert two.standby.content("1") == two.own.content("1")


def test_a_node_says_why_it_cannot_hold_a_checkpoint_ready() -> None:
    def limit(runtime: str = "cri-o", free: int = 100) -> str:
        found = staging_limitation("cri-o", runtime, missing_bytes=50, free_bytes=free, spare_bytes=40)
        assert found is None or found.remedy
        return found.reason if found else ""

    assert limit() == ""
    assert limit(runtime="containerd") == "OtherRuntime"
    assert limit(free=80) == "DiskPressure"


async def test_under_disk_pressure_a_standby_refuses_and_nothing_is_written(two: Two, tmp_path: Path) -> None:
    await two.checkpoint("1")
    standby = Node(tmp_path / "full", two.own.store, spare_bytes=1 << 60)
    await standby.staging.on_image(built("1"))
    assert standby.told.of(StandbyRefused)[0].reason == "DiskPressure"
    assert list(standby.slots.root.iterdir()) == []


async def test_a_standby_of_another_runtime_refuses(two: Two) -> None:
    await two.checkpoint("1")
    two.standby.runtime.name = "containerd"
    await two.standby.staging.on_image(built("1"))
    assert two.standby.told.of(StandbyRefused)[0].reason == "OtherRuntime"


class TestSweep:
    """What is left of pods that are gone; never what a container may be restored from."""

    @pytest.fixture
    def node(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
        found = Node(tmp_path)
        self.now = 1000.0
        monkeypatch.setattr(staging_module.time, "monotonic", lambda: self.now)
        write_slot(found.slots.path(HOME, "1"))
        found.slots.promote(HOME, "1")
        os.utime(found.slots.path(HOME) / "live", (1, 1), follow_symlinks=False)
        return found

    async def after(self, node: Node, *seconds: float) -> bool:
        """Whether the slots are still there."""
        for passed in seconds:
            self.now += passed
            await node.staging.sweep_once(1800)
        return node.slots.path(HOME).is_dir()

    async def test_a_pod_that_was_gone_for_long_enough_leaves_nothing(self, node: Node) -> None:
        assert await self.after(node, 0, 1799)
        assert not await self.after(node, 2)
        assert list(node.slots.root.iterdir()) == []

    async def test_a_container_that_is_restarted_is_not_there_for_a_while_and_loses_nothing(self, node: Node) -> None:
        """Its kubelet backs off for minutes: at that moment the runtime has no container of it."""
        node.runtime.runs("u1")
        assert await self.after(node, 0, 86400)
        node.runtime.containers = []
        assert await self.after(node, 60, 300)
        node.runtime.runs("u1")
        assert await self.after(node, 60)
        node.runtime.containers = []
        assert await self.after(node, 1700, 60)

    async def test_what_a_moved_pod_may_be_restored_from_stays(self, node: Node) -> None:
        verdict = ContainerVerdict(verdict="restore", slots=("ns/u2", "ns/u1"))
        node.files.write_pod(PodFile(namespace="ns", pod="p2", uid="u2", containers={"counter": verdict}))
        assert await self.after(node, 0, 1801, 1801)
        node.files.remove_pod("u2")
        assert not await self.after(node, 0, 1801)

    async def test_a_standby_that_is_staged_to_again_and_again_stays(self, node: Node) -> None:
        assert await self.after(node, 0)
        os.utime(node.slots.path(HOME) / "live", (time.time(), time.time()), follow_symlinks=False)
        assert await self.after(node, 1801)
