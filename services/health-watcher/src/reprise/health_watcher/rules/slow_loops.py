"""A process that is restored and ends again in the same way, LIMIT times in a row and each time within MOST_S, starts cold once.

A leak that is about to reach the memory limit, or memory that is poisoned, is in each checkpoint of it, and each instance that is
restored is checkpointed anew: no single one is restored often enough to be rejected (early_exits.py). Plain Kubernetes would have
started it blank, and it would have worked for hours: being protected must not be worse (I6). An instance that was not restored,
lived longer, ended in another way or was ended from outside breaks the chain.
"""

from pydantic import BaseModel
from reprise.contracts.records import CRASH_LOOP
from reprise.health_watcher.rules.on_end import BACKOFF_S

LIMIT = 3
MOST_S = BACKOFF_S
"""What ran for so long is no crash loop for the kubelet either."""
OOM_KILLED = "OOMKilled"
FROM_OUTSIDE = (128 + 9, 128 + 15)
"""SIGKILL and SIGTERM: whoever sent it need not find fault with its memory. A hang is ended so too (early_exits.py), and may exit
with any code at SIGTERM (hung.py).
"""


class SlowLoop(BaseModel):
    """Of one container of one pod: the last instances in a row that were restored and ended alike. how: empty: none were."""

    how: str = ""
    in_a_row: int = 0


def how_it_ended(exit_code: int, reason: str) -> str:
    """Return what two ends are compared by; empty: it did not end by itself. Both as the runtime tells them."""
    if reason == OOM_KILLED:
        return OOM_KILLED
    return "" if exit_code in FROM_OUTSIDE else f"exit code {exit_code}"


def within_s(interval_s: float) -> float:
    """Return within which time an end counts, by the time between two checkpoints: so much of its life is lived again."""
    return max(MOST_S, 2 * interval_s)


def after_end(known: SlowLoop, *, restored: bool, how: str, lived_s: float | None, most_s: float) -> SlowLoop:
    """Return what is known after one more end. lived_s: None: not known."""
    if not restored or not how or lived_s is None or lived_s >= most_s:
        return SlowLoop()
    return SlowLoop(how=how, in_a_row=known.in_a_row + 1 if how == known.how else 1)


def is_loop(known: SlowLoop) -> bool:
    """Whether what is checkpointed of it is not to be restored any more."""
    return known.in_a_row >= LIMIT


def why_cold(known: SlowLoop) -> str:
    """Return the reason of its cold start, and what its owner can do."""
    remedy = "raise its memory limit, or look for a leak" if known.how == OOM_KILLED else "see the end of its log for why"
    return (
        f"{CRASH_LOOP}it was restored {known.in_a_row} times in a row and ended each time with {known.how}: "
        f"what is checkpointed of it may be the cause; {remedy}"
    )
