"""NATS in memory, for unit tests of what is written through Bus and Bucket: dedup by id, compare-and-set by revision.

The real Bucket runs on it. on_call is awaited before and after each call takes effect, so that a test can cut there:
cut before, nothing happened; cut after, it happened and the caller does not know.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from nats.errors import NoRespondersError
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from reprise.contracts import envelope, subjects
from reprise.contracts.events import Event
from reprise.runtime.bus import Bus, Handler, Opened, processing
from reprise.runtime.telemetry import about

OnCall = Callable[[Literal["before", "after"], str], Awaitable[None]]


@dataclass(frozen=True)
class _Row:
    key: str
    value: bytes
    revision: int
    deleted: bool

    @property
    def operation(self) -> str | None:
        return "DEL" if self.deleted else None


class MemoryServer:
    """What outlives a client: the stream and the buckets."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        """By dedup id, in order of their first publication."""
        self.payloads: dict[str, bytes] = {}
        """The same as they were sent, with the trace that they belong to."""
        self.buckets: dict[str, dict[str, _Row]] = {}
        self.revisions: dict[str, int] = {}
        self.watchers: dict[str, list[_Watcher]] = {}
        self.answerers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self.dead_letters: dict[str, bytes] = {}
        """Values in buckets that could not be read, by subject."""

    def kept(self) -> dict[str, dict[str, _Row]]:
        """What the buckets hold, for set_back()."""
        return {name: dict(rows) for name, rows in self.buckets.items()}

    def set_back(self, kept: dict[str, dict[str, _Row]]) -> None:
        """It is as it was, and gives revisions again: what was written since is forgotten. Whoever watches begins anew."""
        for name, rows in self.buckets.items():
            before = kept.get(name, {})
            rows.clear()
            rows.update(before)
            self.revisions[name] = max((row.revision for row in before.values()), default=0)
            for watcher in self.watchers.get(name, []):
                for row in (*before.values(), None):
                    watcher.queue.put_nowait(row)

    def poison(self, bucket: str, key: str, value: bytes = b"not a record") -> None:
        """Write what nobody can read."""
        revision = self.revisions[bucket] = self.revisions.get(bucket, 0) + 1
        row = self.buckets.setdefault(bucket, {})[key] = _Row(key, value, revision, False)
        for watcher in self.watchers.get(bucket, []):
            watcher.queue.put_nowait(row)


class MemoryBus(Bus):
    """One client of a MemoryServer."""

    def __init__(self, server: MemoryServer, on_call: OnCall | None = None) -> None:
        super().__init__("memory://", "reprise/test")
        self._server, self._on_call = server, on_call or _nothing

    @property
    def jetstream(self) -> JetStreamContext:
        return cast(JetStreamContext, _Stream(self._server, self._on_call))

    async def publish(self, event: Event, *, dedup_id: str = "", timeout_s: float = 5.0) -> None:
        await self._on_call("before", f"publish {event.TYPE}")
        await super().publish(event, dedup_id=dedup_id, timeout_s=timeout_s)
        await self._on_call("after", f"publish {event.TYPE}")

    async def _send(self, subject: str, payload: bytes, headers: dict[str, str], timeout_s: float) -> None:
        name = headers["Nats-Msg-Id"]
        self._server.events.setdefault(name, envelope.decode(payload)[1])
        self._server.payloads.setdefault(name, payload)

    def answer(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> None:
        """At once, not from run() on."""
        self._server.answerers[subject] = answer

    async def ask(self, subject: str, question: bytes, timeout_s: float) -> bytes:
        if subject not in self._server.answerers:
            raise NoRespondersError
        async with asyncio.timeout(timeout_s):
            return await self._server.answerers[subject](question)

    async def process(self, consumer: str, dedup_id: str, handler: Handler) -> None:
        """What is stored under this id, in a handler, as a consumer of this name would have it."""
        received, event = envelope.decode(self._server.payloads[dedup_id])
        opened = Opened(received, event.TYPE, lambda: handler(event), about(event))
        with processing(consumer, opened, subjects.of(event)):
            await opened.handle()


class _Stream:
    def __init__(self, server: MemoryServer, on_call: OnCall) -> None:
        self._server, self._on_call = server, on_call

    async def key_value(self, name: str) -> "_KeyValue":
        return _KeyValue(self._server, name, self._on_call)

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> None:
        """Of dead letters only: a Bus sends its events by itself."""
        self._server.dead_letters[subject] = payload


class _KeyValue:
    """As nats.js.kv.KeyValue: revisions are of the bucket, a deletion is one more, and what is deleted can be created."""

    def __init__(self, server: MemoryServer, name: str, on_call: OnCall) -> None:
        self._server, self._name, self._on_call = server, name, on_call
        self._rows = server.buckets.setdefault(name, {})

    async def get(self, key: str) -> _Row:
        await self._on_call("before", f"get {self._name}")
        row = self._rows.get(key)
        await self._on_call("after", f"get {self._name}")
        if row is None or row.deleted:
            raise KeyNotFoundError(op="DEL" if row else None)
        return row

    async def create(self, key: str, value: bytes) -> int:
        row = self._rows.get(key)
        return await self._write("create", key, value, row.revision if row and row.deleted else 0)

    async def update(self, key: str, value: bytes, last: int) -> int:
        return await self._write("update", key, value, last)

    async def put(self, key: str, value: bytes) -> int:
        return await self._write("put", key, value, None)

    async def delete(self, key: str, last: int | None = None) -> None:
        try:
            await self._write("delete", key, b"", last, deleted=True)
        except KeyWrongLastSequenceError as error:
            raise APIError(code=400, err_code=10071) from error

    async def keys(self) -> list[str]:
        names = [key for key, row in self._rows.items() if not row.deleted]
        if not names:
            raise NoKeysError
        return names

    async def watchall(self) -> "_Watcher":
        await self._on_call("before", f"watch {self._name}")
        watcher = _Watcher(self._server.watchers.setdefault(self._name, []), self._on_call)
        for row in (*self._rows.values(), None):
            watcher.queue.put_nowait(row)
        return watcher

    async def _write(self, what: str, key: str, value: bytes, last: int | None, *, deleted: bool = False) -> int:
        await self._on_call("before", f"{what} {self._name}")
        row = self._rows.get(key)
        if last is not None and last != (row.revision if row else 0):
            raise KeyWrongLastSequenceError
        revision = self._server.revisions.get(self._name, 0) + 1
        self._server.revisions[self._name] = revision
        self._rows[key] = _Row(key, value, revision, deleted)
        for watcher in self._server.watchers.get(self._name, []):
            watcher.queue.put_nowait(self._rows[key])
        await self._on_call("after", f"{what} {self._name}")
        return revision


class _Watcher:
    """What a watch delivers: what is there, None, then each change."""

    def __init__(self, all_of_them: list["_Watcher"], on_call: OnCall) -> None:
        self.queue: asyncio.Queue[_Row | None] = asyncio.Queue()
        self._all, self._on_call = all_of_them, on_call
        self._all.append(self)

    async def __anext__(self) -> _Row | None:
        row = await self.queue.get()
        await self._on_call("after", "deliver")
        return row

    async def stop(self) -> None:
        self._all.remove(self)


class Spans:
    """What was recorded, in the order in which it began."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        return sorted(self._exporter.get_finished_spans(), key=lambda each: each.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        """The newest of this name. Raises IndexError."""
        return [each for each in self.all() if each.name == name][-1]

    def tree(self) -> list[str]:
        """Each span with those that it is in: `root > child`."""
        by_id = {each.context.span_id: each for each in self.all() if each.context}

        def path(each: ReadableSpan) -> str:
            above = by_id.get(each.parent.span_id) if each.parent else None
            return f"{path(above)} > {each.name}" if above else each.name

        return [path(each) for each in self.all()]


class _Recorder(SimpleSpanProcessor):
    """Keeps spans only while somebody looks: models of many thousand steps run in the same process."""

    def __init__(self) -> None:
        self.kept = InMemorySpanExporter()
        self.looking = False
        super().__init__(self.kept)

    def on_end(self, span: ReadableSpan) -> None:
        if self.looking:
            super().on_end(span)


_RECORDER = _Recorder()


@contextmanager
def recorded_spans() -> Iterator[Spans]:
    """Spans that end meanwhile. A process has one tracer provider for good: it is set by the first who asks."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(_RECORDER)
        trace.set_tracer_provider(provider)
    _RECORDER.looking = True
    try:
        yield Spans(_RECORDER.kept)
    finally:
        _RECORDER.looking = False
        _RECORDER.kept.clear()


async def _nothing(_when: str, _what: str) -> Any:
    """No test is interested."""
