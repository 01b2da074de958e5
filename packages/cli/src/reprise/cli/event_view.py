"""Events, checkpoints and failovers as lines for people, pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reprise.cli.rendering import STYLES, Cell
from reprise.contracts import subjects
from reprise.contracts.envelope import TYPE_PREFIX
from reprise.contracts.events import VERSION
from reprise.contracts.humane import NONE, seconds, size
from reprise.contracts.words import CAUSE, CHECKPOINT, FAILOVER, Said, exited, pause

EVENT_COLUMNS = ("TIME", "EVENT", "WORKLOAD", "NODE", "WHAT")
HISTORY_COLUMNS = ("TIME", "WHAT", "STATE", "NODE", "DETAIL")
BAD = ("failed", "abandoned", "lost", "postponed", "isolated", "refused", "paused", "delayed")
GOOD = ("stored", "completed", "returned")
TELLING = ("message", "why", "detail", "how", "reference", "archive_path")
WIDTH = 40


@dataclass(frozen=True)
class Wanted:
    """Which events; empty: any. type: such as `failover.completed`."""

    type: str = ""
    namespace: str = ""
    workload: str = ""
    node: str = ""

    @property
    def filters(self) -> dict[str, str]:
        return {"type": self.type, "namespace": self.namespace, "workload": self.workload, "node": self.node}

    @property
    def subject(self) -> str:
        return subjects.matching(self.type, node=self.node, namespace=self.namespace, workload=self.workload)

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Two names can have the same subject. event: a CloudEvent."""
        data = event.get("data") or {}
        workload = data.get("workload") or {}
        told = {
            "type": event_type(event), "namespace": workload.get("namespace"), "workload": workload.get("name"),
            "node": data.get("node"),
        }  # fmt: skip
        return all(not want or want == told[name] for name, want in self.filters.items())


def event_type(event: Mapping[str, Any]) -> str:
    """`failover.completed`; of another version the whole type."""
    return str(event.get("type", "")).removeprefix(f"{TYPE_PREFIX}{VERSION}.")


def event_row(event: Mapping[str, Any]) -> list[Cell]:
    """event: a CloudEvent of any version: what it lacks is left out."""
    data = event.get("data") or {}
    told = data.get("workload")
    workload = told if isinstance(told, dict) else {}
    name = event_type(event)
    whose = f"{workload.get('namespace', '-')}/{workload.get('name', '-')}"
    return [
        Cell(clock(str(event.get("time", ""))), "dim"), Cell(name, _style(name.rpartition(".")[2])),
        Cell("" if whose.startswith("-/") else whose, "bold"), Cell(str(data.get("node") or "")), Cell(gist(data)),
    ]  # fmt: skip


def gist(data: Mapping[str, Any]) -> str:
    """What an event says, in half a line."""
    parts = [str(data[name]) for name in ("cause", "path", "reason") if data.get(name)]
    if data.get("exit_code") is not None:
        parts.append(f"exit code {data['exit_code']}")
    if isinstance(data.get("total_s"), int | float):  # an event of another version may say it otherwise
        parts.append(f"in {seconds(data['total_s'])}")
    if isinstance(data.get("size"), int | float):
        parts.append(size(data["size"]))
    if data.get("role"):
        parts.append(f"{data['role']}{'' if data.get('warm', True) else ', cold'}")
    said = next((str(data[name]) for name in TELLING if data.get(name)), "")
    named = next((str(data[name]) for name in ("failover_id", "checkpoint_id") if data.get(name)), "")
    told = " ".join(parts)
    return "  ".join(part for part in (named, f"{told}: {said}" if told and said else told or said) if part)


