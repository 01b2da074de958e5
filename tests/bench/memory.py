"""Resident memory of each service, idle and while a checkpoint of 4 GiB moves."""

import json
import os
import threading
from pathlib import Path

from reprise_lab import counter, faults
from reprise_lab.shell import kubectl, poll
from rich.progress import Progress
from rows import MIB, Row

BALLOON_MIB = 4096


def resident_mib() -> dict[str, float]:
    """Of each service, the largest of its pods."""
    found: dict[str, float] = {}
    for pod in json.loads(
        kubectl("-n", "reprise-system", "get", "pods", "-l", "app.kubernetes.io/part-of=reprise", "-o", "json")
    )["items"]:
        name, total = pod["metadata"]["labels"]["app.kubernetes.io/name"], 0.0
        for status in pod["status"].get("containerStatuses", []):
            for pid in faults.container_pids(pod["metadata"]["uid"], status.get("containerID", "").rpartition("/")[2]):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE") / MIB
        found[name] = max(found.get(name, 0.0), total)
    return found


def memory(progress: Progress) -> list[Row]:
    """Idle, then the peak while checkpoints of a 4 GiB process are taken, stored, staged on both nodes and restored."""
    task = progress.add_task(f"memory while moving {BALLOON_MIB} MiB", total=2)
    idle = resident_mib()
    progress.advance(task)
    peak = dict(idle)
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.2):
            for name, value in resident_mib().items():
                peak[name] = max(peak.get(name, 0.0), value)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    counter.deploy("bench-large", annotations={"reprise.dev/interval": "120s"}, env={"BALLOON_MIB": str(BALLOON_MIB)})
    try:
        poll(480, lambda: stored_bytes() > BALLOON_MIB * MIB, "its checkpoint to be stored and staged", 0.5)
        counter.wait_protected("bench-large", 300)
        size = stored_bytes()
    finally:
        done.set()
        sampler.join()
        counter.remove("bench-large")
    progress.advance(task)
    how = f"resident, sampled each 0.2 s, archive of {size / MIB:.0f} MiB"
    return [
        Row(
            f"memory.{name}_mib",
            peak[name],
            "MiB",
            "<= 256" if name == "transfer" else "",
            f"idle {idle.get(name, 0):.0f} MiB",
            how,
        )
        for name in sorted(peak)
    ]


def stored_bytes() -> int:
    """Of the largest checkpoint that is live on its node."""
    rows = counter.console("checkpoints?namespace=bench-large&state=stored&limit=20")
    return max((row["size_bytes"] or 0 for row in rows if row["held_at"]), default=0)
