"""Events as they happen, as server-sent events: straight from JetStream, so they come while the database is away too.

Each one's id is its sequence in the stream: who was cut off sends the last as `Last-Event-ID`, and misses none.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from reprise.contracts import envelope, subjects
from reprise.contracts.errors import ContractError
from reprise.contracts.events import Event
from reprise.runtime.bus import Bus

BEAT_S = 10.0
MOST = 64
"""Streams at once; each is a consumer of its own."""
MOST_WAITING = 10_000
"""Events that a slow reader may be behind; then it is cut off, and comes again."""


@dataclass(frozen=True)
class Wanted:
    """Empty: any."""

    type: str = ""
    namespace: str = ""
    workload: str = ""
    node: str = ""

    @property
    def subject(self) -> str:
        return subjects.matching(self.type, node=self.node, namespace=self.namespace, workload=self.workload)

    def takes(self, event: Event) -> bool:
        """Two names can have the same subject."""
        told = {"type": event.TYPE, "namespace": event.workload.namespace, "workload": event.workload.name, "node": event.node}
        return all(not (want := getattr(self, name)) or want == value for name, value in told.items())


class Full(Exception):
    """No more streams at once."""


class Tails:
    """Every open stream."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._open: set[asyncio.Queue[Msg | None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End every stream: the server waits for them."""
        for queue in self._open:
            queue.put_nowait(None)

    def open(self, wanted: Wanted, after: int | None) -> AsyncIterator[str]:
        """after: the sequence of the last event that was seen; None: only new ones. Raises Full, ConnectionClosedError."""
        if len(self._open) >= MOST:
            raise Full
        if not self._bus.connected:
            raise ConnectionClosedError
        return self._lines(wanted, after)

    async def _lines(self, wanted: Wanted, after: int | None) -> AsyncIterator[str]:
        """Ends when NATS goes away: the reader comes again, with the last id that it saw."""
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._open.add(queue)
        subscription = None
        try:
            subscription = await self._subscribe(wanted, after, queue)
            yield "retry: 2000\n\n"
            while self._bus.connected:
                try:
                    message = await asyncio.wait_for(queue.get(), BEAT_S)
                except TimeoutError:
                    yield ": nothing new\n\n"  # keeps proxies from cutting it, and tells us whether anybody reads
                    continue
                if message is None or queue.qsize() > MOST_WAITING:
                    return
                if text := _text(wanted, message):
                    yield text
        except (NatsError, TimeoutError):
            return
        finally:
            self._open.discard(queue)
            if subscription:  # in a task of its own: a reader that went away has this one cancelled
                task = asyncio.create_task(_end(subscription))
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def _subscribe(
        self, wanted: Wanted, after: int | None, queue: asyncio.Queue[Msg | None]
    ) -> JetStreamContext.PushSubscription:
        jetstream = self._bus.jetstream
        config = await _start(jetstream, after)
        return await jetstream.subscribe(
            wanted.subject, cb=queue.put, stream=subjects.STREAM, ordered_consumer=True, config=config
        )


def _text(wanted: Wanted, message: Msg) -> str:
    try:
        _, event = envelope.decode(message.data)
    except ContractError:
        return ""  # the dead-letter stream has it
    return f"id: {message.metadata.sequence.stream}\ndata: {message.data.decode()}\n\n" if wanted.takes(event) else ""


async def _end(subscription: JetStreamContext.PushSubscription) -> None:
    with contextlib.suppress(NatsError, OSError):
        await subscription.unsubscribe()


async def _start(jetstream: JetStreamContext, after: int | None) -> ConsumerConfig:
    if after is None:
        return ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
    last = (await jetstream.stream_info(subjects.STREAM)).state.last_seq
    if after > last:  # the stream was made anew since
        return ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    return ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
