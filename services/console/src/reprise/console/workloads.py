"""A workload's state in the words of its owner, pure: from one row of workloads.sql."""

from dataclasses import asdict
from typing import Any

from reprise.console.estimate import expected_recovery

UNDER_WAY = {
    "declared": "noticed", "started": "being restored", "fenced": "being restored",
    "released": "restored, and let run", "restored": "restored, not yet complete",
}  # fmt: skip
STALE_INTERVALS = 3
"""A recovery point older than this many intervals is told as stale: one late or failed checkpoint is not."""


def status(row: dict[str, Any]) -> dict[str, Any]:
    """What `GET /api/v1/workloads` answers for one container."""
    standby = _standby(row)
    health, reason = health_of(row)
    warm = bool(standby and standby["warm"])
    return {
        **{name: row[name] for name in ("namespace", "kind", "workload", "container", "node", "pod", "interval_s")},
        "unguarded": row["unguarded"] or "",
        "health": health, "health_reason": reason,
        "checkpoint": _checkpoint(row), "recovery_point_age_s": _rounded(row["recovery_point_age_s"]),
        "standby": standby, "refused": _refused(row),
        "expected_recovery_s": asdict(expected_recovery(row["size_bytes"], warm=warm, movable=is_movable(row))),
        "last_failover": _failover(row), "gone_at": row["gone_at"],
    }  # fmt: skip


def is_movable(row: dict[str, Any]) -> bool:
    """Off a lost node: only if that can be given up."""
    return row["unguarded"] is None


def health_of(row: dict[str, Any]) -> tuple[str, str]:  # noqa: PLR0911 one return per state reads best
    """The worst that is so, and why in a few words."""
    if row["gone_at"] is not None:
        return "gone", "it is not protected any more, or not there"
    failing, reason = _failover_health(row)
    if failing:
        return failing, reason
    if row["node_event"] == "node.postponed":
        return "node-lost", f"its node {row['node']} is lost, and is not failed over: too much would be at once"
    if row["node_event"] in ("node.lost", "node.isolated"):
        return row["node_event"].replace(".", "-"), f"its node {row['node']} is {row['node_event'].removeprefix('node.')}"
    if row["tried_state"] == "failed":
        return "failing", f"{row['tried_reason']}: {row['tried_message']}; {row['tried_remedy']}"
    if row["checkpoint_id"] is None:
        return "unprotected", _because("no checkpoint is stored yet", row["busy_message"])
    age_s, interval_s = row["recovery_point_age_s"], row["interval_s"]
    if age_s is not None and interval_s and age_s > STALE_INTERVALS * interval_s:
        return "stale", _because(f"its newest checkpoint is more than {STALE_INTERVALS} intervals old", row["busy_message"])
    return "ok", ""


def _because(what: str, why: str | None) -> str:
    return f"{what}: {why}" if why else what


def _failover_health(row: dict[str, Any]) -> tuple[str, str]:
    state = row["failover_state"]
    if state in UNDER_WAY:
        return "failing-over", f"{row['failover_cause'] or 'a fault'}, {UNDER_WAY[state]}"
    ended, newest = row["failover_ended_at"], row["checkpoint_at"]
    if state == "abandoned" and (newest is None or ended is None or newest < ended):
        return "state-lost", f"{row['failover_reason']}: {row['failover_message']}; {row['failover_remedy']}"
    return "", ""


def _checkpoint(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["checkpoint_id"] is None:
        return None
    return {
        "id": row["checkpoint_id"], "size_bytes": row["size_bytes"], "at": row["checkpoint_at"],
        "new_bytes": row["new_bytes"], "pause_s": row["pause_s"], "frozen_time_us": row["frozen_time_us"],
        "kind": row["checkpoint_kind"],
    }  # fmt: skip


def _standby(row: dict[str, Any]) -> dict[str, Any] | None:
    """None either while the one that it had is where it runs now: after a failover, until another is found."""
    if row["staged_id"] is None or row["staged_on"] == row["node"]:
        return None
    return {
        "node": row["staged_on"], "checkpoint_id": row["staged_id"], "staged_at": row["staged_at"], "warm": is_warm(row),
    }  # fmt: skip


def is_warm(row: dict[str, Any]) -> bool:
    """The standby holds the newest stored checkpoint; or the one before, while the newest is younger than an interval."""
    if not row["staged_warm"] or row["checkpoint_id"] is None or row["staged_id"] is None:
        return False
    if row["staged_id"] >= row["checkpoint_id"]:  # ids sort by time; staged before its stored event arrived is newer
        return True
    lag_s, interval_s = row["stored_age_s"], row["interval_s"]
    return bool(row["staged_id"] == row["previous_id"] and interval_s and lag_s is not None and lag_s < interval_s)


def _refused(row: dict[str, Any]) -> dict[str, Any] | None:
    """The newest refusal, unless a standby staged something since."""
    if row["refused_at"] is None or (row["staged_at"] is not None and row["staged_at"] >= row["refused_at"]):
        return None
    return {name: row[f"refused_{name}"] for name in ("node", "reason", "message", "remedy", "at")}


def _failover(row: dict[str, Any]) -> dict[str, Any] | None:
    if row["failover_id"] is None:
        return None
    return {"id": row["failover_id"], **{name: row[f"failover_{name}"] for name in ("cause", "state", "total_s", "at")}}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
