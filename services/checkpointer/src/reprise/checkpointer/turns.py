"""Gives a node's due checkpoints their turns, at the pace that pace.py sets."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from prometheus_client import Gauge, Histogram
from reprise.checkpointer.pace import (
    MOST_COUNTED_S,
    MOST_WAITING,
    Claim,
    Container,
    gives_way,
    may_start,
    owed_after,
    rest,
)
from reprise.runtime.bus import RetryLater

LOOK_S = 0.5
"""How often the pressure is read while a checkpoint waits. The kernel updates it every 2 s."""
LEAST_S = 0.01
"""A rest that is shorter ends with rounding, not with time."""

WAITING = Gauge("reprise_checkpoints_waiting", "Due checkpoints that wait for their turn on this node")
WAIT_SECONDS = Histogram(
    "reprise_checkpoint_wait_seconds",
    "How long a due checkpoint waited for its turn, because of others or because its node is busy",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
)
PRESSURE = Gauge("reprise_cpu_pressure_ratio", "Share of time in which a task of this node waited for a CPU, as read last")


class GaveWay(Exception):
    """Raised to one whose turn will not come: a newer checkpoint of its container is due, or too many others wait."""


@dataclass(eq=False)
class _Waiting:
    claim: Claim
    number: int
    granted: asyncio.Future[bool]
    """False: it gave way."""

    @property
    def order(self) -> tuple[tuple[bool, bool, float], int]:
        return self.claim.order, self.number


class Turns:
    """pressure: reads the node's CPU pressure, 0 to 1; None if its kernel does not tell. cores: of the node."""

    def __init__(self, pressure: Callable[[], float | None], cores: int) -> None:
        self._read, self._cores = pressure, cores
        self._numbers = itertools.count()
        self._waiting: list[_Waiting] = []
        self._newest: dict[Container, Claim] = {}
        self._under_way = 0
        self._owed_s = self._settled_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def announce(self, claim: Claim) -> None:
        """One more is due: an older one of its container that waits, or is about to, gives way."""
        newest = self._newest.get(claim.container)
        if newest is None or gives_way(newest, claim) or claim.checkpoint_id > newest.checkpoint_id:
            self._newest[claim.container] = claim
        for other in [each for each in self._waiting if gives_way(each.claim, claim)]:
            self._answer(other, granted=False)

    async def close(self) -> None:
        """Leave those that wait to the next process of this node: a stop does not wait for a node to have time."""
        self._closed = True
        for each in list(self._waiting):
            self._answer(each, granted=False)

    @contextlib.asynccontextmanager
    async def turn(self, claim: Claim) -> AsyncIterator[float]:
        """Wait for it, and have it for as long as the context lasts. Gives the seconds that it waited. Raises GaveWay, or
        RetryLater once this is closed.
        """
        began_s = _now_s()
        await self._wait(claim)
        started_s = _now_s()
        WAIT_SECONDS.observe(started_s - began_s)
        try:
            yield started_s - began_s
        finally:
            self._settle()
            self._under_way -= 1
            self._owed_s += min(_now_s() - started_s, MOST_COUNTED_S)
            self._go_on()

    async def _wait(self, claim: Claim) -> None:
        newest = self._newest.get(claim.container)
        if newest and gives_way(claim, newest):
            raise GaveWay
        if self._closed:
            raise _stopping()
        mine = _Waiting(claim, next(self._numbers), asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if len(self._waiting) > MOST_WAITING:
            self._answer(max(self._waiting, key=lambda each: each.order), granted=False)
        self._go_on()
        try:
            granted = await mine.granted
        except asyncio.CancelledError:
            if mine in self._waiting:
                self._waiting.remove(mine)
            elif not mine.granted.cancelled() and mine.granted.result():
                self._under_way -= 1  # it had just got its turn
            self._go_on()
            raise
        if not granted:
            raise _stopping() if self._closed else GaveWay

    def _go_on(self) -> None:
        """Let start whoever may, and look again later if others have to wait."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            pressure = self._settle()
            first = min(self._waiting, key=lambda each: each.order)
            if not may_start(first.claim, under_way=self._under_way, owed_s=self._owed_s, pressure=pressure, cores=self._cores):
                rests_s = self._owed_s * rest(pressure, self._cores) or LOOK_S
                self._timer = asyncio.get_running_loop().call_later(min(LOOK_S, max(LEAST_S, rests_s)), self._go_on)
                break
            self._under_way += self._answer(first, granted=True)
        WAITING.set(len(self._waiting))

    def _answer(self, who: _Waiting, *, granted: bool) -> bool:
        """Whether it still waits for an answer: it may have been cancelled this very moment."""
        self._waiting.remove(who)
        if waits := not who.granted.done():
            who.granted.set_result(granted)
        return waits

    def _settle(self) -> float | None:
        """Count the rest since the last look, at the pressure of now. Returns that."""
        pressure, now_s = self._read(), _now_s()
        PRESSURE.set(float("nan") if pressure is None else pressure)
        self._owed_s = owed_after(self._owed_s, now_s - self._settled_s, rest(pressure, self._cores))
        self._settled_s = now_s
        return pressure


def _stopping() -> RetryLater:
    return RetryLater("the checkpointer stops", after_s=1.0)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
