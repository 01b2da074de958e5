"""`make bench`: what was promised, measured on the lab. A table, and build/bench.json.

Baselines are run in turn with what they are compared to, in the same run: the machine is shared and noisy.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import bare
from reprise_lab import counter, faults
from reprise_lab.paths import CHECKOUT
from reprise_lab.shell import kubectl, poll
from reprise_lab.witness import Witness
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

CRASHES = 10
NODE_LOSSES = 2
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One figure. baseline: what it stands beside, in words and numbers; how: how it was measured."""

    name: str
    value: float | None
    unit: str
    goal: str
    baseline: str
    how: str


@contextmanager
def protected(namespace: str, env: dict[str, str] | None = None, interval: str = "5s") -> Iterator[Witness]:
    counter.deploy(namespace, annotations={"reprise.dev/interval": interval}, env=env)
    try:
        counter.wait_armed(namespace, 120)
        counter.wait_checkpoint(namespace, seconds=60)
        with Witness(namespace) as witness:
            yield witness
    finally:
        counter.remove(namespace)


def crash(witness: Witness) -> float:
    """Seconds from SIGKILL to the first answer of the same run."""
    run = witness.last().run
    name = counter.pod(witness.namespace)["metadata"]["name"]
    began = time.monotonic()
    faults.process_signal(witness.namespace, name, "counter", signal.SIGKILL)
    killed_at = time.monotonic()
    # The signal's own preparation (kubectl) is not the recovery's time.
    return witness.after_gap(run, began, 30).at - killed_at


def crashes(progress: Progress) -> list[Row]:
    """Pairs in turn: one crash of an armed pod under Reprise, one of a pod armed by hand with only a reaping loop."""
    task = progress.add_task("crashes, in pairs", total=CRASHES)
    ours: list[float] = []
    theirs: list[float] = []
    with protected("bench-crash") as witness, bare.armed_by_hand("bench-bare") as by_hand:
        began, run = time.monotonic(), witness.last().run
        for _ in range(CRASHES):
            ours.append(crash(witness))
            theirs.append(crash(by_hand))
            time.sleep(4)
            progress.advance(task)
        blank = len(witness.runs(began) - {run})
        latency = [r["due_to_kubelet_s"] for r in counter.console("checkpoints?namespace=bench-crash&limit=500")]
        frozen = [r["frozen_time_us"] for r in counter.console("checkpoints?namespace=bench-crash&state=stored&limit=500")]
    told = f"by hand {statistics.median(theirs):.3f} s ({min(theirs):.2f}-{max(theirs):.2f}), with Reprise " \
           f"{statistics.median(ours):.3f} s ({min(ours):.2f}-{max(ours):.2f})"  # fmt: skip
    overhead_ms = (statistics.median(ours) - statistics.median(theirs)) * 1000
    latencies = sorted(value * 1000 for value in latency if value is not None)
    return [
        Row("recovery.crash.overhead_ms", overhead_ms, "ms", "<= 150", told, f"medians of {CRASHES} pairs run in turn"),
        Row("recovery.crash.median_s", statistics.median(ours), "s", "", told, "SIGKILL to the first answer of the same run"),
        Row("recovery.crash.blank_served", blank, "instances", "0", "", f"run ids seen in {CRASHES} crashes, asked each 10 ms"),
        Row("checkpoint.due_to_kubelet_p95_ms", quantile(latencies, 0.95), "ms", "<= 20",
            f"median {quantile(latencies, 0.5):.1f}",
            f"{len(latencies)} checkpoints, due event's stamp to the call, on one clock"),
        Row("checkpoint.frozen_ms", statistics.median(f / 1000 for f in frozen if f), "ms", "CRIU's own", "",
            "CRIU's frozen time, median; nothing of ours pauses the app"),
    ]  # fmt: skip


def quantile(values: list[float], q: float) -> float:
    return values[min(len(values) - 1, int(len(values) * q))] if values else float("nan")


def node_loss(progress: Progress) -> list[Row]:
    task = progress.add_task("node power-off", total=NODE_LOSSES)
    took: list[float] = []
    for number in range(NODE_LOSSES):
        with protected(f"bench-node-{number}") as witness:
            run, began = witness.last().run, time.monotonic()
            faults.power_off("n1")
            took.append(witness.after_gap(run, began, 60).at - began)
            counter.wait_failover(witness.namespace, "node-loss")
            faults.power_on("n1")
            poll(60, daemons_ready, "Reprise on n1", 0.5)
        progress.advance(task)
    baseline = (
        kubernetes_alone()
        if os.environ.get("BENCH_BASELINE")
        else "Kubernetes alone: not measured in this run (BENCH_BASELINE=1)"
    )
    return [
        Row("recovery.node_loss_s", max(took), "s", "<= 12", baseline, f"power cut to serving with state, worst of {NODE_LOSSES}")
    ]


def kubernetes_alone() -> str:
    """The same counter unprotected: how long until Kubernetes serves it again, blank."""
    counter.deploy("bench-alone", annotations={"reprise.dev/mode": "off"})
    with Witness("bench-alone") as witness:
        run, began = witness.last().run, time.monotonic()
        faults.power_off("n1")
        poll(600, lambda: bool(witness.runs(began) - {run}), "Kubernetes to start it elsewhere", 0.5)
        took = time.monotonic() - began
    faults.power_on("n1")
    poll(60, daemons_ready, "Reprise on n1", 0.5)
    counter.remove("bench-alone")
    return f"Kubernetes alone: {took:.0f} s, with its state lost"


def daemons_ready() -> bool:
    found = kubectl("-n", "reprise-system", "get", "daemonsets", "-o", "jsonpath={.items[*].status.numberReady}")
    return found.split() == ["2", "2", "2"]


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


PARTS: dict[str, Callable[[Progress], list[Row]]] = {
    "recovery.crash checkpoint": crashes, "recovery.node_loss": node_loss, "memory": memory,
}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", default="", help="run the parts that measure figures with this prefix")
    only = options.parse_args().only
    rows: list[Row] = []
    poll(60, daemons_ready, "Reprise on both nodes", 0.5)
    with Progress(transient=True) as progress:
        for names, part in PARTS.items():
            if any(name.startswith(only) or only.startswith(name) for name in names.split()):
                rows += [row for row in part(progress) if row.name.startswith(only)]
    table = Table("figure", "value", "goal", "beside it", "how")
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.3g} {row.unit}"
        table.add_row(row.name, value, row.goal, row.baseline, row.how)
    Console().print(table)
    out = CHECKOUT / "build/bench.json"
    out.parent.mkdir(exist_ok=True)
    machine = {
        "cores": os.cpu_count(), "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30), 1),
        "kernel": platform.release(), "python": platform.python_version(), "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    out.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    print(f"written to {out.relative_to(CHECKOUT)}")


if __name__ == "__main__":
    main()
