"""Which checkpoints are kept. Pure."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
POD_GONE_AFTER = timedelta(days=7)
EPOCH = datetime(1970, 1, 1).astimezone()
Ladder = tuple[tuple[timedelta, int], ...]


def parse_ladder(text: str) -> Ladder:
    """`1h:24,1d:7`: besides the newest N, the newest of each of the last 24 hours and 7 days that have one.

    Raises ValueError that says what is expected.
    """
    steps = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"(\d{1,4})([mhdw]):(\d{1,4})", part)
        if not match or match[1] == "0":
            raise ValueError(f"{part!r} is no step of a ladder like 1h:24,1d:7 (units m, h, d, w)")
        steps.append((int(match[1]) * UNITS[match[2]], int(match[3])))
    return tuple(steps)


def prune_plan(taken: Mapping[str, tuple[str, datetime]], keep: int, ladder: Ladder = ()) -> list[str]:
    """Which checkpoints to remove, oldest first. taken: the pod's UID and the time, by id; ids sort by time.

    Each pod's newest `keep` stay, and of the ladder's last periods each pod's newest: one replica's are of no use to another.
    Of a pod that another one has outlived by `keep` checkpoints, only the newest stays, and that until POD_GONE_AFTER.
    """
    newest_first = sorted(taken, reverse=True)
    kept = newest_of_each_pod(taken)
    for pod_uid in {uid for uid, _ in taken.values()}:
        own = [checkpoint_id for checkpoint_id in newest_first if taken[checkpoint_id][0] == pod_uid]
        if not _is_outlived(own[0], taken, max(keep, 1)):
            kept.update(own[: max(keep, 1)])
    for period, count in ladder:
        periods = list(dict.fromkeys((taken[checkpoint_id][1] - EPOCH) // period for checkpoint_id in newest_first))[:count]
        seen: dict[tuple[int, str], str] = {}
        for checkpoint_id in newest_first:
            pod_uid, at = taken[checkpoint_id]
            if (number := (at - EPOCH) // period) in periods:
                seen.setdefault((number, pod_uid), checkpoint_id)
        kept.update(seen.values())
    return [checkpoint_id for checkpoint_id in reversed(newest_first) if checkpoint_id not in kept]


def _is_outlived(newest: str, taken: Mapping[str, tuple[str, datetime]], keep: int) -> bool:
    """Whether any one pod has `keep` that are newer. All pods of a workload are checkpointed at the same interval."""
    newer = Counter(uid for checkpoint_id, (uid, _) in taken.items() if checkpoint_id > newest)
    return any(number >= keep for number in newer.values())


def newest_of_each_pod(taken: Mapping[str, tuple[str, datetime]]) -> set[str]:
    """Each pod's newest checkpoint: a replica's is of no other's use. taken: pod's UID and time, by id.

    Of pods that have not been checkpointed for a week longer than the newest, none: an interval is at most that long, so these
    are gone.
    """
    newest: dict[str, str] = {}
    for checkpoint_id in sorted(taken, reverse=True):
        newest.setdefault(taken[checkpoint_id][0], checkpoint_id)
    last = max((at for _, at in taken.values()), default=EPOCH)
    return {checkpoint_id for checkpoint_id in newest.values() if last - taken[checkpoint_id][1] <= POD_GONE_AFTER}
