"""Planned moves: what they lose, and how long nobody answers."""

import itertools
import secrets
import statistics
import time

from reprise_lab import counter
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import Witness
from rich.progress import Progress
from rows import Row, protected, unprotected

MOVES = 5


def move(witness: Witness, to: str) -> tuple[int, float]:
    """Increments lost and seconds of silence, by the answers that an outside witness got each 10 ms."""
    run, began = witness.last().run, time.monotonic()
    wanted = (f"reprise.dev/move-id={secrets.token_hex(4)}", f"reprise.dev/move-to={to}")
    kubectl("-n", witness.namespace, "annotate", "deployment", "counter", *wanted, "--overwrite")
    poll(90, lambda: [pod["spec"].get("nodeName") for pod in counter.pods(witness.namespace)] == [to], f"it to be on {to}")
    witness.wait(run, time.monotonic(), 10)
    if witness.runs(began) != {run} or witness.overlaps(began):
        raise LabError("another instance answered")
    return max(0, witness.lost_increments(began)), witness.longest_silence_s(began)


def evict(witness: Witness) -> float:
    """Seconds of silence when Kubernetes alone moves it: its node cordoned, the pod deleted, a blank one elsewhere."""
    pod, began = counter.pod(witness.namespace), time.monotonic()
    node, run = pod["spec"]["nodeName"], witness.last().run
    kubectl("cordon", node)
    try:
        kubectl("-n", witness.namespace, "delete", "pod", pod["metadata"]["name"], "--wait=false")
        poll(90, lambda: bool(witness.runs(began) - {run}), "the blank one to answer", 0.05)
    finally:
        kubectl("uncordon", node)
    return witness.longest_silence_s(began)


def moves(progress: Progress) -> list[Row]:
    """There and back; each after a checkpoint where it is, as in the life of a pod. Each beside one by Kubernetes alone."""
    task = progress.add_task("planned moves", total=MOVES)
    seen: list[tuple[int, float]] = []
    plain: list[float] = []
    with protected("bench-move") as witness, unprotected("bench-move-plain") as without:
        for _, to in zip(range(MOVES), itertools.cycle(("n2", "n1")), strict=False):
            seen.append(move(witness, to))
            plain.append(evict(without))
            progress.advance(task)
            time.sleep(8)
    silent = [seconds for _, seconds in seen]
    told = f"{_told(silent)}; Kubernetes alone, without the memory: {_told(plain)}"
    how = f"{MOVES} moves there and back, asked each 10 ms from outside"
    return [
        Row("move.lost_increments", max(lost for lost, _ in seen), "increments", "0", "", how),
        Row("move.unavailable_s", statistics.median(silent), "s", "<= 1.5", told, how),
    ]


def _told(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.2f} s, {min(seconds):.2f}-{max(seconds):.2f}"
