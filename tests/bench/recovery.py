"""Recovery and checkpoint latency, beside what the bare technique and Kubernetes alone do in the same lab."""

import json
import signal
import statistics
import time
from datetime import UTC, datetime

import bare
from reprise_lab import counter, faults, kind
from reprise_lab.paths import HOME
from reprise_lab.shell import poll
from reprise_lab.witness import MEASURES_S, Witness
from rich.progress import Progress
from rows import Row, daemons_ready, protected, quantile, unprotected

CRASHES = 20
HANGS = 5
BAD_RESTORES = 3
GAP_S = 11
"""Between two: what ends sooner each time is started later each time (health-watcher's decide.removal_delay_s)."""
NODE_LOSSES = 10
LATENCY_APPS = 1
"""Of a busy node one is checkpointed at once, with rests in between (ADR 22): more would measure the wait for a turn."""
LATENCY_S = 120
ALONE = HOME / "kubernetes-alone.json"


def send(witness: Witness, number: int) -> float:
    """When the counter was sent the signal (monotonic): its preparation (the API server) is not the recovery's time."""
    name = counter.pod(witness.namespace)["metadata"]["name"]
    faults.process_signal(witness.namespace, name, "counter", number)
    return time.monotonic()


def crash(witness: Witness) -> float:
    """Seconds from SIGKILL to the first answer of the same run."""
    run, began = witness.last().run, time.monotonic()
    killed_at = send(witness, signal.SIGKILL)
    return witness.after_gap(run, began, 30).at - killed_at


def pull_state(progress: Progress) -> list[Row]:
    """A program that hands out its state: the state's run id answers again only once it was posted back."""
    task = progress.add_task("crashes of a program that hands out its state", total=CRASHES)
    took: list[float] = []
    namespace, app = "bench-http", "pull-state"
    counter.deploy(namespace, app=app)
    try:
        counter.wait_protected(namespace, 120, app=app)
        with Witness(namespace, selector=f"app={app}", every_s=MEASURES_S) as witness:
            for _ in range(CRASHES):
                run, began = witness.last().run, time.monotonic()
                pod = counter.pod(namespace, app)
                killed_at = time.monotonic()
                faults.pod_signal(pod["metadata"]["uid"], signal.SIGKILL)
                took.append(witness.after_gap(run, began, 30).at - killed_at)
                time.sleep(GAP_S)
                progress.advance(task)
    finally:
        counter.remove(namespace)
    told = f"{min(took):.2f}-{max(took):.2f}"
    return [Row("recovery.http_s", statistics.median(took), "s", "<= 1.5", told,
                f"median of {CRASHES}: SIGKILL to the first answer with the state that was posted back")]  # fmt: skip


def declared_at(namespace: str, since: datetime) -> datetime:
    """Of the first failover that was declared after `since`."""
    found: list[datetime] = []

    def declared() -> bool:
        rows = counter.console(f"events?namespace={namespace}&type=failover.declared&limit=20")
        found[:] = sorted(at for at in (datetime.fromisoformat(row["at"]) for row in rows) if at > since)
        return bool(found)

    poll(20, declared, f"a failover of {namespace}", 0.1)
    return found[0]


