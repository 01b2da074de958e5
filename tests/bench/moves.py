"""Planned moves: what they lose, and how long nobody answers."""

import itertools
import secrets
import statistics
import time

from reprise_lab import counter
from reprise_lab.shell import LabError, kubectl, poll
from reprise_lab.witness import Witness
from rich.progress import Progress
from rows import Row, protected

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


def moves(progress: Progress) -> list[Row]:
    """There and back; each after a checkpoint where it is, as in the life of a pod."""
    task = progress.add_task("planned moves", total=MOVES)
    seen: list[tuple[int, float]] = []
    with protected("bench-move") as witness:
        for _, to in zip(range(MOVES), itertools.cycle(("n2", "n1")), strict=False):
            seen.append(move(witness, to))
            progress.advance(task)
            time.sleep(8)
    silent = [seconds for _, seconds in seen]
    told = f"median {statistics.median(silent):.2f} s, {min(silent):.2f}-{max(silent):.2f}"
    how = f"{MOVES} moves there and back, asked each 10 ms from outside"
    return [
        Row("move.lost_increments", max(lost for lost, _ in seen), "increments", "0", "", how),
        Row("move.unavailable_s", statistics.median(silent), "s", "<= 1.5", told, how),
    ]
