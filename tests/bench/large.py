"""A process of 1 GiB that dirties 5 % of its pages each 10 s: what its standby pays, and what that buys when its node dies."""

import json
import os
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from reprise_lab import counter, faults
from reprise_lab.shell import LabError, kubectl, poll, reprise
from reprise_lab.witness import MEASURES_S, Witness
from rich.progress import Progress
from rows import MIB, Row, daemons_ready

NAMESPACE = "bench-standby"
STANDBY = "n2"
BALLOON_MIB = 1024
INTERVAL_S = 10
DIRTY = 0.05
DIRTY_PAGES = round(BALLOON_MIB * MIB / 4096 * DIRTY / (INTERVAL_S * 10))
"""At each of the counter's ticks, ten a second."""
STAGINGS = 6
LOSSES = 3


@dataclass(frozen=True)
class Spent:
    """Of transfer on the standby. cpu_s: of one core; written: bytes given to the disk."""

    cpu_s: float
    written: int

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.cpu_s - other.cpu_s, self.written - other.written)


def spent() -> Spent:
    pids = transfer_pids()
    return Spent(cpu_s(pids), sum(written_bytes(pid) for pid in pids))


def transfer_pids() -> list[int]:
    pods = json.loads(kubectl("-n", "reprise-system", "get", "pods", "-l", "app.kubernetes.io/name=transfer", "-o", "json"))
    pod = next(pod for pod in pods["items"] if pod["spec"]["nodeName"] == STANDBY)
    return faults.container_pids(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2])


def cpu_s(pids: list[int]) -> float:
    """User and system time, children that ended included."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(ticks) for found in fields for ticks in found[11:15]) / os.sysconf("SC_CLK_TCK")


def written_bytes(pid: int) -> int:
    lines = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(lines["write_bytes"]) - int(lines["cancelled_write_bytes"])


def staged() -> list[dict[str, Any]]:
    rows = counter.console(f"events?namespace={NAMESPACE}&type=checkpoint.staged&limit=500")
    return [row["data"] for row in reversed(rows) if row["data"]["role"] == "standby"]


def large(progress: Progress) -> list[Row]:
    task = progress.add_task("1 GiB: standby, then its node is lost", total=STAGINGS + 2 + LOSSES)
    env = {"BALLOON_MIB": str(BALLOON_MIB), "DIRTY_PAGES": str(DIRTY_PAGES)}
    counter.deploy(NAMESPACE, annotations={"reprise.dev/interval": f"{INTERVAL_S}s"}, env=env)
    try:
        counter.wait_protected(NAMESPACE, 240)
        warm = len(staged()) + 2  # so that only what changes is fetched
        poll(240, lambda: len(staged()) >= warm, "the standby to hold it", 0.2)
        progress.advance(task, 2)
        return standby(progress, task) + node_lost(progress, task)
    finally:
        faults.power_on("n1")
        poll(60, daemons_ready, "Reprise on n1", 0.5)
        counter.remove(NAMESPACE)


def standby(progress: Progress, task: Any) -> list[Row]:
    before, first, began, ticks = spent(), len(staged()), time.monotonic(), counter.state(NAMESPACE)["count"]
    for number in range(1, STAGINGS + 1):
        poll(90, lambda number=number: len(staged()) >= first + number, "a staging on the standby", 0.2)  # type: ignore[misc]
        progress.advance(task)
    took_s, cost = time.monotonic() - began, spent() - before
    found = staged()[first : first + STAGINGS]
    dirty = (counter.state(NAMESPACE)["count"] - ticks) * DIRTY_PAGES * 4096
    share = cost.cpu_s / took_s * 100
    slots = statistics.mean(event["bytes_written"] for event in found)
    fetched = statistics.mean(event["bytes_fetched"] for event in found)
    took = statistics.median(event["pull_s"] for event in found)
    how = f"{STAGINGS} checkpoints in {took_s:.0f} s, {dirty / MIB:.0f} MiB dirtied"
    return [
        Row("staging.cpu_pct", share, "% of a core", "<= 10",
            f"transfer {cost.cpu_s:.1f} s of processor time; staged in {took:.2f} s", how),
        Row("staging.written_vs_dirty", cost.written / dirty, "x", "<= 3",
            f"fetched {fetched / MIB:.0f} MiB, slot {slots / MIB:.0f} MiB a checkpoint", f"write_bytes of transfer; {how}"),
    ]  # fmt: skip


def node_lost(progress: Progress, task: Any) -> list[Row]:
    """Its kubelet looks at its runtime once a second: when that comes is luck, so the median of some losses is told."""
    lost = []
    for number in range(1, LOSSES + 1):
        lost.append(lose(number))
        progress.advance(task)
        if number < LOSSES:
            go_home()
    ratios = [took / criu for took, criu, _ in lost]
    told = ", ".join(f"{took:.2f}" for took, _, _ in lost)
    return [
        Row("recovery.large_vs_criu", statistics.median(ratios), "x", "<= 1.2",
            f"fence to serving {told} s, from the power cut {statistics.median(cut for _, _, cut in lost):.2f}; "
            f"CRIU's own restore {statistics.median(criu for _, criu, _ in lost):.2f}",
            f"{BALLOON_MIB} MiB of memory, staged; its node powered off, median of {LOSSES}"),
    ]  # fmt: skip


def lose(number: int) -> tuple[float, float, float]:
    """Seconds from the fence to serving, of CRIU's own restore, and from the power cut to serving."""
    with Witness(NAMESPACE, every_s=MEASURES_S) as witness:
        run, began, clock = witness.last().run, time.monotonic(), time.time() - time.monotonic()
        faults.power_off("n1")
        served_at = witness.after_gap(run, began, 120).at + clock
        row = counter.wait_failover(NAMESPACE, "node-loss", count=number)
    events = counter.console(f"events?namespace={NAMESPACE}&type=failover.fenced&limit=1")
    if row["state"] != "completed" or not events:
        raise LabError(f"the failover of {NAMESPACE} ended {row['state']}: {row.get('message')}")
    fenced_at = datetime.fromisoformat(events[0]["at"]).timestamp()
    restores = counter.console(f"restores?namespace={NAMESPACE}&node={STANDBY}&limit=1")
    if not restores:
        raise LabError(f"the restore of {NAMESPACE} on {STANDBY} was not told")
    return served_at - fenced_at, restores[0]["restore_time_us"] / 1e6, served_at - clock - began


def go_home() -> None:
    """Back to n1, and until its standby holds it again."""
    faults.power_on("n1")
    poll(60, daemons_ready, "Reprise on n1", 0.5)
    done = reprise("move", f"{NAMESPACE}/counter", "--to", "n1")
    if done.returncode:
        raise LabError(f"it does not move back: {done.stderr}")
    counter.wait_protected(NAMESPACE, 240)
    warm = len(staged()) + 2
    poll(240, lambda: len(staged()) >= warm, "the standby to hold it", 0.2)
