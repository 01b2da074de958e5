"""One function for every event."""

from collections.abc import Awaitable, Callable

from reprise.console.ledger import Ledger
from reprise.console.writer import Writer
from reprise.contracts.events import Event
from reprise.runtime.telemetry import log, received_trace_id


class Handlers:
    """rewind: has the stream delivered again from its oldest event."""

    def __init__(self, ledger: Ledger, rewind: Callable[[], Awaitable[None]]) -> None:
        self._ledger, self._rewind = ledger, rewind
        self.writer = Writer(ledger, self.prepare)

    async def on_event(self, event: Event) -> None:
        """Record it; while the database is away the event waits, and so does the stream behind it."""
        await self.writer.write(event, received_trace_id())

    async def prepare(self) -> None:
        """Make the tables, and read the stream again if they are new or have columns that only the events can fill."""
        if self._ledger.migrated:
            return
        await self._ledger.migrate()
        if await self._ledger.replay_wanted():
            log().info("the tables are new: the stream is read again from its start")
            await self._rewind()
            await self._ledger.replay_begun()
