"""What people read, pure: the rows of the tables, in the console's words and units. No terminal, no clock."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.contracts.humane import NONE, ago, every, seconds, size
from reprise.contracts.words import CAUSE, FAILOVER, Said, health

STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red", "busy": "bold yellow", "mute": "dim"}
"""By the tone of a word."""


@dataclass(frozen=True)
class Cell:
    """style: rich's."""

    text: str
    style: str = ""


def plain(text: str) -> str:
    """What a terminal would obey, or turn around, made visible: names come from whoever wrote the program."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else c.encode("unicode_escape").decode() for c in text)


def said(word: Said) -> "Cell":
    return Cell(word.text, STYLES[word.tone])


def recovery_point(row: dict[str, Any]) -> Cell:
    """The age against the interval that was asked for."""
    age_s, interval_s = row.get("recovery_point_age_s"), row.get("interval_s")
    if age_s is None:
        return Cell("none", "yellow")
    late = interval_s is not None and age_s > 2 * interval_s
    return Cell(f"{seconds(age_s)} / {every(interval_s)}", "yellow" if late else "")


def standby(row: dict[str, Any]) -> Cell:
    held, refused = row.get("standby"), row.get("refused")
    if refused and not (held and held["warm"]):
        return Cell(f"{refused['node']} refused: {refused['reason']}", "yellow")
    if not held:
        return Cell("none", "yellow")
    return Cell(f"{held['node']} warm", "green") if held["warm"] else Cell(f"{held['node']} cold", "yellow")


def expected(row: dict[str, Any]) -> Cell:
    told = row.get("expected_recovery_s") or {}
    if told.get("crash") is None:
        return Cell("starts blank", "yellow")
    return Cell(f"{seconds(told['crash'])} crash, {seconds(told['node_loss'])} node lost")


def last_failover(row: dict[str, Any], now: datetime) -> Cell:
    told = row.get("last_failover")
    if not told:
        return Cell(NONE, "dim")
    when = f", {ago(datetime.fromisoformat(told['at']), now)}" if told.get("at") else ""
    took = f" in {seconds(told['total_s'])}" if told.get("total_s") is not None else ""
    word = FAILOVER.get(told["state"], Said(told["state"], "warn"))
    cause = CAUSE.get(told["cause"], told["cause"] or "?")
    return Cell(f"{cause}: {word.text}{took}{when}", "" if word.tone in ("ok", "mute") else STYLES[word.tone])


def workload_row(row: dict[str, Any], now: datetime, *, namespace: bool, wide: bool) -> list[Cell]:
    """One line of `status`, as workload_columns() heads it."""
    told = health(str(row.get("health", "?")))
    cells = [Cell(row["namespace"])] if namespace else []
    cells += [
        Cell(f"{row['kind'].lower()}/{row['workload']}", "bold"), said(told),
        recovery_point(row), standby(row), expected(row), last_failover(row, now),
    ]  # fmt: skip
    if wide:
        stored = row.get("checkpoint") or {}
        cells += [
            Cell(row["container"]), Cell(row.get("node") or NONE), Cell(stored.get("id", NONE)),
            Cell(stored.get("kind") or NONE),
            Cell(size(stored.get("size_bytes"))),
        ]  # fmt: skip
    return cells


def workload_columns(*, namespace: bool, wide: bool) -> list[str]:
    names = ["WORKLOAD", "HEALTH", "RECOVERY POINT", "STANDBY", "RECOVERS IN", "LAST FAILOVER"]
    return (["NAMESPACE"] if namespace else []) + names + (["CONTAINER", "NODE", "CHECKPOINT", "KIND", "SIZE"] if wide else [])


def reasons(rows: list[dict[str, Any]]) -> list[str]:
    """Below the table: why a workload is not well, and why nobody stands by for it."""
    lines = []
    for row in rows:
        name, refused, held = f"{row['kind'].lower()}/{row['workload']}", row.get("refused"), row.get("standby")
        if row.get("health_reason"):
            lines.append(f"{name}: {row['health_reason']}")
        if row.get("unguarded"):
            lines.append(f"{name}: not moved if {row.get('node') or 'its node'} is lost: {row['unguarded']}")
        if refused and not (held and held["warm"]):
            lines.append(f"{name}: {refused['node']} refused to stand by: {refused['message']}; {refused['remedy']}")
    return lines


def address(row: dict[str, Any], *, namespace: bool = True) -> str:
    """`shop/deployment/cart`, as every command takes it."""
    return f"{row['namespace']}/" * namespace + f"{row['kind'].lower()}/{row['workload']}"