def crashes(progress: Progress) -> list[Row]:
    """Pairs in turn: one crash of a protected pod, one of a pod with only a wrapper and a reaping loop."""
    task = progress.add_task("crashes, in pairs", total=CRASHES)
    ours: list[float] = []
    theirs: list[float] = []
    with protected("bench-crash") as witness, bare.by_hand("bench-bare") as by_hand:
        began, run = time.monotonic(), witness.last().run
        for _ in range(CRASHES):
            ours.append(crash(witness))
            theirs.append(crash(by_hand))
            time.sleep(GAP_S)
            progress.advance(task)
        blank = len(witness.runs(began) - {run})
        failovers = counter.console("failovers?namespace=bench-crash&limit=100")
    noticed = sorted(row["noticed_after_s"] * 1000 for row in failovers if row["cause"] == "crash")
    told = f"by hand {statistics.median(theirs):.3f} s ({min(theirs):.2f}-{max(theirs):.2f}), with Reprise " \
           f"{statistics.median(ours):.3f} s ({min(ours):.2f}-{max(ours):.2f})"  # fmt: skip
    overhead_ms = (statistics.median(ours) - statistics.median(theirs)) * 1000
    return [
        Row("recovery.crash.overhead_ms", overhead_ms, "ms", "<= 100", told, f"medians of {CRASHES} pairs run in turn"),
        Row("recovery.crash.median_s", statistics.median(ours), "s", "", told, "SIGKILL to the first answer of the same run"),
        Row("recovery.crash.blank_served", blank, "instances", "0", "", f"run ids seen in {CRASHES} crashes, asked each 10 ms"),
        Row("detect.crash_p95_ms", quantile(noticed, 0.95), "ms", "<= 100",
            f"median {quantile(noticed, 0.5):.0f}, worst {max(noticed):.0f}",
            f"{len(noticed)} crashes; from the end that the runtime stamps to the node's agent"),
    ]  # fmt: skip


def both_killed(ours: Witness, plain: Witness) -> float:
    """Seconds that ours needs longer than the same app without Reprise to serve again, killed in the same moment."""
    uids = [counter.pod(witness.namespace)["metadata"]["uid"] for witness in (ours, plain)]
    killed_at = time.monotonic()
    for uid in uids:
        faults.pod_signal(uid, signal.SIGKILL)
    back = []
    for witness in (ours, plain):
        since = killed_at + 0.15  # an answer may have been on its way
        poll(300, lambda witness=witness, since=since: bool(witness.runs(since)), "it to serve", 0.01)  # type: ignore[misc]
        back.append(min(answer.at for answer in witness.history if answer.at > since))
    return back[0] - back[1]


def bad_restores(progress: Progress) -> list[Row]:
    """Checkpoints that CRIU refuses: a file on a volume that has grown (none fits), and a damaged newest one."""
    task = progress.add_task("restores that are refused", total=2 * BAD_RESTORES)
    grown: list[float] = []
    damaged: list[float] = []
    for _ in range(BAD_RESTORES):
        for env, over in ((counter.GROWS, grown), (None, damaged)):
            with protected("bench-bad", env=env, interval="1h") as ours, unprotected("bench-bad-plain", env) as plain:
                if over is damaged:
                    newest = counter.wait_checkpoint("bench-bad")["checkpoint_id"]
                    counter.ask_checkpoint("bench-bad")  # so that there is one before it
                    counter.wait_checkpoint("bench-bad", after=newest)
                    counter.damage("bench-bad")
                over.append(both_killed(ours, plain))
            progress.advance(task)
    told = f"grown file, cold: worst {max(grown):.2f} s; damaged, from the one before: worst {max(damaged):.2f} s"
    how = f"over the restart of the same app without Reprise, killed in the same moment; worst of {2 * BAD_RESTORES}"
    return [Row("recovery.bad_restore_s", max(grown + damaged), "s", "<= 0.5", told, how)]


def hangs(progress: Progress) -> list[Row]:
    """SIGSTOP: the process neither answers nor ends."""
    task = progress.add_task("hangs", total=HANGS)
    took: list[float] = []
    with protected("bench-hang") as witness:
        spec = counter.pod("bench-hang")["spec"]["containers"][0]["livenessProbe"]
        threshold_s = spec["failureThreshold"] * spec["periodSeconds"]
        for _ in range(HANGS):
            run, began, since = witness.last().run, time.monotonic(), datetime.now(UTC)
            stopped_at = send(witness, signal.SIGSTOP)
            noticed_at = declared_at("bench-hang", since)
            took.append((noticed_at - since).total_seconds() - (stopped_at - began))
            witness.after_gap(run, began, 30)
            time.sleep(GAP_S)
            progress.advance(task)
    told = f"median {statistics.median(took):.2f} s, {min(took):.2f}-{max(took):.2f}; its threshold is {threshold_s} s"
    goal = f"<= {threshold_s + spec['periodSeconds']}"
    return [Row("detect.hang_s", max(took), "s", goal, told, f"from SIGSTOP to failover.declared, worst of {HANGS}")]


