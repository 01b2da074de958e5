"""What an owner must know of each protected container, pure: is it protected now, by what, and if not, why.

Followed from events, so it needs no store of its own: the stream has the newest of each kind for each workload.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointPaused,
    CheckpointSkipped,
    CheckpointStaged,
    CheckpointStored,
    Event,
    StandbyRefused,
)
from reprise.contracts.model import due_time
from reprise.scheduler.model import Known, Protection, Reason

FOLLOWED: tuple[type[Event], ...] = (
    CheckpointStored, CheckpointFailed, CheckpointPaused, CheckpointStaged, CheckpointSkipped, StandbyRefused,
)  # fmt: skip
STALE_INTERVALS = 3
"""As the console tells it: one late or failed checkpoint is no reason to call anybody."""
STALE_FLOOR_S = 30.0
"""Nor is a restart of ours, however short the interval."""


def seen(known: Known, event: Event) -> Known:  # noqa: PLR0911 one return per event reads best
    """After one more event of this pod's container; what is told late or twice changes nothing."""
    match event:
        case CheckpointStored() if event.checkpoint_id > known.checkpoint_id:
            return replace(known, checkpoint_id=event.checkpoint_id, recovery_point=due_time(event.checkpoint_id) or event.at)
        case CheckpointFailed() if event.checkpoint_id > known.failed_id:
            return replace(known, failed_id=event.checkpoint_id, failure=f"{event.reason}: {event.message}. {event.remedy}")
        # Of kind http: its program said that the newest one is its state still.
        case CheckpointSkipped(reason="Unchanged") if known.recovery_point and event.checkpoint_id > known.checkpoint_id:
            return replace(known, recovery_point=max(known.recovery_point, due_time(event.checkpoint_id) or event.at))
        case CheckpointSkipped(reason="NodeBusy") if event.checkpoint_id > known.busy_id:
            return replace(known, busy_id=event.checkpoint_id, busy=event.message)
        case CheckpointPaused():
            return replace(known, paused_uid=event.target.pod_uid)
        case CheckpointStaged(role="standby") if event.checkpoint_id >= known.standby_holds:
            return replace(known, standby=event.node, standby_holds=event.checkpoint_id, warm=event.warm)
        case CheckpointStaged(role="own") if event.checkpoint_id >= known.live_id:
            return replace(
                known, live_id=event.checkpoint_id, live_uid=event.target.pod_uid, live_node=event.node
            )  # fmt: skip
        case StandbyRefused() if event.node == known.standby:
            return replace(known, standby="", warm=False)
    return known


def protection(
    known: Known, *, pod_uid: str, node: str, running: bool, interval_s: float, prestaged: bool, now: datetime
) -> Protection:
    """Of one pod's container. node: where it runs; prestaged: whether a standby is kept for it."""
    newest = f"newest checkpoint {known.checkpoint_id}" if known.checkpoint_id else "no checkpoint is stored yet"
    if known.paused_uid == pod_uid:
        return Protection(False, "CheckpointsPaused", f"its checkpoints harm it, none is taken any more; {newest}")
    if not running:
        return Protection(False, "NotRunning", f"its container does not run; {newest}")
    failing = known.failed_id > known.checkpoint_id
    why = known.failure if failing else known.busy if known.busy_id > known.checkpoint_id else ""
    if known.recovery_point is None:
        none = _joined(newest, why)
        return Protection(False, "CheckpointFailing", why) if failing else Protection(False, "NoCheckpoint", none)
    if is_stale(known.recovery_point, interval_s, now):
        message = f"{newest} is more than {STALE_INTERVALS} intervals old"
        return Protection(False, "CheckpointFailing" if failing else "Stale", _joined(message, why))
    standby = _standby(known, node) if prestaged else "no standby is kept for it, as its annotation says"
    if is_live(known, pod_uid, node):
        return Protection(True, "Armed", f"its kubelet's restart restores its {newest}; {standby}")
    return Protection(
        False, "NotReady", f"{newest} does not lie ready on {node} for this pod: its restart would be cold; {standby}"
    )


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _standby(known: Known, node: str) -> str:
    if has_warm_standby(known, node):
        return f"{known.standby} has it ready"
    return f"{known.standby} has its chunks" if has_standby(known, node) else "no standby yet"


def is_live(known: Known, pod_uid: str, node: str) -> bool:
    """A checkpoint lies ready on its own node: its own, or what it was moved there from."""
    return (known.live_uid, known.live_node) == (pod_uid, node) or (known.warm and known.standby == node)


def has_standby(known: Known, node: str) -> bool:
    """On another node than its own: after a failover the old standby is where it runs."""
    return bool(known.standby) and known.standby != node


def has_warm_standby(known: Known, node: str) -> bool:
    """A restore there needs nothing more."""
    return known.warm and has_standby(known, node)


def is_stale(recovery_point: datetime, interval_s: float, now: datetime) -> bool:
    return now - recovery_point > timedelta(seconds=max(STALE_INTERVALS * interval_s, STALE_FLOOR_S))


def inherited(gone: Iterable[Known], pod: str, node: str) -> Known:
    """Of a pod of which no event has told: what is known of the one that it came of, which had its name or has a checkpoint
    lying ready on its node. Any other is replaced, not restored, and begins anew. gone: of pods that are not there any more.
    """
    found = [each for each in gone if each.pod == pod or (each.warm and each.standby == node)]
    return max(found, key=lambda each: (each.pod == pod, each.checkpoint_id), default=Known())


WORST_FIRST: tuple[Reason, ...] = (
    "CheckpointsPaused", "CheckpointFailing", "NoSuchContainer", "NotAnnotated", "NoCheckpoint", "Stale", "NotReady",
    "NotRunning", "Armed",
)  # fmt: skip
"""First what nothing ends by itself."""


def worst(found: Mapping[str, Protection]) -> tuple[str, Protection]:
    """Of a workload's pods, or a pod's containers, by their names: which, and how that stands. The same whatever their order."""
    return min(found.items(), key=lambda each: (WORST_FIRST.index(each[1].reason), each[0]))


def said(status: str, reason: str, found: Protection) -> bool:
    """Whether a pod's condition of this status and reason tells it already.

    A container that does not run is being restarted or restored, within a second mostly: nothing is said of it, and what
    Kubernetes itself says of such a pod is enough if it stays so.
    """
    return found.reason == "NotRunning" or (status, reason) == ("True" if found.protected else "False", found.reason)
