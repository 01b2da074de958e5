"""What a checkpoint costs a client: the silence that a witness hears, beside the pause as told and CRIU's own figure."""

import itertools
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """In turn with CRIU by hand; each once the one before is staged and the disk has nothing left to write."""
    task = progress.add_task("silence of a process of 1 GiB at a checkpoint, and by hand", total=2 * LARGE_CHECKPOINTS)
    env = {"BALLOON_MIB": str(LARGE_MIB)}
    rows, by_hand = [], []
    with protected("bench-pause-large", env=env, interval="1h") as witness, beside("bench-pause-bare", env) as bare_pod:
        newest = counter.wait_checkpoint("bench-pause-large", seconds=120)["checkpoint_id"]
        for _ in range(LARGE_CHECKPOINTS):
            settle("bench-pause-large", newest)
            counter.ask_checkpoint("bench-pause-large")
            rows.append(counter.wait_checkpoint("bench-pause-large", after=newest, seconds=120))
            newest = rows[-1]["checkpoint_id"]
            progress.advance(task)
            settle("bench-pause-large", newest)
            by_hand.append(dumped_by_hand(bare_pod))
            progress.advance(task)
        silent = [silence_s(witness, row) for row in rows]
    ours, theirs = statistics.median(silent), statistics.median(by_hand)
    beside_it = f"{told(rows)}; by hand CRIU's dump takes {theirs:.2f} s ({min(by_hand):.2f}-{max(by_hand):.2f})"
    how = f"median of {LARGE_CHECKPOINTS} in turn, {LARGE_MIB} MiB, asked each 10 ms; {min(silent):.2f}-{max(silent):.2f}"
    return [
        Row("pause.gib_s", ours, "s", "<= 0.8", beside_it, how),
        Row("pause.gib_vs_criu", ours / theirs, "x", "<= 1.15", beside_it, how),
    ]


def settle(namespace: str, checkpoint_id: str) -> None:
    """What staging takes of two cores, and what the disk still has to write, is not the next pause's."""

    def staged() -> bool:
        events = counter.console(f"events?namespace={namespace}&type=checkpoint.staged&limit=500")
        return any(event["data"]["checkpoint_id"] == checkpoint_id and event["data"]["role"] == "standby" for event in events)

    poll(180, staged, f"{checkpoint_id} to be staged", 0.5)
    os.sync()
    time.sleep(2)


@contextmanager
def beside(namespace: str, env: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The same process with nothing of Reprise around it."""
    counter.deploy(namespace, annotations=counter.PLAIN, env=env)
    try:
        counter.state(namespace, 60)
        yield counter.pod(namespace)
    finally:
        counter.remove(namespace)


def dumped_by_hand(pod: dict[str, Any]) -> float:
    """CRIU's own time, of a kubelet's checkpoint."""
    node, namespace = pod["spec"]["nodeName"], pod["metadata"]["namespace"]
    slot = Node(node).root / bare.SLOTS / "measured"
    with bare.configured(node):
        stats = bare.checkpoint(namespace, pod, slot)
    shutil.rmtree(slot)
    return stats.frozen_time_us / 1e6
