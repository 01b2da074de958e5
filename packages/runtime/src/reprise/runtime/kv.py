"""A JetStream key-value bucket of pydantic models, with compare-and-set.

Keys are made of Kubernetes names; key() joins them. Every bucket is a cache: losing it loses no checkpoint.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import KeyValueConfig
from nats.js.errors import (
    APIError,
    BadRequestError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoKeysError,
)
from nats.js.kv import KeyValue
from prometheus_client import Counter
from pydantic import BaseModel
from reprise.contracts import subjects
from reprise.contracts.model import Workload
from reprise.runtime import streams, unreadable
from reprise.runtime.bus import Bus

M = TypeVar("M", bound=BaseModel)
WRONG_LAST_SEQUENCE = (10071, 10164)
"""nats-server's JSStreamWrongLastSequenceErrF and JSStreamWrongLastSequenceConstantErr."""
OPERATIONS = Counter(
    "reprise_kv_operations_total",
    "Operations on key-value buckets; conflict: another was faster",
    ["bucket", "operation", "outcome"],
)


def key(*names: str) -> str:
    """Join names to a key; each is one token."""
    return ".".join(map(subjects.token, names))


def container_key(workload: Workload, container: str) -> str:
    """Of what is known of a workload's container, whichever its pod."""
    return key(workload.namespace, workload.kind, workload.name, container)


@cache
def _count_from_zero(bucket: str) -> None:
    """A counter that appears with its first error shows no increase."""
    for operation in ("get", "create", "update", "put", "delete", "keys", "watch"):
        OPERATIONS.labels(bucket, operation, "error")


@dataclass(frozen=True)
class Entry(Generic[M]):
    """A value and the revision to pass to update()."""

    key: str
    value: M
    revision: int


@dataclass(frozen=True)
class Change(Generic[M]):
    """What a watch saw; value None means deleted."""

    key: str
    value: M | None
    revision: int


