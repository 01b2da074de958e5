"""One function for every event."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
from psycopg_pool import PoolTimeout
from reprise.console.ledger import Ledger
from reprise.contracts.events import Event
from reprise.runtime.telemetry import log, received_trace_id


class Handlers:
    """rewind: has the stream delivered again from its oldest event."""

    def __init__(self, ledger: Ledger, rewind: Callable[[], Awaitable[None]]) -> None:
        self._ledger, self._rewind = ledger, rewind

    async def on_event(self, event: Event) -> None:
        """Record it; while the database is away the event waits, and so does the stream behind it."""
        delay_s = 0.5
        while True:
            try:
                await self.prepare()
                await self._ledger.record(event, received_trace_id())
                return
            except psycopg.errors.UndefinedTable:
                self._ledger.migrated = False  # the database was dropped under us: made again, and filled from the stream
            except (psycopg.OperationalError, PoolTimeout) as error:
                log().warning("the database does not answer, waiting", error=str(error).strip())
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 10.0)

    async def prepare(self) -> None:
        """Make the tables, and read the stream again if they are new or have columns that only the events can fill."""
        if self._ledger.migrated:
            return
        await self._ledger.migrate()
        if await self._ledger.replay_wanted():
            log().info("the tables are new: the stream is read again from its start")
            await self._rewind()
            await self._ledger.replay_begun()
