"""A checkpoint of which what is restored ends soon, twice in a row, is rejected: it is the state of a process about to end."""

from pydantic import BaseModel
from reprise.health_watcher.rules.on_end import SOON_S

LIMIT = 2
KEPT = 20


class EarlyExits(BaseModel):
    """Of one container of one pod. restored_from: of the last early exits in a row; empty: there were none."""

    restored_from: str = ""
    in_a_row: int = 0
    rejected: tuple[str, ...] = ()


def after_end(known: EarlyExits, restored_from: str, lived_s: float | None) -> EarlyExits:
    """Return what is known after one more end. restored_from: empty: it was not restored. lived_s: None: not known."""
    if not restored_from or lived_s is None or lived_s >= SOON_S:
        return known.model_copy(update={"restored_from": "", "in_a_row": 0})
    in_a_row = known.in_a_row + 1 if restored_from == known.restored_from else 1
    if in_a_row < LIMIT:
        return known.model_copy(update={"restored_from": restored_from, "in_a_row": in_a_row})
    rejected = tuple(dict.fromkeys((*known.rejected, restored_from)))[-KEPT:]
    return EarlyExits(rejected=rejected)
