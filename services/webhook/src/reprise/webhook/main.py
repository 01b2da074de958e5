"""The composition root of webhook."""

import asyncio

from reprise.runtime.kv import Bucket
from reprise.runtime.service import Service
from reprise.webhook.adapters.https import HttpsSender
from reprise.webhook.endpoints import Following
from reprise.webhook.handlers import Handlers
from reprise.webhook.model import Disabled
from reprise.webhook.settings import Settings


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("webhook", settings)
    records = Bucket(service.bus, "webhooks", Disabled)
    sender = HttpsSender(settings.webhook_timeout_s, settings.webhook_ca_file)
    handlers = Handlers(sender, records, settings.webhook_body_bytes)
    following = Following(
        service.bus,
        records,
        settings.webhook_file,
        handlers.deliver,
        attempts=settings.webhook_attempts,
        reload_s=settings.webhook_reload_s,
    )
    service.part("endpoints", following.run)
    service.health.ready_when("endpoints", lambda: following.read)
    await service.run_async()
