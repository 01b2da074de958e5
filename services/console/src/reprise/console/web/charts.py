"""Geometry of the charts, pure: numbers in, SVG coordinates and labels out. A template draws them.

Each is drawn in a box of WIDTH x HEIGHT that the page stretches; so text is never within it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from reprise.contracts.humane import clock

WIDTH, HEIGHT = 1000, 100
BINS = 120


@dataclass(frozen=True)
class Window:
    """A span of time, in equal bins."""

    since: datetime
    until: datetime
    bins: int = BINS

    @property
    def step_s(self) -> float:
        return (self.until - self.since).total_seconds() / self.bins

    def x(self, moment: datetime) -> float:
        return round(WIDTH * (moment - self.since) / (self.until - self.since), 1)

    def bin_x(self, number: int) -> float:
        """The middle of a bin."""
        return round(WIDTH * (number + 0.5) / self.bins, 1)

    def bin_at(self, number: int) -> datetime:
        return self.since + timedelta(seconds=self.step_s * number)

    def label(self, moment: datetime) -> str:
        if self.until - self.since > timedelta(hours=24):
            return f"{moment:%b} {moment.day} {moment:%H:%M}"
        return f"{moment:%H:%M}"

    @property
    def labels(self) -> list[str]:
        return [self.label(self.since + (self.until - self.since) * part / 4) for part in range(5)]


@dataclass(frozen=True)
class Point:
    x: float
    y: float
    width: float
    said: str


@dataclass(frozen=True)
class Chart:
    """line: an SVG path, broken where nothing was measured; area: the same, closed to the floor. top: of the scale, in words."""

    title: str
    newest: str
    least: str
    most: str
    top: str
    line: str
    area: str
    points: tuple[Point, ...]


def chart(
    title: str, rows: list[dict[str, Any]], column: str, window: Window, say: Callable[[float], str], gap_s: float
) -> Chart | None:
    """rows: of history.sql. say: a value in words. gap_s: a longer silence breaks the line. None: nothing was measured."""
    known = [(row["bin"], float(row[column])) for row in rows if row[column] is not None]
    if not known:
        return None
    values = [value for _, value in known]
    scale = nice(max(values))
    runs: list[list[tuple[float, float]]] = []
    before = None
    for number, value in known:
        if before is None or (number - before) * window.step_s > gap_s:
            runs.append([])
        runs[-1].append((window.bin_x(number), _y(value, scale)))
        before = number
    width = round(WIDTH / window.bins, 1)
    points = tuple(
        Point(window.bin_x(number), _y(value, scale), width, f"{clock(window.bin_at(number))}: {say(value)}")
        for number, value in known
    )
    line = "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in run) + ("h0" if len(run) == 1 else "") for run in runs)
    area = "".join(
        f"M{run[0][0]:g} {HEIGHT}L" + "L".join(f"{x:g} {y:g}" for x, y in run) + f"L{run[-1][0]:g} {HEIGHT}Z" for run in runs
    )
    return Chart(title, say(values[-1]), say(min(values)), say(max(values)), say(scale), line, area, points)


def nice(most: float) -> float:
    """The top of a scale that holds it: 1, 2 or 5 times a power of ten, or halfway there."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 7.5, 10, 15) if step * power >= most)


def _y(value: float, scale: float) -> float:
    return round(HEIGHT - value / scale * (HEIGHT - 4), 1)


@dataclass(frozen=True)
class Tick:
    """One bin of the timeline. tone: ok or bad; both when some failed."""

    x: float
    width: float
    good: int
    failed: int
    said: str


@dataclass(frozen=True)
class Mark:
    """A failover on the timeline."""

    x: float
    width: float
    tone: str
    said: str


def ticks(rows: list[dict[str, Any]], window: Window) -> tuple[Tick, ...]:
    width = max(2.0, round(WIDTH / window.bins * 0.7, 1))
    told = []
    for row in rows:
        counts = f"{row['good']} good" + (f", {row['failed']} failed: {row['message']}" if row["failed"] else "")
        x = window.bin_x(row["bin"]) - width / 2
        told.append(Tick(round(x, 1), width, row["good"], row["failed"], f"{clock(window.bin_at(row['bin']))}: {counts}"))
    return tuple(told)


def marks(
    failovers: list[dict[str, Any]], window: Window, tone: Callable[[str], str], say: Callable[[dict[str, Any]], str]
) -> tuple[Mark, ...]:
    """At least three units wide, so that a short one is seen."""
    told = []
    for row in failovers:
        if window.since <= row["at"] < window.until:
            end = window.x(min(row["ended_at"] or window.until, window.until))
            x = window.x(row["at"])
            told.append(Mark(x, max(3.0, round(end - x, 1)), tone(row["state"]), say(row)))
    return tuple(told)
