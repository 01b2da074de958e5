"""What the ledger's terms mean to a person, pure: one place for every word that the console and the CLI show for them."""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from reprise.contracts.humane import microseconds, seconds


@dataclass(frozen=True)
class Said:
    """tone: ok, warn, bad, busy or mute; a page shows it as a shape and a colour."""

    text: str
    tone: str


HEALTH = {
    "ok": Said("healthy", "ok"),
    "stale": Said("stale", "warn"),
    "unprotected": Said("not protected yet", "warn"),
    "failing": Said("checkpoints fail", "bad"),
    "failing-over": Said("failing over", "busy"),
    "node-lost": Said("node lost", "bad"),
    "node-isolated": Said("node cut off", "bad"),
    "state-lost": Said("state lost", "bad"),
    "gone": Said("not protected any more", "mute"),
}
ORDER = ("state-lost", "failing-over", "node-lost", "node-isolated", "failing", "unprotected", "stale", "ok", "gone")
"""Worst first."""

CAUSE = {
    "crash": "crash",
    "hang": "hang",
    "node-loss": "node lost",
    "arm": "arming",  # of older versions
    "move": "planned move",
    "restore": "restore",
}
FAILOVER = {
    "declared": Said("noticed", "busy"),
    "started": Said("under way", "busy"),
    "fenced": Said("under way", "busy"),
    "released": Said("nearly done", "busy"),
    "restored": Said("nearly done", "busy"),
    "completed": Said("restored", "ok"),
    "abandoned": Said("given up", "bad"),
    "stepped-aside": Said("stepped aside", "mute"),
}
FATE = {
    "continues": Said("would continue", "ok"),
    "slower": Said("would take longer", "warn"),
    "stays": Said("would not come back", "bad"),
}
"""What a lost node would mean for a workload."""
CHECKPOINT = {
    "due": Said("begun", "busy"),
    "skipped": Said("skipped", "mute"),
    "taken": Said("uploading", "busy"),
    "stored": Said("good", "ok"),
    "failed": Said("failed", "bad"),
    "pruned": Said("removed", "mute"),
}
OPERATION = {"checkpoint": "checkpoint", "move": "move", "restore": "restore", "drain": "drain", "undrain": "end of the drain"}
ASKED = {"requested": Said("asked for", "busy"), "refused": Said("refused", "bad")}
PATH = {
    "in-place": "in the same pod, by the kubelet's own restart",
    "in-place-armed": "in the same pod, by the kubelet's own restart from the checkpoint's image",
    "in-place-patch": "in the same pod, which was given the checkpoint as its image",
    "shadow": "in a new pod, frozen until the decision was final; its ReplicaSet adopts it",
    "recreate": "in a new pod of the same name",
    "cold": "without its memory",
}
TRIGGER = {
    "interval": "on time",
    "first": "first one",
    "demand": "asked for",
    "drain": "before a drain",
    "move": "last before a move",
    "arm": "last before arming",
}
EVENT_TONE = {
    "checkpoint.failed": "bad",
    "checkpoint.paused": "bad",
    "checkpoint.stored": "ok",
    "standby.refused": "warn",
    "failover.declared": "busy",
    "failover.completed": "ok",
    "failover.delayed": "warn",
    "failover.released": "busy",
    "container.ended": "warn",
    "container.restored": "ok",
    "failover.abandoned": "bad",
    "operation.requested": "busy",
    "operation.refused": "bad",
    "node.lost": "bad",
    "node.suspected": "warn",
    "node.postponed": "bad",
    "node.isolated": "bad",
    "node.returned": "ok",
    "node.guarded": "ok",
    "node.unguarded": "bad",
}


def health(name: str) -> Said:
    return HEALTH.get(name, Said(name, "warn"))


def outcome(row: Mapping[str, Any]) -> Said:
    """How a failover stands, or ended."""
    return Said("restored, work lost", "warn") if row["lost_work"] else FAILOVER.get(row["state"], Said(row["state"], "warn"))


def kind(row: Mapping[str, Any] | None) -> str:
    """What a checkpoint is of, before other words."""
    return f"{row['kind']}, " if row and row["kind"] else ""


def restored(stats: Mapping[str, Any]) -> str:
    """What CRIU says of a restore; CRIU has no part in one of a program's own state."""
    if stats["restore_time_us"] is None:
        took_s = stats.get("took_s")
        return "its state was posted back to it" + (f", {seconds(took_s)} after its start" if took_s else "")
    return f"{microseconds(stats['restore_time_us'])} for {stats['pages_restored'] or 0:,} pages of memory"


def pause(row: Mapping[str, Any] | None) -> str:
    """How long a checkpoint's process could not run, with CRIU's own figure beside it: `0.12 s (CRIU 90 ms)`."""
    if row is None:
        return seconds(None)
    whole, criu_us = row.get("pause_s"), row.get("frozen_time_us")
    if criu_us is None:
        return seconds(whole)
    if whole is None or whole == criu_us / 1e6:
        return f"CRIU {microseconds(criu_us)}"
    return f"{seconds(whole)} (CRIU {microseconds(criu_us)})"


def exited(code: int, reason: str) -> str:
    """`exit code 137 (SIGKILL), OOMKilled`."""
    try:
        by = f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        by = ""
    return f"exit code {code}{by}" + (f", {reason}" if reason not in ("", "Error") else "")


def event_summary(kind: str, data: dict[str, object]) -> str:  # noqa: PLR0911
    """One line of what the event says beyond its type and place."""
    said = data
    match kind:
        case (
            "checkpoint.failed"
            | "checkpoint.skipped"
            | "checkpoint.paused"
            | "failover.abandoned"
            | "failover.delayed"
            | "standby.refused"
            | "operation.refused"
        ):
            return f"{said.get('reason')}: {said.get('message')}"
        case "failover.declared":
            return f"{CAUSE.get(str(said.get('cause')), said.get('cause'))}: {said.get('detail')}"
        case "failover.started":
            return f"from {said.get('checkpoint_id')} on {said.get('standby')}: {said.get('why')}"
        case "failover.fenced":
            return str(said.get("how"))
        case "failover.restored" | "failover.released" | "failover.completed":
            lost = f"; what it did since is lost: {said['lost_work']}" if said.get("lost_work") else ""
            return f"from {said.get('checkpoint_id')}{lost}"
        case "checkpoint.staged":
            return f"{said.get('checkpoint_id')}, {'on its own node' if said.get('role') == 'own' else 'on the standby'}"
        case "container.restored":
            held = ", frozen until its failover is final" if said.get("frozen") else ""
            if said.get("kind") == "http":
                return restored({"restore_time_us": None, "took_s": said.get("took_s")})
            return restored(cast(dict[str, Any], said["stats"])) + held
        case "container.ended":
            again = "; it is not started again" if said.get("final") else ""
            return exited(cast(int, said["exit_code"]), str(said["reason"])) + again
        case "operation.requested":
            to = f" to {said['to']}" if said.get("to") else ""
            return f"{OPERATION.get(str(said.get('operation')), said.get('operation'))}{to}, by {said.get('user')}"
        case _ if kind.startswith("node."):
            return str(said.get("detail"))
    return str(said.get("checkpoint_id") or "")
