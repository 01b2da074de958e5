"""When a checkpoint is due, pure.

Each container has a fixed grid of due times: offset + k * interval, where the offset is a hash of the container (the
jitter: a thousand workloads of one interval do not come due together). Any replica computes the same slot k and so the
same checkpoint id: a doubled event is stored once, and a new leader sees from the newest emitted slot what was missed.
"""

import hashlib
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from reprise.contracts.causes import LASTING
from reprise.contracts.events import Trigger
from reprise.scheduler.model import Harm, Slot

DEMAND_TTL_S = 20.0
"""A demand that could not be served for so long is forgotten: whoever made it has gone on, and the checkpointer would find it
stale."""
HARMED_AT_MOST = 3
"""In a row: one that crashes by itself while it is checkpointed looks the same."""
HARMS = ("UnhealthyAfter",)
BACK_OFF_MOST_S = 3600.0
HARM_REMEDY = (
    "raise failureThreshold or periodSeconds of its livenessProbe, so that their product outlasts the pause; the next pod is "
    "checkpointed again"
)


@dataclass(frozen=True)
class Grid:
    """Times are seconds since the epoch."""

    offset_s: float
    interval_s: float

    def slot(self, now_s: float) -> int:
        """The slot that now lies in."""
        return math.floor((now_s - self.offset_s) / self.interval_s)

    def due_s(self, slot: int) -> float:
        return self.offset_s + slot * self.interval_s


def grid(pod_uid: str, container: str, interval_s: float) -> Grid:
    digest = hashlib.blake2b(f"{pod_uid}\0{container}".encode(), digest_size=8).digest()
    return Grid(int.from_bytes(digest) / 2**64 * interval_s, interval_s)


@dataclass(frozen=True)
class Due:
    """Emit this slot now."""

    slot: int
    due_at: datetime
    trigger: Trigger


@dataclass(frozen=True)
class Wait:
    """Nothing is due; look again then."""

    until_s: float


def alive_since_s(container: Any) -> float | None:
    """When a ProtectedContainer started, if it runs and is not starting up any more; else None. Whether it is Ready is not asked:
    one that is not on purpose, a passive replica, is to be protected too. Whether it is well is asked when it is checkpointed.
    """
    starts_up = container.startup is not None and not container.started
    return container.started_at.timestamp() if container.running and container.started_at and not starts_up else None


def next_act(
    of: Grid, last: Slot | None, now_s: float, alive_since_s: float | None, settle_s: float, demand_s: float | None = None
) -> Due | Wait:
    """What to do about one running container.

    last: the newest slot emitted of it, if any. alive_since_s: as alive_since_s() has it. demand_s: when its owner wants one
    besides the grid's, if ever.
    Missed slots are made up for by one checkpoint, not by one each. A clock that was set back starts the grid anew
    instead of waiting for the old time to come.
    """
    if alive_since_s is None:
        return Wait(now_s + 1.0)
    current = of.slot(now_s)
    if demand_s is not None and _unserved(last, now_s, alive_since_s, demand_s):
        return Due(current, at(demand_s), "demand") if demand_s <= now_s else Wait(min(demand_s, of.due_s(current + 1)))
    if last is None:
        settled_s = alive_since_s + settle_s
        if now_s < settled_s:
            return Wait(settled_s)
        return Due(current, at(now_s), "first")
    same_grid = last.interval_s == of.interval_s and last.number <= current + 1
    newest = last.number if same_grid else current
    if newest < current:
        return Due(current, at(of.due_s(current)), "interval")
    return Wait(of.due_s(newest + 1))


def _unserved(last: Slot | None, now_s: float, alive_since_s: float, demand_s: float) -> bool:
    """A demand is of the containers that ran when it was made: a later pod of the workload finds it written there still."""
    # In whole milliseconds, as checkpoints are named: a moment does not come back from a float as the same microsecond. It was
    # rounded to a microsecond first (remembered()), and what lies half-way between two milliseconds must be so here, too.
    served_ms = round(last.demand_s * 1000) if last else 0
    return (
        round(at(demand_s).timestamp() * 1000) > served_ms
        and demand_s >= math.floor(alive_since_s)
        and now_s - demand_s <= DEMAND_TTL_S
    )


def remembered(last: Slot | None, due: Due, pod_uid: str, container: str, interval_s: float, checkpoint_id: str = "") -> Slot:
    """What to remember once it was emitted. A demanded checkpoint does for its slot too: the next one is due in the next slot."""
    number = max(due.slot, last.number) if last and last.interval_s == interval_s and last.number <= due.slot + 1 else due.slot
    demand_s = due.due_at.timestamp() if due.trigger == "demand" else last.demand_s if last else 0.0
    return Slot(
        pod_uid=pod_uid, container=container, interval_s=interval_s, number=number, checkpoint_id=checkpoint_id, demand_s=demand_s
    )  # fmt: skip


def counted(harm: Harm, checkpoint_id: str, reason: str, now_s: float = 0.0) -> Harm:
    """After an outcome; reason: empty for a good checkpoint.

    What failed before the process was paused says nothing about how it stands a pause; nor does a container that was
    replaced meanwhile. Nor does either say that a cause which lasts is gone: only a checkpoint that CRIU took does.
    """
    if checkpoint_id <= harm.checkpoint_id:
        return harm
    if reason in LASTING:
        failures = harm.failures + 1 if reason == harm.lasting else 1
        told = {"lasting": reason, "failures": failures, "failed_at_s": now_s}
        return harm.model_copy(update={"checkpoint_id": checkpoint_id} | told)
    harmed = reason in HARMS
    if reason and not harmed:
        return harm
    return Harm(
        pod_uid=harm.pod_uid, container=harm.container, checkpoint_id=checkpoint_id, in_a_row=harm.in_a_row + 1 if harmed else 0
    )


def paused(harm: Harm | None) -> bool:
    """Checkpoints that end its process break I6: none is taken any more of this pod."""
    return harm is not None and harm.in_a_row >= HARMED_AT_MOST


def back_off_s(failures: int, interval_s: float) -> float:
    """How long a checkpoint is not tried again after so many of a reason that lasts: each try is a pause for nothing."""
    return max(interval_s, min(BACK_OFF_MOST_S, interval_s * 2.0 ** min(failures, 20)))


def held_off_s(harm: Harm | None, interval_s: float, trigger: Trigger, now_s: float) -> float:
    """How long what is due has to wait; 0: not at all. What its owner asks for is tried: that is how a remedy is proved."""
    if harm is None or not harm.failures or trigger == "demand":
        return 0.0
    wait_s = back_off_s(harm.failures, interval_s)
    # A clock that was set back must not make it longer.
    return max(0.0, min(wait_s, harm.failed_at_s + wait_s - now_s))


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
