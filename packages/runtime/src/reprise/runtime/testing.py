"""NATS in memory, for unit tests of what is written through Bus and Bucket: dedup by id, compare-and-set by revision.

The real Bucket runs on it. on_call is awaited before and after each call takes effect, so that a test can cut there:
cut before, nothing happened; cut after, it happened and the caller does not know.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from nats.js.client import JetStreamContext
from nats.js.errors import APIError, KeyNotFoundError, KeyWrongLastSequenceError, NoKeysError
from reprise.contracts import envelope
from reprise.contracts.events import Event
from reprise.runtime.bus import Bus

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
        self.buckets: dict[str, dict[str, _Row]] = {}
        self.revisions: dict[str, int] = {}
        self.watchers: dict[str, list[_Watcher]] = {}


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
        name, payload = envelope.encode(event, source=self.source, event_id=dedup_id)
        self._server.events.setdefault(name, envelope.decode(payload)[1])
        await self._on_call("after", f"publish {event.TYPE}")


class _Stream:
    def __init__(self, server: MemoryServer, on_call: OnCall) -> None:
        self._server, self._on_call = server, on_call

    async def key_value(self, name: str) -> "_KeyValue":
        return _KeyValue(self._server, name, self._on_call)


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
            raise KeyNotFoundError
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


async def _nothing(_when: str, _what: str) -> Any:
    """No test is interested."""