class Bucket(Generic[M]):
    """One bucket of one model. Raises nats.errors.Error or TimeoutError while NATS is away."""

    def __init__(self, bus: Bus, name: str, model: type[M], *, ttl_s: float = 0, instead: M | None = None) -> None:
        """instead: what counts in the place of a value that cannot be read, until it is written anew; None: reading that one
        raises UnreadableRecord, which is a nats.errors.Error.
        """
        self._bus = bus
        self._name = name
        self._model = model
        self._ttl_s = ttl_s
        self._replicated = False
        self._instead = instead
        bus.bucket(name, self._kv)
        unreadable.watched(name)
        _count_from_zero(name)

    @contextlib.contextmanager
    def _counted(self, operation: str) -> Iterator[None]:
        """One that is cancelled counts as an error: that is how its caller's time-out ends it."""
        outcome = "error"
        try:
            yield
            outcome = "ok"
        except (KeyNotFoundError, NoKeysError):
            outcome = "ok"
            raise
        except APIError as error:
            outcome = "conflict" if _is_conflict(error) else "error"
            raise
        finally:
            OPERATIONS.labels(self._name, operation, outcome).inc()

    async def _kv(self) -> KeyValue:
        js, replicas = self._bus.jetstream, self._bus.storage.replicas
        try:
            found = await js.key_value(self._name)
            if replicas > 1 and not self._replicated:
                await streams.replicate(js, f"KV_{self._name}", replicas)
                self._replicated = True
            return found
        except BucketNotFoundError:
            try:
                return await js.create_key_value(KeyValueConfig(bucket=self._name, ttl=self._ttl_s or None, replicas=replicas))
            except BadRequestError:  # another replica was faster
                return await js.key_value(self._name)

    async def get(self, key: str) -> Entry[M] | None:
        try:
            with self._counted("get"):
                entry = await (await self._kv()).get(key)
        except KeyNotFoundError:
            unreadable.settled(self._name, key)
            return None
        try:
            return Entry(key, await self._read(key, entry.value, entry.revision), entry.revision or 0)
        except unreadable.UnreadableRecord:
            if self._instead is None:
                raise
            return Entry(key, self._instead, entry.revision or 0)

    async def _read(self, key: str, value: bytes | None, revision: int | None) -> M:
        try:
            read = self._model.model_validate_json(value or b"")
        except Exception as error:  # a model's own validators may raise anything for what they never expected
            js = self._bus.jetstream
            raise await unreadable.tell(js, self._name, key, value or b"", revision or 0, error) from error
        unreadable.settled(self._name, key)
        return read

    @property
    def unreadable(self) -> frozenset[str]:
        """Keys of values that could not be read when they were met last."""
        return unreadable.keys(self._name)

    async def revision(self, key: str) -> int:
        """Of a key's value, also of one that cannot be read; 0 if there is none."""
        try:
            with self._counted("get"):
                return (await (await self._kv()).get(key)).revision or 0
        except KeyNotFoundError:
            return 0

    async def was_deleted(self, key: str) -> bool:
        """Whether somebody deleted its last value; not if NATS lost it with all its data."""
        try:
            with self._counted("get"):
                await (await self._kv()).get(key)
        except KeyNotFoundError as error:
            return error.op is not None
        return False

    async def create(self, key: str, value: M) -> int | None:
        """The new revision, or None if the key exists."""
        try:
            with self._counted("create"):
                return await (await self._kv()).create(key, value.model_dump_json().encode())
        except KeyWrongLastSequenceError:
            return None

    async def update(self, key: str, value: M, revision: int) -> int | None:
        """Compare-and-set: the new revision, or None if the key has changed since `revision`."""
        try:
            with self._counted("update"):
                return await (await self._kv()).update(key, value.model_dump_json().encode(), last=revision)
        except KeyWrongLastSequenceError:
            return None

    async def put(self, key: str, value: M) -> int:
        with self._counted("put"):
            return await (await self._kv()).put(key, value.model_dump_json().encode())

    async def delete(self, key: str) -> None:
        with self._counted("delete"):
            await (await self._kv()).delete(key)

    async def remove(self, key: str, revision: int) -> bool:
        """delete() only while it is as at `revision`; False if it has changed since."""
        try:
            with self._counted("delete"):
                await (await self._kv()).delete(key, last=revision)
        except APIError as error:
            if _is_conflict(error):
                return False
            raise
        return True

    async def keys(self) -> list[str]:
        try:
            with self._counted("keys"):
                return await (await self._kv()).keys()
        except NoKeysError:
            return []

    async def entries(self) -> list[Entry[M]]:
        """All that there are and can be read, one after another."""
        found, names = [], await self.keys()
        for gone in self.unreadable.difference(names):
            unreadable.settled(self._name, gone)
        for name in names:
            with contextlib.suppress(unreadable.UnreadableRecord):
                found.append(await self.get(name))
        return [entry for entry in found if entry]

    async def watch(self, quiet_s: float) -> AsyncIterator[Change[M]]:
        """Every value now, then every change; starts over when NATS was away, and when nothing came for quiet_s. What cannot be
        read is left out, and keeps nobody from the others.

        A watch on a bucket that NATS lost with its data stays silent for ever: silence is the only sign of it.
        """
        while True:
            try:
                with self._counted("watch"):
                    watcher = await (await self._kv()).watchall()
                try:
                    while True:
                        entry = await asyncio.wait_for(anext(watcher), quiet_s)
                        if entry is None:
                            continue
                        if entry.operation in ("DEL", "PURGE"):
                            unreadable.settled(self._name, entry.key)
                            yield Change(entry.key, None, entry.revision or 0)
                            continue
                        try:
                            value = await self._read(entry.key, entry.value, entry.revision)
                        except unreadable.UnreadableRecord:
                            continue
                        yield Change(entry.key, value, entry.revision or 0)
                finally:
                    await watcher.stop()  # type: ignore[no-untyped-call]
            except (NatsError, OSError, TimeoutError):
                await asyncio.sleep(0.5)


def _is_conflict(error: APIError) -> bool:
    """delete(), unlike update(), does not name it."""
    return isinstance(error, KeyWrongLastSequenceError) or error.err_code in WRONG_LAST_SEQUENCE
