"""The composition root of console."""

import asyncio
import contextlib

import psycopg
from psycopg_pool import PoolTimeout
from reprise.console.api import router
from reprise.console.handlers import Handlers
from reprise.console.ledger import Ledger
from reprise.console.settings import Settings
from reprise.contracts.events import ALL
from reprise.runtime.service import Service


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("console", settings)
    ledger = Ledger(settings.conninfo)
    await ledger.open()

    async def migrate() -> None:
        while True:
            if not ledger.migrated:
                with contextlib.suppress(psycopg.OperationalError, PoolTimeout):
                    await ledger.migrate()
            await asyncio.sleep(1)

    service.app.include_router(router(ledger))
    service.part("migrations", migrate)
    service.bus.subscribe("console", ALL, Handlers(ledger).on_event, concurrency=8)
    service.health.ready_when("postgres", lambda: ledger.migrated)
    service.on_stop(ledger.close)
    await service.run_async()
