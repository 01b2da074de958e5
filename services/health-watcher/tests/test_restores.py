"""CRIU's statistics of a restore are caught before CRI-O removes them, and told of what is protected."""

import asyncio
import contextlib
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from reprise.archive.criu import IMG_SERVICE_MAGIC, STATS_MAGIC
from reprise.archive.criu.stats_pb2 import stats_entry
from reprise.contracts.events import ContainerRestored
from reprise.contracts.model import RestoreStats, Workload
from reprise.health_watcher import restores as module
from reprise.health_watcher.adapters.restore_files import RestoreFiles
from reprise.health_watcher.restores import Restores

WORKLOAD = Workload(namespace="default", name="counter")


def image(restore_us: int) -> bytes:
    entry = stats_entry()
    entry.restore.pages_compared, entry.restore.pages_skipped_cow, entry.restore.pages_restored = 5, 1, 2210
    entry.restore.forking_time, entry.restore.restore_time = 21, restore_us
    body = entry.SerializeToString()
    return struct.pack("<III", IMG_SERVICE_MAGIC, STATS_MAGIC, len(body)) + body


@contextlib.asynccontextmanager
async def following(folder: Path, found: list[tuple[str, RestoreStats]]) -> Any:
    async def follow() -> None:
        async for each in RestoreFiles(str(folder)).follow():
            found.append(each)

    task = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_restore_is_caught_and_what_is_no_statistics_passes_by(tmp_path: Path) -> None:
    (tmp_path / "before" / "userdata").mkdir(parents=True)
    found: list[tuple[str, RestoreStats]] = []
    async with following(tmp_path, found):
        for number, data in enumerate((image(1000), b"garbage", b"", image(3000))):
            (tmp_path / f"c{number}" / "userdata").mkdir(parents=True)
            await asyncio.sleep(0.1)
            path = tmp_path / f"c{number}" / "userdata" / "stats-restore"
            with path.open("wb") as file:
                await asyncio.sleep(0.02)
                file.write(data)
            await asyncio.sleep(0.02)
            path.unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()
        await asyncio.sleep(0.1)
    assert [(name, stats.restore_time_us, stats.pages_restored) for name, stats in found] == [
        ("c0", 1000, 2210),
        ("c3", 3000, 2210),
    ]


async def test_a_node_without_such_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        async for _ in RestoreFiles(str(tmp_path / "nowhere")).follow():
            pass


class Told:
    def __init__(self) -> None:
        self.events: list[ContainerRestored] = []

    def announce(self, event: ContainerRestored, dedup_id: str) -> None:
        self.events.append(event)


class Files:
    def __init__(self, *found: str) -> None:
        self._found = found

    async def follow(self) -> Any:
        for name in self._found:
            yield name, RestoreStats(restore_time_us=7)
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    monkeypatch.setattr(module, "KNOWN_S", 0.5)


async def test_it_is_told_of_the_workload_once_that_has_adopted_the_pod_and_of_nobody_elses() -> None:
    told, pods = Told(), SimpleNamespace(pods={})

    async def listed() -> list[Any]:
        return [SimpleNamespace(id=name, pod_uid=f"{name}-uid", name="counter") for name in ("ours", "strangers")]

    cri = SimpleNamespace(list_containers=listed)
    running = asyncio.create_task(Restores("n1", Files("ours", "strangers", "gone"), cri, pods, told).run())  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert not told.events
    pods.pods["ours-uid"] = SimpleNamespace(
        name="counter-1", uid="ours-uid", workload=WORKLOAD, containers=(SimpleNamespace(name="counter"),)
    )
    await asyncio.sleep(0.6)
    running.cancel()
    (event,) = told.events
    assert (event.workload, event.target.pod, event.target.container_id, event.node) == (WORKLOAD, "counter-1", "ours", "n1")
