"""The composition root of console."""

import asyncio
import contextlib
from datetime import UTC, datetime

import psycopg
from nats.errors import Error as NatsError
from psycopg_pool import PoolTimeout
from reprise.console.app import app
from reprise.console.handlers import Handlers
from reprise.console.ledger import Ledger, cutoff
from reprise.console.settings import Settings
from reprise.console.stream import Tails
from reprise.console.web.rendering import Pages
from reprise.contracts.events import ALL
from reprise.runtime.service import Service

CONSUMER = "console"
AWAY = (psycopg.OperationalError, PoolTimeout, NatsError, OSError, TimeoutError)


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("console", settings)
    ledger = Ledger(settings.conninfo)
    await ledger.open()
    tails = Tails(service.bus)
    handlers = Handlers(ledger, lambda: service.bus.rewind(CONSUMER))

    async def prepare() -> None:
        while True:
            with contextlib.suppress(*AWAY):
                await handlers.prepare()
            await asyncio.sleep(1)

    async def forget() -> None:
        while True:
            if ledger.migrated:
                with contextlib.suppress(*AWAY):
                    await ledger.forget(cutoff(datetime.now(UTC), settings.retain_days))
            await asyncio.sleep(3600 if ledger.migrated else 1)

    service.app.mount("/", app(ledger, tails, Pages(lambda: service.bus.connected, settings.jaeger_url)))
    service.part("migrations", prepare)
    service.part("retention", forget)
    service.bus.subscribe(CONSUMER, ALL, handlers.on_event, concurrency=8)
    service.health.ready_when("postgres", lambda: ledger.migrated)
    service.on_stop(tails.close)
    service.on_stop(ledger.close)
    await service.run_async()
