"""The hardware watchdog: petted only while it is safe, disarmed by a planned end, and no harm where it is missing."""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import looptime
import pytest
from reprise.health_watcher.adapters import watchdog
from reprise.health_watcher.adapters.watchdog import Watchdog


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in its place; its driver has 8 s at most."""
    path = tmp_path / "watchdog"
    path.touch()

    def ioctl(file: int, request: int, seconds: bytes) -> bytes:
        assert request == watchdog.WDIOC_SETTIMEOUT
        return struct.pack("i", min(8, struct.unpack("i", seconds)[0]))

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    return path


def run_for(dog: Watchdog, seconds: float, safe: Callable[[], bool] = lambda: True) -> None:
    async def scene() -> None:
        task: asyncio.Task[Any] = asyncio.create_task(dog.run(safe))
        await asyncio.sleep(seconds)
        task.cancel()

    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(scene())
    finally:
        loop.close()


def test_it_is_petted_while_it_is_safe_and_left_alone_while_it_is_not(device: Path) -> None:
    safe = [True]
    dog = Watchdog(str(device), 10)
    dog.arm()
    assert dog.armed_s == 8, "the driver's word counts"
    run_for(dog, 2.2, lambda: safe[0])
    petted = device.read_bytes()
    assert petted == b"\0" * 5
    safe[0] = False
    run_for(dog, 5, lambda: safe[0])
    assert device.read_bytes() == petted


def test_a_planned_end_of_the_agent_disarms_it(device: Path) -> None:
    dog = Watchdog(str(device), 10)
    dog.arm()
    dog.disarm()
    assert device.read_bytes() == b"V"
    assert dog.armed_s == 0


@pytest.mark.parametrize("name", ["", "/nowhere/watchdog"])
def test_without_one_the_agent_runs_as_ever(name: str) -> None:
    dog = Watchdog(name, 10)
    dog.arm()
    run_for(dog, 2)
    dog.disarm()
    assert dog.armed_s == 0
