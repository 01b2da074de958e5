"""One function for every event."""

import asyncio

import psycopg
from psycopg_pool import PoolTimeout
from reprise.console.ledger import Ledger
from reprise.contracts.events import Event
from reprise.runtime.telemetry import log


class Handlers:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def on_event(self, event: Event) -> None:
        """Record it; while the database is away the event waits, and so does the stream behind it."""
        delay_s = 0.5
        while True:
            try:
                if not self._ledger.migrated:
                    await self._ledger.migrate()
                await self._ledger.record(event)
                return
            except (psycopg.OperationalError, PoolTimeout) as error:
                log().warning("the database does not answer, waiting", error=str(error).strip())
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 10.0)
