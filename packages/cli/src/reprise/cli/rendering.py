"""What people read, pure: ages, sizes, and the rows of the tables. No terminal, no clock."""

import signal
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

HEALTH_STYLES = {
    "ok": "green", "stale": "yellow", "unprotected": "yellow", "failing": "yellow", "failing-over": "bold yellow",
    "node-isolated": "bold red", "node-lost": "bold red", "state-lost": "bold red",
}  # fmt: skip


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


def age(seconds: float | None) -> str:
    """`4s`, `3m20s`, `5h12m`, `2d3h`; `-` for None."""
    if seconds is None:
        return "-"
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}" + (f"{rest}{smaller_unit}" if rest else "")
    return f"{whole}s"


def size(count: int | float | None) -> str:
    """Bytes in binary units: `1.5 GiB`; `-` for None."""
    if count is None:
        return "-"
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def duration(seconds: float | None) -> str:
    """`0.9s` below ten seconds, else like age()."""
    return f"{seconds:.1f}s" if seconds is not None and seconds < 10 else age(seconds)


def pause(row: Mapping[str, Any]) -> str:
    """How long a checkpoint's process could not run, with CRIU's own figure beside it: `120 ms (CRIU 90 ms)`; empty if nobody
    told.
    """
    whole_s, criu_us = row.get("pause_s"), row.get("frozen_time_us")
    criu = "" if criu_us is None else f"CRIU {criu_us / 1000:.0f} ms"
    if whole_s is None:
        return criu
    return f"{whole_s * 1000:.0f} ms" + (f" ({criu})" if criu else "")


def exited(code: int, reason: str) -> str:
    """`exit code 137 (SIGKILL), OOMKilled`."""
    try:
        by = f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        by = ""
    return f"exit code {code}{by}" + (f", {reason}" if reason not in ("", "Error") else "")


def interval(seconds: float | None) -> str:
    return f"{seconds:g}s" if seconds is not None and seconds < 60 else age(seconds)


def recovery_point(row: dict[str, Any]) -> Cell:
    """The age against the interval that was asked for."""
    age_s, interval_s = row.get("recovery_point_age_s"), row.get("interval_s")
    if age_s is None:
        return Cell("none", "yellow")
    late = interval_s is not None and age_s > 2 * interval_s
    return Cell(f"{age(age_s)} / {interval(interval_s)}", "yellow" if late else "")


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
    return Cell(f"{duration(told['crash'])} crash, {duration(told['node_loss'])} node")


def last_failover(row: dict[str, Any], now: datetime) -> Cell:
    told = row.get("last_failover")
    if not told:
        return Cell("-", "dim")
    ago = f", {age((now - datetime.fromisoformat(told['at'])).total_seconds())} ago" if told.get("at") else ""
    took = f" in {duration(told['total_s'])}" if told.get("total_s") is not None else ""
    style = {"completed": "", "stepped-aside": "", "abandoned": "red"}.get(told["state"], "yellow")
    return Cell(f"{told['cause'] or '?'} {told['state']}{took}{ago}", style)


def workload_row(row: dict[str, Any], now: datetime, *, namespace: bool, wide: bool) -> list[Cell]:
    """One line of `status`, as workload_columns() heads it."""
    health = str(row.get("health", "?"))
    cells = [Cell(row["namespace"])] if namespace else []
    cells += [
        Cell(f"{row['kind'].lower()}/{row['workload']}", "bold"), Cell(health, HEALTH_STYLES.get(health, "")),
        recovery_point(row), standby(row), expected(row), last_failover(row, now),
    ]  # fmt: skip
    if wide:
        stored = row.get("checkpoint") or {}
        cells += [
            Cell(row["container"]), Cell(row.get("node") or "-"), Cell(stored.get("id", "-")),
            Cell(stored.get("kind") or "-"),
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
