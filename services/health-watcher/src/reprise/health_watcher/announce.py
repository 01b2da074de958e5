"""Emit an event until NATS has it: what was noticed must not be lost because NATS was away."""

import asyncio

from nats.errors import Error as NatsError
from prometheus_client import Gauge
from reprise.contracts.events import Event
from reprise.runtime.bus import Bus
from reprise.runtime.telemetry import log

WAITING = Gauge("reprise_announcements_waiting", "Events of this node that NATS has not confirmed yet")


class Announcer:
    """Publishes in the background, in order of success; keeps at most LIMIT waiting."""

    LIMIT = 1000

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._tasks: set[asyncio.Task[None]] = set()
        WAITING.set_function(lambda: len(self._tasks))

    def announce(self, event: Event, dedup_id: str) -> None:
        if len(self._tasks) >= self.LIMIT:
            log().error("too many events wait for nats, dropped", event=event.TYPE, dedup_id=dedup_id)
            return
        task = asyncio.create_task(self._send(event, dedup_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, event: Event, dedup_id: str) -> None:
        delay_s = 0.05
        while True:
            try:
                await self._bus.publish(event, dedup_id=dedup_id, timeout_s=2)
                return
            except (NatsError, OSError, TimeoutError):
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)