def clock(moment: str) -> str:
    """In this machine's zone, with milliseconds; as it is if it cannot be read."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%m-%d %H:%M:%S.%f")[:-3]
    except ValueError:
        return moment


def _style(verb: str) -> str:
    return "red" if verb in BAD else "green" if verb in GOOD else ""


def history_rows(
    checkpoints: Sequence[dict[str, Any]], failovers: Sequence[dict[str, Any]], exits: Sequence[dict[str, Any]] = ()
) -> list[list[Cell]]:
    """Newest first."""
    told = [(row["at"], _checkpoint(row)) for row in checkpoints] + [(row["at"], _failover(row)) for row in failovers]
    told += [(row["at"], _exit(row)) for row in exits]
    return [cells for _, cells in sorted(told, key=lambda each: datetime.fromisoformat(each[0]), reverse=True)]


def _checkpoint(row: dict[str, Any]) -> list[Cell]:
    figures = [
        str(row.get("checkpoint_kind") or ""),
        f"{size(row['size_bytes'])}" if row.get("size_bytes") is not None else "",
        f"{size(row['new_bytes'])} new" if row.get("new_bytes") is not None else "",
        f"paused {paused}" if (paused := pause(row)) not in ("", NONE) else "",
        f"stored in {seconds(row['transfer_s'])}" if row.get("transfer_s") is not None else "",
        f"ready on {row['staged_on']}" if row.get("staged_on") else "",
    ]
    why = "; ".join(row[field] for field in ("message", "remedy") if row.get(field))
    why = f"{row['reason']}: {why}" if row.get("state") in ("failed", "skipped") else ""
    detail = why or ", ".join(figure for figure in figures if figure)
    word = CHECKPOINT.get(str(row.get("state")), Said(str(row.get("state", "?")), "warn"))
    return [*_when_and_what(row, f"checkpoint {row['checkpoint_id']}", word), Cell(detail)]


def _failover(row: dict[str, Any]) -> list[Cell]:
    where = f" to {row['standby']}" if row.get("standby") and row["standby"] != row.get("node") else ""
    took = f" in {seconds(row['total_s'])}" if row.get("total_s") is not None else ""
    path = f" {row['path']}{where}" if row.get("path") else ""
    cause = CAUSE.get(str(row.get("cause")), row.get("cause") or "?")
    detail = f"{cause}:{path}{took}" if path or took else cause
    why = row.get("message") if row.get("state") == "abandoned" else row.get("why") or row.get("detail")
    word = FAILOVER.get(str(row.get("state")), Said(str(row.get("state", "?")), "warn"))
    cells = _when_and_what(row, f"failover {row['failover_id']}", word)
    lost = f"; what it did since {row.get('checkpoint_id')} is lost: {row['lost_work']}" if row.get("lost_work") else ""
    return [*cells, Cell(f"{detail}{f' ({why})' if why else ''}{lost}", "yellow" if lost else "")]


def _exit(row: dict[str, Any]) -> list[Cell]:
    lines = str(row.get("log_tail") or "").strip().splitlines()
    said = f"; its last line: {lines[-1]}" if lines else ""
    again = "; it is not started again" if row.get("final") else ""
    ended = _when_and_what(row, f"container {row['container']} of {row['pod']}", Said("ended", "mute"))
    return [*ended, Cell(f"{exited(row['exit_code'], row.get('reason') or '')}{again}{said}")]


def _when_and_what(row: dict[str, Any], what: str, word: Said) -> list[Cell]:
    return [Cell(clock(row["at"]), "dim"), Cell(what, "bold"), Cell(word.text, STYLES[word.tone]), Cell(row.get("node") or NONE)]


@dataclass(frozen=True)
class Step:
    """begin and end in seconds since the failover was noticed at the latest."""

    name: str
    begin: float
    end: float
    note: str = ""


def steps(row: Mapping[str, Any]) -> list[Step]:
    """A failover's steps by the moments that the console knows; a step without its end is left out."""
    marks = (
        ("plan", "declared_at", "started_at", row.get("why")), ("fence", "started_at", "fenced_at", row.get("fenced_how")),
        ("restore", "fenced_at", "released_at", "released: the decision is final"),
        ("verify" if row.get("released_at") else "restore, verify",
            "released_at" if row.get("released_at") else "fenced_at", "restored_at", row.get("standby")),
        ("adopt", "restored_at", "ended_at", row.get("state")),
    )  # fmt: skip
    if not row.get("declared_at"):
        return []
    noticed = float(row.get("noticed_after_s") or 0)
    start = datetime.fromisoformat(row["declared_at"])
    found = [Step("notice", 0.0, noticed, str(row.get("detail") or ""))]
    last = start
    for name, begin, end, note in marks:
        if row.get(end):
            ended = datetime.fromisoformat(row[end])
            begun = datetime.fromisoformat(row[begin]) if row.get(begin) else last
            found.append(Step(name, noticed + _since(start, begun), noticed + _since(start, ended), str(note or "")))
            last = ended
    return found


def _since(start: datetime, moment: datetime) -> float:
    return max(0.0, (moment - start).total_seconds())  # the clocks of several nodes wrote them


def waterfall(found: Sequence[Step]) -> list[list[Cell]]:
    """Each step's name, bar, and how long it took."""
    total = max((step.end for step in found), default=0.0)
    scale = WIDTH / total if total else 0.0
    rows = []
    for step in found:
        begin = min(round(step.begin * scale), WIDTH - 1)
        length = max(1, round(step.end * scale) - begin)
        bar = " " * begin + "█" * min(length, WIDTH - begin)
        rows.append(
            [
                Cell(step.name),
                Cell(bar.ljust(WIDTH), "cyan"),
                Cell(seconds(round(step.end - step.begin, 4))),
                Cell(step.note, "dim"),
            ]
        )
    return rows
