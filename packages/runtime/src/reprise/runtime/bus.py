"""Events over JetStream: published once, handled at least once, never lost in silence.

A handler is `async (event) -> None`. Return: acknowledged. Raise a RepriseError that is not retryable: the message
goes to the dead-letter stream with the reason. Raise RetryLater: it is delivered again after the time that it names.
Raise anything else: it is delivered again with growing delay. After MAX_ATTEMPTS it is dead-lettered as well, unless the
subscription says otherwise. While a handler works its message is kept in progress.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from opentelemetry.trace import Span, SpanKind
from prometheus_client import Counter, Gauge, Histogram
from reprise.contracts import envelope, subjects
from reprise.contracts.errors import ContractError, RepriseError, WrongSubject
from reprise.contracts.events import VERSION, Event
from reprise.runtime import streams
from reprise.runtime.access import client as access
from reprise.runtime.connection import OPTIONS, Connection
from reprise.runtime.streams import RETAIN_S, Storage
from reprise.runtime.telemetry import about, log, span, traceparent

MAX_ATTEMPTS = 8
ACK_WAIT_S = 10.0
HEARTBEAT_S = 3.0
_DELAYS_S = (0.1, 0.5, 1, 2, 5, 10, 20, 30)

HANDLED = Counter("reprise_events_handled_total", "Events handled", ["consumer", "outcome"])
PUBLISHED = Counter("reprise_events_published_total", "Events published", ["type"])
HANDLER_SECONDS = Histogram("reprise_event_handler_seconds", "Time in the handler", ["consumer"])
PENDING = Gauge("reprise_events_pending", "Events in the stream that the consumer has not been given yet", ["consumer"])
UNSETTLED = Gauge("reprise_events_unsettled", "Events that were given to the consumer and are not settled", ["consumer"])
OUTCOMES = ("ok", "retry", "dead-letter", "unacknowledged")
COUNT_EVERY_S = 15.0
SAME_CLIENT_S = 0.5
FORGOTTEN_AFTER_S = 60.0
"""An observer's consumer, once nobody fetches from it."""

E_ = TypeVar("E_", bound=Event)
Handler = Callable[[Any], Awaitable[None]]


class RetryLater(RepriseError):
    """The handler cannot do it now."""

    retryable = True

    def __init__(self, message: str, *, after_s: float, **more: Any) -> None:
        super().__init__(message, **more)
        self.after_s = after_s


@dataclass(frozen=True)
class Opened:
    """A message that was understood: its attributes, its event's name, what handles it, and the span's attributes."""

    received: envelope.Envelope
    name: str
    handle: Callable[[], Awaitable[None]]
    about: dict[str, Any]


@dataclass(frozen=True)
class Subscription:
    """A durable consumer: its name, what it takes, at most how many at once, and how many are fetched together."""

    consumer: str
    events: tuple[type[Event], ...]
    handler: Handler
    node: str = "*"
    concurrency: int = 4
    batch: int = 1
    max_attempts: float = MAX_ATTEMPTS

    def config(self) -> ConsumerConfig:
        patterns = [subjects.pattern(event, self.node) for event in self.events]
        return _durable(self.consumer, patterns, deliver_policy=DeliverPolicy.ALL)

    def open(self, message: Msg) -> Opened:
        """Raises ContractError."""
        received, event = _decoded(message)
        return Opened(received, event.TYPE, lambda: self.handler(event), about(event))


@dataclass(frozen=True)
class Delivery:
    """An event as it lies on the stream, of whatever type: also of one that this version does not know."""

    attributes: envelope.Envelope
    subject: str
    payload: bytes
    attempt: int


@dataclass(frozen=True)
class Relay:
    """A durable consumer that passes events on as they are: those that are published after it was made.

    NATS forgets it once nobody served it for as long as events are kept.
    """

    consumer: str
    patterns: tuple[str, ...]
    """Subjects below subjects.ROOT, with wildcards; none may overlap another."""
    handler: Callable[[Delivery], Awaitable[None]]
    concurrency: int = 4
    max_attempts: int = MAX_ATTEMPTS
    batch: int = 1

    def config(self) -> ConsumerConfig:
        return _durable(self.consumer, list(self.patterns), deliver_policy=DeliverPolicy.NEW, inactive_threshold=RETAIN_S)

    def open(self, message: Msg) -> Opened:
        """Raises ContractError."""
        received = envelope.attributes(message.data)
        delivery = Delivery(received, message.subject, message.data, message.metadata.num_delivered or 1)
        name = ".".join(message.subject.removeprefix(f"{subjects.ROOT}.").split(".")[:2])
        return Opened(received, name, lambda: self.handler(delivery), {})


