"""Recovery and checkpoint latency, beside what the bare technique and Kubernetes alone do in the same lab."""

import json
import signal
import statistics
import time
from datetime import UTC, datetime

import bare
from reprise_lab import counter, faults
from reprise_lab.paths import HOME
from reprise_lab.shell import poll
from reprise_lab.versions import KUBERNETES
from reprise_lab.witness import Witness
from rich.progress import Progress
from rows import Row, daemons_ready, protected, quantile

CRASHES = 10
NODE_LOSSES = 2
LATENCY_APPS = 2
"""As many as a node checkpoints at once: more would measure the wait for a turn."""
LATENCY_S = 60
ALONE = HOME / "kubernetes-alone.json"


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
    told = f"by hand {statistics.median(theirs):.3f} s ({min(theirs):.2f}-{max(theirs):.2f}), with Reprise " \
           f"{statistics.median(ours):.3f} s ({min(ours):.2f}-{max(ours):.2f})"  # fmt: skip
    overhead_ms = (statistics.median(ours) - statistics.median(theirs)) * 1000
    return [
        Row("recovery.crash.overhead_ms", overhead_ms, "ms", "<= 150", told, f"medians of {CRASHES} pairs run in turn"),
        Row("recovery.crash.median_s", statistics.median(ours), "s", "", told, "SIGKILL to the first answer of the same run"),
        Row("recovery.crash.blank_served", blank, "instances", "0", "", f"run ids seen in {CRASHES} crashes, asked each 10 ms"),
    ]  # fmt: skip


def latency(progress: Progress) -> list[Row]:
    """Several small apps at a short interval, once every service has handled some: nothing is left out after that."""
    task = progress.add_task("due to kubelet call", total=LATENCY_S)
    names = [f"bench-due-{number}" for number in range(LATENCY_APPS)]
    try:
        for name in names:
            counter.deploy(name, annotations={"reprise.dev/interval": "2s"})
        for name in names:
            counter.wait_armed(name, 90)
            counter.wait_checkpoint(name, seconds=60)
        since = datetime.now(UTC)
        for _ in range(LATENCY_S):
            time.sleep(1)
            progress.advance(task)
        every = [r for name in names for r in counter.console(f"checkpoints?namespace={name}&limit=500")]
        rows = [r for r in every if datetime.fromisoformat(r["due_at"]) > since]
    finally:
        for name in names:
            counter.remove(name)
    values = sorted(r["due_to_kubelet_s"] * 1000 for r in rows if r["due_to_kubelet_s"] is not None)
    frozen = [r["frozen_time_us"] / 1000 for r in rows if r["frozen_time_us"]]
    told = f"median {quantile(values, 0.5):.1f}, worst {max(values):.1f}"
    how = f"{len(values)} checkpoints of {LATENCY_APPS} apps, from the due event's stamp to the call, on one clock"
    return [
        Row("checkpoint.due_to_kubelet_p95_ms", quantile(values, 0.95), "ms", "<= 20", told, how),
        Row("checkpoint.frozen_ms", statistics.median(frozen), "ms", "CRIU's own", "",
            "CRIU's frozen time, median; nothing of ours pauses the app"),
    ]  # fmt: skip


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
    how = f"power cut to serving with state, worst of {NODE_LOSSES}"
    return [Row("recovery.node_loss_s", max(took), "s", "<= 12", kubernetes_alone(progress), how)]


def kubernetes_alone(progress: Progress) -> str:
    """Measured once per machine: it takes minutes."""
    if not ALONE.exists():
        task = progress.add_task("Kubernetes alone, once per machine (about 6 minutes)", total=None)
        ALONE.write_text(json.dumps({"seconds": round(measure_alone(), 1), "version": KUBERNETES}))
        progress.remove_task(task)
    found = json.loads(ALONE.read_text())
    return f"Kubernetes {found['version']} alone, measured once here: {found['seconds']:.0f} s, its state lost"


def measure_alone() -> float:
    """The same counter unprotected: how long until Kubernetes serves it again, blank."""
    counter.deploy("bench-alone", annotations={"reprise.dev/mode": "off"})
    try:
        with Witness("bench-alone") as witness:
            run, began = witness.last().run, time.monotonic()
            faults.power_off("n1")
            poll(900, lambda: bool(witness.runs(began) - {run}), "Kubernetes to start it elsewhere", 0.5)
            return time.monotonic() - began
    finally:
        faults.power_on("n1")
        poll(60, daemons_ready, "Reprise on n1", 0.5)
        counter.remove("bench-alone")
