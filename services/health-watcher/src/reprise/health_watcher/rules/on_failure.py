"""What follows when a protected container ends: the next step of its `reprise.dev/on-failure`, an ordered list.

A step is followed by the next one only if what it brought back ended again soon, by itself or because it hung: whoever kills a
process from outside need not find fault with it. A pod is moved once: `move` is passed over in the one that came of it. So of the
default, in-place, move, cold, a container whose every life is short is restored in place, moved, and started cold: never a loop.
How often `in-place` itself is tried where no `move` follows is the rule of early_exits.py and slow_loops.py.
"""

from dataclasses import dataclass
from typing import Literal

from reprise.contracts.annotations import OnFailure
from reprise.contracts.records import CRASH_LOOP
from reprise.health_watcher.rules.slow_loops import MOST_S

BroughtBack = Literal["", "in-place", "move"]
Step = Literal["in-place", "move", "cold", "refuse"]
MAY_BE_THE_CAUSE = "what is checkpointed of it may be the cause; see the end of its log for why"
NEVER_COLD = "; its annotation reprise.dev/on-failure does not list cold, so it is not started without its memory"


@dataclass(frozen=True)
class Failure:
    """The end of an instance. by: the step that had brought it back; empty: none, or it was moved for another reason.
    again_soon: it ended soon after that, and not by somebody's hand. moved: its pod was made by the step `move`.
    """

    by: BroughtBack
    again_soon: bool
    moved: bool


def brought_back(outcome: str, *, frozen: bool, moved: bool) -> BroughtBack:
    """Return which step an instance came of. outcome, frozen: of the engine's start; what a failover makes is restored frozen."""
    if outcome != "restored":
        return ""
    if frozen:
        return "move" if moved else ""
    return "in-place"


def soon_s(by: BroughtBack, early_s: float, interval_s: float) -> float:
    """Return within which time an end counts. early_s: what its probes need to find fault with it (early_exits.py). What was
    moved was restored from an older checkpoint, and lives up to an interval of its life again.
    """
    return early_s + min(interval_s, MOST_S) if by == "move" else early_s


def next_step(order: tuple[OnFailure, ...], failure: Failure) -> Step:
    """Return the step that is due; refuse: none is left, and what none of them allows is not done."""
    tried = failure.again_soon and failure.by in order
    left = order[order.index(failure.by) + 1 :] if tried and failure.by else order
    return next((step for step in left if not (step == "move" and failure.moved)), "refuse")


def starts_cold(step: Step, failure: Failure, order: tuple[OnFailure, ...]) -> bool:
    """Whether its next start is no restore. After `in-place` its checkpoints are rejected one by one first."""
    return step in ("cold", "refuse") and not (failure.by == "in-place" and "in-place" in order)


def why_cold(failure: Failure) -> str:
    """Return the reason of its cold start, and what its owner can do."""
    if failure.by == "move" and failure.again_soon:
        return f"{CRASH_LOOP}it was moved here after it had ended again soon after a restore, and ended again: {MAY_BE_THE_CAUSE}"
    return "its annotation reprise.dev/on-failure has it start without its memory"


def why_not_in_place(order: tuple[OnFailure, ...]) -> str:
    """Return why it starts without its memory where it is, if it cannot be moved; empty: it is restored there."""
    return "" if "in-place" in order else "it could not be moved, and reprise.dev/on-failure does not list in-place"
