"""A checkpoint of which what is restored ends soon, twice in a row, is rejected: it is the state of a process about to end, or of
one that never serves again and is ended by its livenessProbe as soon as that may.
"""

from typing import Any

from pydantic import BaseModel
from reprise.health_watcher.rules.grace import starting_up_s, tolerated_s
from reprise.health_watcher.rules.on_end import SOON_S

LIMIT = 2
KEPT = 20
TO_END_S = 5.0
"""From the last probe that fails to the end."""


class EarlyExits(BaseModel):
    """Of one container of one pod. restored_from: of the last early exits in a row; empty: there were none."""

    restored_from: str = ""
    in_a_row: int = 0
    rejected: tuple[str, ...] = ()


def early_s(liveness: Any, startup: Any = None) -> float:
    """Return within which time an end is early, by the container's probes, if it has them."""
    if liveness is None:
        return SOON_S
    took_s = float(liveness.initial_delay_seconds or 0) + tolerated_s(liveness) + float(liveness.timeout_seconds or 1)
    return max(SOON_S, starting_up_s(startup) + took_s + TO_END_S)


def after_end(known: EarlyExits, restored_from: str, lived_s: float | None, within_s: float = SOON_S) -> EarlyExits:
    """Return what is known after one more end. restored_from: empty: it was not restored. lived_s: None: not known."""
    if not restored_from or lived_s is None or lived_s >= within_s:
        return known.model_copy(update={"restored_from": "", "in_a_row": 0})
    in_a_row = known.in_a_row + 1 if restored_from == known.restored_from else 1
    if in_a_row < LIMIT:
        return known.model_copy(update={"restored_from": restored_from, "in_a_row": in_a_row})
    return rejecting(known, restored_from)


def rejecting(known: EarlyExits, *checkpoints: str) -> EarlyExits:
    """Return it with these as rejected; what is counted begins anew."""
    return EarlyExits(rejected=tuple(dict.fromkeys((*known.rejected, *checkpoints)))[-KEPT:])
