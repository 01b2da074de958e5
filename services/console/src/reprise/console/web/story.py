"""A failover told to whoever asks what happened, pure: from its row and its container's checkpoints."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reprise.contracts.humane import clock, plural, seconds, size
from reprise.contracts.words import CAUSE, PATH, exited, outcome, restored


@dataclass(frozen=True)
class Step:
    """One bar of the waterfall, in seconds since the fault. open: it has not ended."""

    name: str
    what: str
    start_s: float
    end_s: float
    open: bool = False

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Story:
    """headline and tone: the outcome in a sentence. facts: question and answer. steps: the waterfall, total_s long."""

    headline: str
    tone: str
    facts: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...]
    total_s: float
    remedy: str = ""


def fault_at(row: dict[str, Any]) -> datetime:
    """When it happened: it is noticed only later."""
    noticed: datetime = row["declared_at"] or row["at"]
    return noticed - timedelta(seconds=row["noticed_after_s"] or 0)


def tell(
    row: dict[str, Any],
    attempts: list[dict[str, Any]],
    now: datetime,
    restore: dict[str, Any] | None = None,
    end: dict[str, Any] | None = None,
) -> Story:
    """row: of failovers. attempts: its container's checkpoints begun before it was noticed, newest first. restore, end: the
    rows of restores and of exits that belong to it.
    """
    chosen = next((c for c in attempts if c["checkpoint_id"] == row["checkpoint_id"]), None)
    steps = _steps(row, now)
    facts = [("What happened", _what(row)), ("When", _when(row))]
    if end:
        facts.append(("How it ended", _sentence(exited(end["exit_code"], end["reason"]))))
        if end["log_tail"].strip():
            facts.append(("What it said last", end["log_tail"].strip().splitlines()[-1]))
    if row["checkpoint_id"]:
        facts.append(("Why this checkpoint", _why_checkpoint(row, chosen, attempts)))
    if row["why"]:
        facts.append(("Why this node", _why_node(row)))
    if row["fenced_how"]:
        facts.append(("Why it cannot run twice", _sentence(row["fenced_how"])))
    if restore:
        how = "How long CRIU took" if restore["restore_time_us"] is not None else "How it came back"
        facts.append((how, _sentence(restored(restore))))
    if row["lost_work"]:
        lost = f"What it did since {row['checkpoint_id']}, for that is older than its last one: {row['lost_work']}"
        facts.append(("What was lost", _sentence(lost)))
    elif chosen and row["state"] != "abandoned":
        facts.append(("What was lost", _lost(row, chosen)))
    if row["state"] == "abandoned":
        facts.append(("Why it was given up", _sentence(f"{row['reason']}: {row['message']}")))
    total_s = max((step.end_s for step in steps), default=0.0)
    return Story(_headline(row), outcome(row).tone, tuple(facts), steps, total_s, row["remedy"] or "")


def _headline(row: dict[str, Any]) -> str:
    name, node, there = row["workload"], row["node"], row["standby"]
    began = {
        "crash": f"{name} crashed on {node}",
        "hang": f"{name} hung on {node}",
        "node-loss": f"{name} lost its node {node}",
        "arm": f"{name} was armed on {node}",
        "move": f"{name} was moved off {node}",
        "restore": f"{name} was sent back to a checkpoint on {node}",
    }.get(row["cause"] or "", f"{name} failed on {node}")
    if row["state"] == "completed":
        back_s = (row["noticed_after_s"] or 0) + (row["total_s"] or 0)
        where = "there" if there == node else f"on {there}"
        if row["path"] == "cold":
            return f"{began}; it started blank {where} after {seconds(back_s)}"
        if row["lost_work"]:
            return f"{began}; restored {where} from an older checkpoint than its last one after {seconds(back_s)}"
        return f"{began}; restored {where} with its memory after {seconds(back_s)}"
    if row["state"] == "abandoned":
        return f"{began}, and its state could not be brought back"
    if row["state"] == "stepped-aside":
        return f"{began}; nothing was restored, and nothing needed to be"
    how = {
        "declared": "a restorer is to take it on",
        "started": f"being restored {'there' if there == node else f'on {there}'}",
        "fenced": f"being restored on {there}",
        "released": f"restored on {there}, and let run",
        "restored": f"restored on {there}, its owner is to adopt it" if row["path"] == "shadow" else f"restored on {there}",
    }
    return f"{began}; {how.get(row['state'], row['state'])}"


def _what(row: dict[str, Any]) -> str:
    what = {
        "crash": "The process died",
        "hang": "The process stopped answering its livenessProbe",
        "node-loss": f"Node {row['node']} was given up",
        "arm": "Planned: restored in place once, so that from now on the kubelet's own restart is the restore",
        "move": "Planned: moved to another node",
        "restore": "Planned: restored from a checkpoint that somebody chose",
    }.get(row["cause"] or "", CAUSE.get(row["cause"] or "", "A fault"))
    return _sentence(f"{what}: {row['detail']}" if row["detail"] else what)


def _when(row: dict[str, Any]) -> str:
    at = fault_at(row)
    told = f"{clock(at)} UTC"
    if row["noticed_after_s"]:
        told += f", noticed {seconds(row['noticed_after_s'])} later"
    if row["state"] == "completed" and row["ended_at"]:
        told += f", serving again at {clock(row['ended_at'])}"
    return _sentence(told)


def _why_checkpoint(row: dict[str, Any], chosen: dict[str, Any] | None, attempts: list[dict[str, Any]]) -> str:
    if chosen is None:
        return "It was the newest good one; its own events are no longer in the ledger."
    age_s = (fault_at(row) - chosen["at"]).total_seconds()
    told = f"{chosen['checkpoint_id']} was the newest good one: taken {seconds(max(age_s, 0))} before the fault"
    if chosen["size_bytes"]:
        told += f", {size(chosen['size_bytes'])}"
    later = [c for c in attempts[: attempts.index(chosen)] if c["at"] <= fault_at(row)]
    if later:
        failed = next((c for c in later if c["state"] == "failed"), None)
        why = f"failed ({failed['reason']})" if failed else "was not in the store yet"
        told += f". {plural(len(later), 'later one')} {why}"
    return _sentence(told)


def _why_node(row: dict[str, Any]) -> str:
    told_already = row["path"] == "in-place"
    stayed = "" if told_already or row["standby"] != row["node"] else "The node itself is healthy, so it stays there. "
    return f"{stayed}{_sentence(row['why'], names=True)} Started {PATH.get(row['path'] or '', row['path'])}."


def _lost(row: dict[str, Any], chosen: dict[str, Any]) -> str:
    lost_s = (fault_at(row) - chosen["at"]).total_seconds()
    if row["cause"] == "arm":
        return f"What it did in the {seconds(max(lost_s, 0))} between that checkpoint and the restart, once."
    return f"What it did in the {seconds(max(lost_s, 0))} between that checkpoint and the fault."


def _steps(row: dict[str, Any], now: datetime) -> tuple[Step, ...]:
    """Each from the moment before that is known. In place nothing is fenced or released."""
    zero = fault_at(row)
    moved, adopted = row["path"] in ("shadow", "recreate"), row["path"] == "shadow"
    parts = (
        ("notice", "until the fault was certain", row["declared_at"]),
        (
            "plan",
            "which checkpoint, which node" if moved else "which checkpoint; its kubelet starts the container from it",
            row["started_at"],
        ),
        ("fence", "the old instance can no longer run", row["fenced_at"]),
        ("restore", "start from the checkpoint, standing still until the decision is final", row["released_at"]),
        ("verify" if row["released_at"] else "restore", "until its probe passes", row["restored_at"]),
        ("adopt" if adopted else "complete", "its ReplicaSet owns it" if adopted else "recorded", row["ended_at"]),
    )
    steps, since = [], 0.0
    for name, what, moment in parts:
        if moment is not None:
            end = max((moment - zero).total_seconds(), since)  # clocks of two nodes may differ by some milliseconds
            given_up = row["state"] == "abandoned" and moment == row["ended_at"]
            steps.append(Step("give up", "no way was left", since, end) if given_up else Step(name, what, since, end))
            since = end
    if row["state"] not in ("completed", "abandoned"):
        steps.append(Step("…", "under way", since, max((now - zero).total_seconds(), since), open=True))
    return tuple(steps)


def _sentence(text: str, *, names: bool = False) -> str:
    """names: it may begin with a node's name, which stays as it is."""
    text = text.strip()
    start = text[:1] if names and any(c.isdigit() for c in text.partition(" ")[0]) else text[:1].upper()
    return text and start + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
