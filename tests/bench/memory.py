"""Resident memory of each service, idle and while a checkpoint of 1 GiB moves."""

import json
import os
import threading
from pathlib import Path

from reprise_lab import counter, faults
from reprise_lab.shell import kubectl, poll
from rich.progress import Progress
from rows import MIB, Row


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
    """Idle, then the peak while checkpoints of a 1 GiB process are taken, stored, pulled back and restored."""
    task = progress.add_task("memory while moving 1 GiB", total=2)
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
    counter.deploy("bench-large", annotations={"reprise.dev/interval": "60s"}, env={"BALLOON_MIB": "1024"})
    try:
        poll(240, lambda: stored_bytes() > 1 << 30, "a checkpoint of 1 GiB", 0.5)
        counter.wait_armed("bench-large", 180)
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
    """Of the largest checkpoint that the node has pulled back."""
    rows = counter.console("checkpoints?namespace=bench-large&state=stored&limit=20")
    return max((row["size_bytes"] or 0 for row in rows if row["pull_s"] is not None), default=0)
