"""Twenty workloads on one node that is lost, beside one alone."""

import statistics
import time
from contextlib import ExitStack

from reprise_lab import counter, faults
from reprise_lab.shell import LabError, poll
from reprise_lab.witness import Witness
from rich.progress import Progress
from rows import Row, daemons_ready

WORKLOADS = 20
ASK_EVERY_S = 0.1
"""Each witness: twenty at 10 ms would take a core of two."""
GAP_S = 1.0
STAGED_WITHIN_S = 600
"""A busy node takes its checkpoints one after the other, with rests in between (ADR 22): twenty may take minutes."""


def staged(namespace: str) -> bool:
    """Whether a checkpoint of the pod that runs now is in the store, live on its node, and ready on its standby."""
    pod = counter.pod(namespace)["metadata"]["name"]
    rows = counter.console(f"checkpoints?namespace={namespace}&state=stored&limit=20")
    return any(row["pod"] == pod and row["stored_at"] and row["held_at"] and row["staged_warm"] for row in rows)


def lost(count: int, progress: Progress) -> list[float]:
    """Seconds from the power cut until each answers again, with its state and as one instance."""
    names = [f"bench-many-{count}-{number}" for number in range(count)]
    task = progress.add_task(f"{count} on a lost node", total=2 * count)
    try:
        for name in names:
            counter.deploy(name, annotations={"reprise.dev/interval": "20s"})
            progress.advance(task)
        for name in names:
            counter.wait_protected(name, STAGED_WITHIN_S)
            poll(STAGED_WITHIN_S, lambda name=name: staged(name), f"a checkpoint of {name} to be staged", 0.5)  # type: ignore[misc]
        with ExitStack() as stack:
            witnesses = [stack.enter_context(Witness(name, every_s=ASK_EVERY_S)) for name in names]
            runs, began, took = [witness.last().run for witness in witnesses], time.monotonic(), []
            faults.power_off("n1")
            for witness, run in zip(witnesses, runs, strict=True):
                took.append(witness.after_gap(run, began, 240, GAP_S).at - began)
                progress.advance(task)
            for witness, run in zip(witnesses, runs, strict=True):
                if witness.runs(began) != {run}:
                    raise LabError(f"another instance answered in {witness.namespace}")
                row = counter.wait_failover(witness.namespace, "node-loss", 120)
                if row["state"] != "completed":
                    raise LabError(f"the failover of {witness.namespace} ended {row['state']}: {row.get('message')}")
            for name in names:
                poll(30, lambda name=name: len(counter.pods(name)) == 1, f"one pod of {name} to be left", 0.5)  # type: ignore[misc]
        return took
    finally:
        faults.power_on("n1")
        poll(120, daemons_ready, "Reprise on n1", 0.5)
        for name in names:
            counter.remove(name)


def many(progress: Progress) -> list[Row]:
    alone, together = lost(1, progress)[0], lost(WORKLOADS, progress)
    told = f"one alone {alone:.1f} s; of {WORKLOADS} the first {min(together):.1f}, median {statistics.median(together):.1f}, " \
           f"last {max(together):.1f} s"  # fmt: skip
    how = "power cut to serving with state, one instance each; the last of all beside one alone"
    return [
        Row("recovery.many", max(together), "s", "<= 15", told, how),
        Row("recovery.many_ratio", max(together) / alone, "x", "", told, how),
    ]