def latency(progress: Progress) -> list[Row]:
    """Several small apps at a short interval, once every service has handled some: nothing is left out after that."""
    task = progress.add_task("due to kubelet call", total=LATENCY_S)
    names = [f"bench-due-{number}" for number in range(LATENCY_APPS)]
    try:
        for name in names:
            counter.deploy(name, annotations={"reprise.dev/interval": "5s"})
        for name in names:
            counter.wait_protected(name, 90)
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
    paused = [r["pause_s"] * 1000 for r in rows if r["pause_s"]]
    frozen = [r["frozen_time_us"] / 1000 for r in rows if r["frozen_time_us"]]
    told = f"median {quantile(values, 0.5):.1f}, worst {max(values):.1f}"
    how = f"{len(values)} checkpoints of {LATENCY_APPS} apps, from the due event's stamp to the call, on one clock"
    return [
        Row("checkpoint.due_to_kubelet_p95_ms", quantile(values, 0.95), "ms", "<= 20", told, how),
        Row("checkpoint.pause_ms", statistics.median(paused), "ms", "", f"CRIU's own {statistics.median(frozen):.0f} ms",
            "from the first to the last moment in which the process could not run, median, as told"),
    ]  # fmt: skip


def node_loss(progress: Progress) -> list[Row]:
    task = progress.add_task("node power-off", total=NODE_LOSSES)
    took: list[float] = []
    fenced: list[float] = []
    for number in range(NODE_LOSSES):
        with protected(f"bench-node-{number}") as witness:
            run, began, clock = witness.last().run, time.monotonic(), time.time() - time.monotonic()
            faults.power_off("n1")
            took.append(witness.after_gap(run, began, 60).at - began)
            counter.wait_failover(witness.namespace, "node-loss")
            told = counter.console(f"events?namespace={witness.namespace}&type=failover.fenced&limit=1")
            fenced.append(datetime.fromisoformat(told[0]["at"]).timestamp() - clock - began)
            faults.power_on("n1")
            poll(60, daemons_ready, "Reprise on n1", 0.5)
        progress.advance(task)
    how = f"{NODE_LOSSES} times: from the power cut"
    return [
        Row("recovery.node_loss_fenced_p95_s", quantile(sorted(fenced), 0.95), "s", "<= 10",
            f"median {statistics.median(fenced):.2f}, worst {max(fenced):.2f}", f"{how} to the fence"),
        Row("recovery.node_loss_p95_s", quantile(sorted(took), 0.95), "s", "<= 8",
            f"median {statistics.median(took):.2f}, worst {max(took):.2f}; {kubernetes_alone(progress)}",
            f"{how} to serving with state"),
    ]  # fmt: skip


def kubernetes_alone(progress: Progress) -> str:
    """Measured once per machine: it takes minutes."""
    if not ALONE.exists():
        task = progress.add_task("Kubernetes alone, once per machine (about 6 minutes)", total=None)
        ALONE.write_text(json.dumps({"seconds": round(measure_alone(), 1), "version": kind.current().kubernetes.version}))
        progress.remove_task(task)
    found = json.loads(ALONE.read_text())
    return f"Kubernetes {found['version']} alone, measured once here: {found['seconds']:.0f} s, its state lost"


def measure_alone() -> float:
    """The same counter unprotected: how long until Kubernetes serves it again, blank."""
    counter.deploy("bench-alone", annotations={"reprise.dev/mode": "off"})
    try:
        with Witness("bench-alone", every_s=MEASURES_S) as witness:
            run, began = witness.last().run, time.monotonic()
            faults.power_off("n1")
            poll(900, lambda: bool(witness.runs(began) - {run}), "Kubernetes to start it elsewhere", 0.5)
            return time.monotonic() - began
    finally:
        faults.power_on("n1")
        poll(60, daemons_ready, "Reprise on n1", 0.5)
        counter.remove("bench-alone")
