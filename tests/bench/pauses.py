"""What a checkpoint costs a client: the silence that a witness hears, beside the pause as told and CRIU's own figure."""

import itertools
import shutil
import statistics
import time
from datetime import datetime
from typing import Any

import bare
from reprise_lab import counter
from reprise_lab.node import Node
from reprise_lab.shell import LabError, poll
from reprise_lab.witness import Witness
from rich.progress import Progress
from rows import Row, protected

CHECKPOINTS = 20
LARGE_MIB, LARGE_CHECKPOINTS = 1024, 3
AROUND_S = 0.15
"""A checkpoint's moments are of the node's agent, an answer's of the witness: one clock, some hundredths apart."""


def silence_s(witness: Witness, row: dict[str, Any]) -> float:
    """The longest silence while the kubelet was at this checkpoint. row: of the console's checkpoints."""
    ahead = time.time() - time.monotonic()
    begin = datetime.fromisoformat(row["kubelet_started_at"]).timestamp() - ahead
    end = begin + row["kubelet_s"] + AROUND_S
    heard = sorted(answer.at for answer in witness.history)
    gaps = [later - earlier for earlier, later in itertools.pairwise(heard) if later > begin - AROUND_S and earlier < end]
    if not gaps:
        raise LabError(f"nobody answered around checkpoint {row['checkpoint_id']}")
    return max(gaps)


def taken(namespace: str, count: int, progress: Progress, task: Any) -> list[dict[str, Any]]:
    """So many checkpoints that are asked for, one after the other; what had gone wrong is not counted."""
    newest = counter.wait_checkpoint(namespace, seconds=120)["checkpoint_id"]
    found = []
    for _ in range(count):
        time.sleep(1)
        counter.ask_checkpoint(namespace)
        row = counter.wait_checkpoint(namespace, after=newest, seconds=120)
        newest = row["checkpoint_id"]
        found.append(row)
        progress.advance(task)
    return found


def told(rows: list[dict[str, Any]]) -> str:
    whole = statistics.median(row["pause_s"] for row in rows) * 1000
    criu = statistics.median(row["frozen_time_us"] for row in rows) / 1000
    return f"told {whole:.0f} ms, CRIU's own {criu:.0f} ms"


def small(progress: Progress) -> list[Row]:
    task = progress.add_task("silence of a small process at a checkpoint", total=CHECKPOINTS)
    with protected("bench-pause", interval="1h") as witness:
        rows = taken("bench-pause", CHECKPOINTS, progress, task)
        silent = [silence_s(witness, row) * 1000 for row in rows]
    how = f"median of {CHECKPOINTS}, asked each 10 ms from outside; {min(silent):.0f}-{max(silent):.0f}"
    return [Row("pause.small_ms", statistics.median(silent), "ms", "<= 100", told(rows), how)]


def large(progress: Progress) -> list[Row]:
    task = progress.add_task("silence of a process of 1 GiB at a checkpoint", total=LARGE_CHECKPOINTS + 1)
    env = {"BALLOON_MIB": str(LARGE_MIB)}
    with protected("bench-pause-large", env=env, interval="1h") as witness:
        rows = taken("bench-pause-large", LARGE_CHECKPOINTS, progress, task)
        silent = [silence_s(witness, row) for row in rows]
    by_hand_s = dumped_by_hand(env)
    progress.advance(task)
    ours = statistics.median(silent)
    beside = f"{told(rows)}; by hand CRIU's dump takes {by_hand_s:.2f} s"
    how = f"median of {LARGE_CHECKPOINTS}, {LARGE_MIB} MiB, asked each 10 ms from outside"
    return [
        Row("pause.gib_s", ours, "s", "<= 0.8", beside, how),
        Row("pause.gib_vs_criu", ours / by_hand_s, "x", "<= 1.15", beside, how),
    ]


def dumped_by_hand(env: dict[str, str]) -> float:
    """CRIU's own time, of a kubelet's checkpoint of the same process with nothing of Reprise around it."""
    counter.deploy("bench-pause-bare", annotations=counter.PLAIN, env=env)
    try:
        poll(60, lambda: bool(counter.state("bench-pause-bare")), "it to answer", 0.5)
        pod = counter.pod("bench-pause-bare")
        slot = Node(pod["spec"]["nodeName"]).root / bare.SLOTS / "measured"
        with bare.configured(pod["spec"]["nodeName"]):
            stats = bare.checkpoint("bench-pause-bare", pod, slot)
        shutil.rmtree(slot, ignore_errors=True)
        return stats.frozen_time_us / 1e6
    finally:
        counter.remove("bench-pause-bare")
