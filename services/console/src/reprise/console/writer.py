"""Events into the ledger, many in one transaction: whatever waits is written together, and each who brought one waits for it.

One writer, so no two transactions ever want the same rows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
from nats.errors import Error as NatsError
from psycopg_pool import PoolTimeout
from reprise.console.ledger import Ledger
from reprise.contracts.events import Event
from reprise.runtime.telemetry import log

MOST = 500
AGAIN_MAX_S = 10.0
AWAY = (psycopg.OperationalError, PoolTimeout, NatsError)
"""While it is one of these events wait, and so does the stream behind them."""


@dataclass(frozen=True)
class Brought:
    event: Event
    trace_id: str
    done: asyncio.Future[None]


class Writer:
    """prepare: makes the tables if there are none."""

    def __init__(self, ledger: Ledger, prepare: Callable[[], Awaitable[None]]) -> None:
        self._ledger, self._prepare = ledger, prepare
        self._waiting: asyncio.Queue[Brought] = asyncio.Queue()
        self._stopped = False

    async def write(self, event: Event, trace_id: str) -> None:
        """Returns once it is committed. Raises what is wrong with this event; CancelledError once stop() was called:
        it is not acknowledged then, and NATS delivers it again.
        """
        if self._stopped:
            raise asyncio.CancelledError
        brought = Brought(event, trace_id, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(brought)
        await brought.done

    async def stop(self) -> None:
        """Let go of what waits, however long the database is away."""
        self._stopped = True
        while not self._waiting.empty():
            self._waiting.get_nowait().done.cancel()

    async def run(self) -> None:
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            try:
                await self._settle(batch)
            finally:
                for brought in batch:
                    brought.done.cancel()  # does nothing to those that are done

    async def _settle(self, batch: list[Brought]) -> None:
        delay_s = 0.5
        while True:
            try:
                await self._prepare()
                await self._ledger.record_all([(each.event, each.trace_id) for each in batch])
                break
            except psycopg.errors.UndefinedTable:
                self._ledger.migrated = False  # the database was dropped under us: made again, and filled from the stream
            except AWAY as error:
                log().warning("the database does not answer, waiting", waiting=len(batch), error=str(error).strip())
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, AGAIN_MAX_S)
            except psycopg.Error as error:
                await self._apart(batch, error)
                return
        for each in batch:
            if not each.done.done():
                each.done.set_result(None)

    async def _apart(self, batch: list[Brought], error: psycopg.Error) -> None:
        """One of them is refused: it alone."""
        if len(batch) > 1:
            for each in batch:
                await self._settle([each])
        elif not batch[0].done.done():
            batch[0].done.set_exception(error)
