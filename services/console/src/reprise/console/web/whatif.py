"""If a node died now: who would go where, pure, from what `GET /api/v1/workloads` tells. The planner has the last word:
decided() is what it says itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from reprise.contracts.humane import seconds
from reprise.contracts.plans import Planned


@dataclass(frozen=True)
class Fate:
    """Of one container. tone: ok, warn or bad. to: the node, empty if none."""

    workload: dict[str, Any]
    to: str
    tone: str
    what: str
    back_s: float | None
    lost_s: float | None


def fate(row: dict[str, Any], lost: frozenset[str] = frozenset()) -> Fate:
    """row: one of `GET /api/v1/workloads`. lost: nodes that are gone already."""
    age_s, back_s = row["recovery_point_age_s"], row["expected_recovery_s"]["node_loss"]
    if row["checkpoint"] is None:
        return Fate(row, "", "bad", "no checkpoint is stored: it would start blank", None, None)
    if row["unguarded"]:
        what = f"{row['node']} cannot be given up, it waits for it to return: {row['unguarded']}"
        return Fate(row, "", "bad", what, None, age_s)
    standby, refused = row["standby"], row["refused"]
    if standby is None or standby["node"] in lost or standby["node"] == row["node"]:
        why = f"; {refused['node']} refused: {refused['message']}" if refused else ""
        return Fate(row, "", "warn", f"no standby holds it: a node would be chosen then, and fetch it{why}", back_s, age_s)
    if not standby["warm"]:
        what = f"{standby['node']} has an older or a partial copy: it would fetch the rest first"
        return Fate(row, standby["node"], "warn", what, back_s, age_s)
    return Fate(row, standby["node"], "ok", f"{standby['node']} holds its newest checkpoint ready", back_s, age_s)


def decided(guess: Fate, plans: Iterable[Planned]) -> Fate:
    """The same container's fate as the restorer itself would decide it now; the guess, if it does not tell of it."""
    row = guess.workload
    if row["unguarded"]:
        return guess  # it would never be asked
    who = (row["namespace"], row["kind"], row["workload"], row["container"])
    for plan in plans:
        if (plan.workload.namespace, plan.workload.kind, plan.workload.name, plan.target.container) == who:
            return _as_planned(guess, plan)
    return guess


def _as_planned(guess: Fate, plan: Planned) -> Fate:
    if plan.standby:
        ready = guess.to == plan.standby and guess.tone == "ok"
        return replace(guess, to=plan.standby, tone="ok" if ready else "warn", what=plan.why)
    what = f"{plan.reason}: {plan.why}; {plan.remedy}"
    if plan.later:
        return replace(guess, to="", tone="bad", what=f"{what}. It is tried again once a node can", back_s=None)
    return replace(guess, to="", tone="bad", what=what, back_s=None)


def sentence(told: Fate) -> str:
    """For the workload's own page."""
    if told.back_s is None:
        return told.what[0].upper() + told.what[1:] + "."
    where = f"on {told.to}" if told.to else "on a node chosen then"
    lost = f", without its last {seconds(told.lost_s)} of work" if told.lost_s is not None else ""
    return f"It would continue {where} in about {seconds(told.back_s)}{lost}: {told.what}."
