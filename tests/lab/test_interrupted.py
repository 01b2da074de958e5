"""Booting the lab, ended at any moment: `down` leaves nothing behind. Needs root, and the lab down before it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reprise_lab import cluster
from reprise_lab.paths import RUN

pytestmark = pytest.mark.lab
LAB = str(Path(sys.executable).parent / "reprise-lab")


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *words], capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def _down_before() -> None:
    if RUN.exists() and cluster.leftovers():
        pytest.fail("the lab is up: `make down` first; this test boots and ends it")


@pytest.mark.parametrize(
    ("seconds", "number", "runtime", "cgroup"),
    [
        (0.6, signal.SIGKILL, "containerd", "v2"),
        (2.0, signal.SIGINT, "crio", "v2"),
        (4.0, signal.SIGKILL, "containerd", "v1"),
        (5.5, signal.SIGKILL, "containerd", "v2"),
        (7.0, signal.SIGTERM, "crio", "v1"),
    ],
)
def test_a_boot_that_is_interrupted_leaves_nothing_after_down(
    seconds: float, number: signal.Signals, runtime: str, cgroup: str
) -> None:
    command = [LAB, "up", "--no-images", "--runtime", runtime, "--cgroup", cgroup]
    boot = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    os.kill(boot.pid, number)
    boot.wait(30)
    ended = lab("down")
    assert ended.returncode == 0, ended.stderr
    assert lab("status", "--leftovers").stdout.strip() == "nothing is left"
