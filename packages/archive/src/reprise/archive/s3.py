"""The store's adapter for any S3 API (the minio SDK), and its composition from the settings."""

import threading
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

from minio.error import S3Error
from reprise.archive.calls import Calls
from reprise.archive.circuit import Circuit
from reprise.archive.claims import Claims
from reprise.archive.http_pool import http_pool
from reprise.archive.s3_client import Body, Client
from reprise.archive.s3_errors import ConditionNotMet
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Entry
from reprise.contracts.errors import NotStored, StoreUnavailable

PAGE = 1000
OWN = ".reprise/"
"""What the adapter itself keeps in the bucket: probes and claims. Never part of a repository."""
WRITER = "x-amz-meta-reprise-writer"

T = TypeVar("T")
Data = bytes | memoryview


def s3_store(settings: StoreSettings) -> "S3Store":
    """The store that these settings name; nothing is asked of it yet. Short time-outs: a caller retries and can say so."""
    client = Client(
        settings.endpoint, access_key=settings.access_key or None, secret_key=settings.secret_key.get_secret_value(),
        secure=settings.secure, region=settings.region, http_client=http_pool(settings),
    )  # fmt: skip
    if settings.addressing == "virtual":
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return S3Store(client, settings.bucket, Calls(settings.endpoint, Circuit(), attempts=settings.attempts))


class S3Store:
    """reprise.archive.store.Store. A missing bucket is made by check() and by writes; reads say that it is missing."""

    def __init__(self, client: Client, bucket: str, calls: Calls) -> None:
        self._client, self._bucket, self._calls = client, bucket, calls
        self._conditional: bool | None = None
        self._probing = threading.Lock()

    def put(self, key: str, data: Data) -> None:
        self._write("put", key, Body(data), {})

    def create(self, key: str, data: Data) -> bool:
        if self._has_conditions():
            return self._write_if("create", key, Body(data), {"If-None-Match": "*"})
        return self._write_claimed(key, data, lambda: self._version(key) is None)

    def replace(self, key: str, data: Data, version: str) -> bool:
        if self._has_conditions():
            return self._write_if("replace", key, Body(data), {"If-Match": f'"{version}"'})
        return self._write_claimed(key, data, lambda: self._version(key) == version)

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        return self._calls.run("get", key, lambda: self._read(key, offset, length))[0]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._calls.run("get", key, lambda: self._read(key, 0, 0))

    def size(self, key: str) -> int:
        return int(self._stat(key).size)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Only an empty page is the last one: MinIO was seen to say so of one of 986 keys, in the middle of the bucket. Whoever
        believes that takes what is referred to by the others for garbage.
        """
        after = None
        while page := self._calls.run("list", prefix, lambda after=after: self._page(prefix, after)):  # type: ignore[misc]
            yield from (Entry(found.object_name, found.size, found.last_modified) for found in page if not found.is_dir)
            after = page[-1].object_name

    def delete(self, key: str) -> None:
        try:
            self._calls.run("delete", key, lambda: self._client.remove_object(self._bucket, key))
        except NotStored:
            return

    def check(self) -> None:
        """One listing, asked even where the circuit is open: unlike a HEAD its refusal says why."""
        self._calls.once("check", self._bucket, lambda: self._in_bucket(lambda: self._page(OWN, None)))

    def _write(self, operation: str, key: str, body: Body, headers: dict[str, str]) -> None:
        send = lambda: self._client.put_body(self._bucket, key, body, headers)  # noqa: E731
        self._calls.run(operation, key, lambda: self._in_bucket(send))

    def _write_if(self, operation: str, key: str, body: Body, condition: dict[str, str]) -> bool:
        """An answer that was lost and a second try must not make us our own rival: the object itself says who wrote it."""
        writer = uuid.uuid4().hex
        try:
            self._write(operation, key, body, {**condition, WRITER: writer})
        except NotStored:
            return False
        except ConditionNotMet:
            try:
                return self._stat(key).metadata.get(WRITER) == writer  # type: ignore[no-any-return]
            except NotStored:
                return False
        return True

    def _write_claimed(self, key: str, data: Data, holds: Callable[[], bool]) -> bool:
        with Claims(self).hold(key):
            if not holds():
                return False
            self.put(key, data)
            return True

    def _has_conditions(self) -> bool:
        """Whether the server honours conditional puts, found out once with an object of our own."""
        with self._probing:
            if self._conditional is None:
                self._conditional = self._probe(f"{OWN}probe/{uuid.uuid4().hex}")
            return self._conditional

    def _probe(self, key: str) -> bool:
        """A server that does not know them writes in spite of them, or answers 501."""
        self.put(key, b"probe")
        try:
            absent = self._write_if("create", key, Body(b"other"), {"If-None-Match": "*"})
            changed = self._write_if("replace", key, Body(b"other"), {"If-Match": f'"{"0" * 32}"'})
            return not absent and not changed
        except StoreUnavailable as error:
            if error.reason != "NotSupported":
                raise
            return False
        finally:
            self.delete(key)

    def _in_bucket(self, act: Callable[[], T]) -> T:
        """act(), once more after making the bucket if it is not there (a new store, or one that came back empty)."""
        try:
            return act()
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        return act()

    def _read(self, key: str, offset: int, length: int) -> tuple[bytes, str]:
        try:
            answer = self._client.get_object(self._bucket, key, offset=offset, length=length)
        except S3Error as error:
            if error.code == "InvalidRange":
                return b"", ""
            raise
        try:
            data, version = answer.read(), answer.headers.get("etag", "").strip('"')
        except BaseException:
            answer.close()
            raise
        answer.release_conn()
        return data, version

    def _stat(self, key: str) -> Any:
        return self._calls.run("stat", key, lambda: self._client.stat_object(self._bucket, key))

    def _version(self, key: str) -> str | None:
        try:
            return str(self._stat(key).etag)
        except NotStored:
            return None

    def _page(self, prefix: str, after: str | None) -> Any:
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True, start_after=after)
        return [*islice(found, PAGE)]