def _durable(name: str, patterns: list[str], **more: Any) -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=name,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_S,
        filter_subjects=patterns,
        max_ack_pending=256,
        **more,
    )


@dataclass(frozen=True)
class Observer:
    """What this process alone looks at: which events, and what is called with each."""

    name: str
    events: tuple[type[Event], ...]
    see: Callable[[Event], None]


@dataclass(frozen=True)
class Answerer:
    """Whoever answers the questions on a subject: bytes in, bytes out."""

    subject: str
    answer: Callable[[bytes], Awaitable[bytes]]


class Bus:
    """One connection to NATS. Reconnects for ever; publish() waits and raises when it cannot."""

    def __init__(
        self, url: str, source: str, storage: Storage | None = None, credentials: Path = access.FOLDER
    ) -> None:  # fmt: skip
        self.url, self._credentials = url, credentials
        self.source = source
        self.storage = storage or Storage()
        self._client = Client()
        self._subscriptions: list[Subscription] = []
        self._observers: list[Observer] = []
        self._answerers: list[Answerer] = []
        self._buckets: dict[str, Callable[[], Awaitable[object]]] = {}
        self._active: set[asyncio.Task[None]] = set()
        self._connected_at = float("-inf")

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    @property
    def connected_s(self) -> float:
        """Since it was connected, or connected again, last."""
        return time.monotonic() - self._connected_at

    async def _on_connected(self) -> None:
        self._connected_at = time.monotonic()

    @property
    def jetstream(self) -> JetStreamContext:
        """Raises nats.errors.ConnectionClosedError before the first connection."""
        if not self._client.is_connected and not self._client.is_reconnecting:
            raise ConnectionClosedError
        return self._client.jetstream(timeout=5)

    async def connect(self) -> None:
        """Connect, however long NATS is absent, and make sure that the streams exist."""
        delay_s, told = 0.1, False
        while True:
            try:
                if not self._client.is_connected:
                    client = Connection()
                    await client.connect(
                        self.url,
                        name=self.source,
                        error_cb=_on_error,
                        reconnected_cb=self._on_connected,
                        **OPTIONS,
                        **access.options(self.url, self._credentials),
                    )
                    self._client = client
                    await self._on_connected()
                await streams.ensure(self.jetstream, self.storage)
                await self._make_buckets()
                return
            except (NatsError, OSError, TimeoutError) as error:
                if not told:
                    log().warning(
                        "nats is not reachable, or does not take our streams, trying on", url=self.url, error=str(error)
                    )
                    told = True
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 2.0)

    def bucket(self, name: str, make: Callable[[], Awaitable[object]]) -> None:
        """Register a bucket that this process uses, and how it is made."""
        self._buckets[name] = make

    async def _make_buckets(self) -> None:
        """Ahead of their use: none that is to have three replicas can be made while one of three servers is away."""
        for name, make in self._buckets.items() if self.storage.replicas > 1 else ():
            try:
                await make()
            except (NatsError, TimeoutError) as error:
                log().warning("a bucket could not be made yet", bucket=name, error=str(error))

    async def publish(self, event: Event, *, dedup_id: str = "", timeout_s: float = 5.0) -> None:
        """Publish one event; the same dedup_id within two minutes is stored once.

        Raises nats.errors.Error or TimeoutError when NATS does not confirm it: the caller's own message is then
        delivered again, or the caller retries.
        """
        subject = subjects.of(event)
        attributes = _messaging("publish", "send", event.TYPE, subject) | about(event)
        with span(f"publish {event.TYPE}", kind=SpanKind.PRODUCER, attributes=attributes) as current:
            parent = traceparent()
            event_id, payload = envelope.encode(event, source=self.source, event_id=dedup_id, traceparent=parent)
            current.set_attributes({"messaging.message.id": event_id, "messaging.message.body.size": len(payload)})
            headers = {"Nats-Msg-Id": event_id, "Content-Type": envelope.CONTENT_TYPE, "traceparent": parent}
            await self._send(subject, payload, headers, timeout_s)
        PUBLISHED.labels(event.TYPE).inc()

    async def _send(self, subject: str, payload: bytes, headers: dict[str, str], timeout_s: float) -> None:
        await self.jetstream.publish(subject, payload, timeout=timeout_s, headers=headers)

    def subscribe(
        self,
        consumer: str,
        events: type[E_] | tuple[type[Event], ...],
        handler: Callable[[E_], Awaitable[None]],
        *,
        node: str = "*",
        concurrency: int = 4,
        batch: int = 1,
        max_attempts: float = MAX_ATTEMPTS,
    ) -> None:
        """Register a durable consumer; run() serves it. node: only events about that node. batch: fetched together, where
        the way to NATS and back would take longer than handling one. max_attempts: math.inf for what is never given up.
        """
        types = events if isinstance(events, tuple) else (events,)
        subscription = Subscription(subjects.token(consumer), types, handler, node, concurrency, batch, max_attempts)
        self._subscriptions.append(subscription)
        for outcome in OUTCOMES:  # a counter that appears with its first event shows no increase
            HANDLED.labels(subscription.consumer, outcome)

    def observe(self, name: str, events: tuple[type[Event], ...], see: Callable[[Event], None]) -> None:
        """Have see() called here, whatever other processes do, with the newest event of each subject and each that follows.

        For what is known, not for what is done: nothing is acknowledged, and after an interruption the newest come again.
        """
        self._observers.append(Observer(name, events, see))

    def answer(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer what is asked on this subject; run() does it. A question is no event: it is not stored."""
        self._answerers.append(Answerer(subject, answer))

    async def ask(self, subject: str, question: bytes, timeout_s: float) -> bytes:
        """Raises nats.errors.Error at once if nobody is there to answer; TimeoutError."""
        return (await self._client.request(subject, question, timeout=timeout_s)).data

    async def rewind(self, consumer: str) -> None:
        """Have this durable consumer read the stream again from its oldest event. Raises nats.errors.Error."""
        name = subjects.token(consumer)
        with contextlib.suppress(NotFoundError):
            info = await self.jetstream.consumer_info(subjects.STREAM, name)
            if info.delivered and info.delivered.stream_seq:  # else it is at the start; made anew by whoever serves it
                await self.jetstream.delete_consumer(subjects.STREAM, name)

    async def run(self) -> None:
        """Serve every subscription until cancelled."""
        async with asyncio.TaskGroup() as group:
            for subscription in self._subscriptions:
                group.create_task(self._serve(subscription), name=subscription.consumer)
            for observer in self._observers:
                group.create_task(self._watch(observer), name=observer.name)
            for answerer in self._answerers:
                group.create_task(self._answer_for_ever(answerer), name=answerer.subject)
            group.create_task(self._count_for_ever())

    async def serve(self, relay: Relay) -> None:
        """Serve a relay until cancelled; what is in hand then is finished by itself, or by drain()."""
        await self._serve(relay)

    async def drain(self, timeout_s: float) -> None:
        """Let handlers finish, then close."""
        if self._active:
            await asyncio.wait(self._active, timeout=timeout_s)
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await self._client.close()

    async def _count_for_ever(self) -> None:
        """How far behind each consumer is; what is shared by replicas is told by each of them."""
        while True:
            for subscription in self._subscriptions:
                with contextlib.suppress(NatsError, OSError, TimeoutError):
                    info = await self.jetstream.consumer_info(subjects.STREAM, subscription.consumer)
                    PENDING.labels(subscription.consumer).set(info.num_pending or 0)
                    UNSETTLED.labels(subscription.consumer).set(info.num_ack_pending or 0)
            await asyncio.sleep(COUNT_EVERY_S)

    async def _answer_for_ever(self, answerer: Answerer) -> None:
        """Until connect() has made another client: one that only reconnects subscribes by itself."""

        async def handle(message: Msg) -> None:
            task = asyncio.create_task(_respond(answerer, message))  # a probe that takes long keeps nobody else waiting
            self._active.add(task)
            task.add_done_callback(self._active.discard)

        while True:
            client = self._client
            try:
                subscription = await client.subscribe(answerer.subject, cb=handle)
                try:
                    while self._client is client:
                        await asyncio.sleep(SAME_CLIENT_S)
                finally:
                    with contextlib.suppress(Exception):
                        await subscription.unsubscribe()
            except (NatsError, OSError, TimeoutError) as error:
                log().debug("cannot answer questions", subject=answerer.subject, error=repr(error))
                await asyncio.sleep(0.5)

    async def _watch(self, observer: Observer) -> None:
        while True:
            try:
                await self._observe_for_ever(observer)
            except (NatsError, OSError, TimeoutError) as error:
                log().debug("observer interrupted", observer=observer.name, error=repr(error))
                await asyncio.sleep(0.5)
                await self.connect()  # the stream may be new: NATS can come back without its data

    async def _observe_for_ever(self, observer: Observer) -> None:
        config = ConsumerConfig(
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.LAST_PER_SUBJECT,
            filter_subjects=[subjects.pattern(event) for event in observer.events],
            inactive_threshold=FORGOTTEN_AFTER_S,
            mem_storage=True,
        )
        pull = await self.jetstream.pull_subscribe("", stream=subjects.STREAM, config=config)
        try:
            while True:
                try:
                    messages = await pull.fetch(64, timeout=5)
                except TimeoutError:
                    await pull.consumer_info()  # raises if it vanished with its stream
                    continue
                for message in messages:
                    _show(observer, message)
        finally:
            with contextlib.suppress(Exception):
                await pull.unsubscribe()

    async def _serve(self, subscription: Subscription | Relay) -> None:
        while True:
            try:
                await self._fetch_for_ever(subscription)
            except (NatsError, OSError, TimeoutError) as error:
                log().warning("consumer interrupted", consumer=subscription.consumer, error=repr(error))
                await asyncio.sleep(0.5)
                await self.connect()  # the stream may be new: NATS can come back without its data

    async def _fetch_for_ever(self, subscription: Subscription | Relay) -> None:
        js = self.jetstream
        await js.add_consumer(subjects.STREAM, subscription.config())
        pull = await js.pull_subscribe_bind(durable=subscription.consumer, stream=subjects.STREAM)
        slots = asyncio.Semaphore(subscription.concurrency)
        quiet = 0
        try:
            while True:
                free = await _take(slots, subscription.batch)
                try:
                    messages = await pull.fetch(free, timeout=5)  # whatever there is, without waiting for more
                except TimeoutError:
                    _release(slots, free)
                    quiet += 1
                    if quiet % 6 == 0:  # a consumer that vanished with its stream would be silent for ever
                        await js.consumer_info(subjects.STREAM, subscription.consumer)
                    continue
                except BaseException:
                    _release(slots, free)
                    raise
                quiet = 0
                _release(slots, free - len(messages))
                for message in messages:
                    task = asyncio.create_task(self._handle(subscription, message))
                    self._active.add(task)
                    task.add_done_callback(self._active.discard)
                    task.add_done_callback(lambda _: slots.release())
        finally:
            with contextlib.suppress(Exception):
                await pull.unsubscribe()

    async def _handle(self, subscription: Subscription | Relay, message: Msg) -> None:
        heartbeat = asyncio.create_task(_keep_in_progress(message))
        try:
            with HANDLER_SECONDS.labels(subscription.consumer).time():
                outcome = await self._attempt(subscription, message)
        except (NatsError, OSError, TimeoutError) as error:
            outcome = "unacknowledged"  # NATS delivers it again after ACK_WAIT_S
            log().warning("could not settle a message", consumer=subscription.consumer, error=repr(error))
        finally:
            heartbeat.cancel()
        HANDLED.labels(subscription.consumer, outcome).inc()

    async def _attempt(self, subscription: Subscription | Relay, message: Msg) -> str:
        attempt = message.metadata.num_delivered or 1
        try:
            opened = subscription.open(message)
        except ContractError as error:
            return await self._bury(subscription, message, error.reason, str(error))
        delay_s: float = _DELAYS_S[min(attempt - 1, len(_DELAYS_S) - 1)]
        logger = log().bind(consumer=subscription.consumer, event=opened.name, event_id=opened.received.id)
        try:
            with processing(subscription.consumer, opened, message.subject):
                await opened.handle()
        except RepriseError as error:
            if not error.retryable or attempt >= subscription.max_attempts:
                return await self._bury(subscription, message, error.reason, f"{error}. {error.remedy}")
            delay_s = error.after_s if isinstance(error, RetryLater) else delay_s
            logger.warning("handler failed, again later", attempt=attempt, again_in_s=round(delay_s, 1), error=str(error))
        except Exception as error:
            if attempt >= subscription.max_attempts:
                return await self._bury(subscription, message, type(error).__name__, str(error))
            logger.exception("handler failed, again later", attempt=attempt)
        else:
            await message.ack()
            return "ok"
        await message.nak(delay=delay_s)
        return "retry"

    async def _bury(self, subscription: Subscription | Relay, message: Msg, reason: str, detail: str) -> str:
        log().error("message dead-lettered", consumer=subscription.consumer, subject=message.subject,
                    reason=reason, detail=detail)  # fmt: skip
        headers = {"Reprise-Reason": reason, "Reprise-Detail": " ".join(detail.split())[:1000],
                   "Reprise-Subject": message.subject}  # fmt: skip
        await self.jetstream.publish(subjects.dead_letter(subscription.consumer), message.data, headers=headers)
        await message.term()
        return "dead-letter"


def _decoded(message: Msg) -> tuple[envelope.Envelope, Event]:
    """NATS lets each user publish on its own subjects only: what an event says counts only on the subject that belongs to it.

    Raises ContractError.
    """
    received, event = envelope.decode(message.data)
    if message.subject != subjects.of(event):
        detail = f"an event that belongs on {subjects.of(event)} was published on another subject"
        raise WrongSubject(detail, subject=message.subject, remedy="find out who published it: docs/security.md")
    return received, event


def _show(observer: Observer, message: Msg) -> None:
    """A fault in who only looks on must not end the handlers beside it."""
    try:
        observer.see(_decoded(message)[1])
    except ContractError:
        return  # the dead-letter stream has it
    except Exception:
        log().exception("observer failed", observer=observer.name, subject=message.subject)


async def _respond(answerer: Answerer, message: Msg) -> None:
    try:
        answer = await answerer.answer(message.data)
        await message.respond(answer)
    except Exception:  # whoever asked waits in vain, and asks again
        log().exception("a question was not answered", subject=answerer.subject)


def processing(consumer: str, opened: Opened, subject: str) -> AbstractContextManager[Span]:
    """The span of one event in its handler: it goes on with the trace of who published it."""
    ours = {"messaging.message.id": opened.received.id, "messaging.consumer.group.name": consumer}
    return span(
        f"{consumer.partition('-')[0]} {opened.name}", parent=opened.received.traceparent, kind=SpanKind.CONSUMER,
        attributes=_messaging("process", "process", opened.name, subject) | opened.about | ours,
    )  # fmt: skip


def _messaging(name: str, kind: str, event_name: str, subject: str) -> dict[str, Any]:
    """https://opentelemetry.io/docs/specs/semconv/messaging/ and .../cloudevents/"""
    return {
        "messaging.system": "nats",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": subject,
        "messaging.destination.template": f"{subjects.ROOT}.{event_name}.{{node}}.{{namespace}}.{{workload}}",
        "cloudevents.event_type": f"{envelope.TYPE_PREFIX}{VERSION}.{event_name}",
    }


async def _take(slots: asyncio.Semaphore, most: int) -> int:
    """One slot, once there is one, and as many more as are free."""
    await slots.acquire()
    taken = 1
    while taken < most and not slots.locked():
        await slots.acquire()
        taken += 1
    return taken


def _release(slots: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        slots.release()


async def _keep_in_progress(message: Msg) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await message.in_progress()


async def _on_error(_error: Exception) -> None:
    """nats-py logs every refused reconnect; connect() and _serve() tell the story once."""
