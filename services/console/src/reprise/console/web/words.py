"""What the ledger's terms mean to a person, pure: one place for every word that a page shows for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from reprise.console.web.humane import microseconds


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
    "arm": "arming",
    "move": "planned move",
    "restore": "restore",
}
FAILOVER = {
    "declared": Said("noticed", "busy"),
    "started": Said("under way", "busy"),
    "fenced": Said("under way", "busy"),
    "restored": Said("nearly done", "busy"),
    "completed": Said("restored", "ok"),
    "abandoned": Said("given up", "bad"),
    "stepped-aside": Said("stepped aside", "mute"),
}
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
    "in-place-armed": "in the same pod; the kubelet's own restart is the restore",
    "in-place-patch": "in the same pod, which was given the checkpoint as its image",
    "shadow": "in a new pod, which its ReplicaSet adopts once it serves",
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
    "container.restored": "ok",
    "failover.abandoned": "bad",
    "operation.requested": "busy",
    "operation.refused": "bad",
    "node.lost": "bad",
    "node.isolated": "bad",
    "node.returned": "ok",
    "node.guarded": "ok",
    "node.unguarded": "bad",
}


def health(name: str) -> Said:
    return HEALTH.get(name, Said(name, "warn"))


def restored(stats: Mapping[str, Any]) -> str:
    """What CRIU says of a restore."""
    return f"{microseconds(stats['restore_time_us'])} for {stats['pages_restored'] or 0:,} pages of memory"


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
        case "failover.restored" | "failover.completed":
            return f"from {said.get('checkpoint_id')}"
        case "checkpoint.staged":
            return f"{said.get('checkpoint_id')}, {'on its own node' if said.get('role') == 'own' else 'on the standby'}"
        case "container.restored":
            return restored(cast(dict[str, Any], said["stats"]))
        case "operation.requested":
            to = f" to {said['to']}" if said.get("to") else ""
            return f"{OPERATION.get(str(said.get('operation')), said.get('operation'))}{to}, by {said.get('user')}"
        case "node.lost" | "node.isolated" | "node.returned" | "node.guarded" | "node.unguarded":
            return str(said.get("detail"))
    return str(said.get("checkpoint_id") or "")
