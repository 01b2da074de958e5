"""The object store behind one narrow port, and its S3 adapter. Synchronous: callers use threads."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import urllib3
from crc32c import crc32c
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.error import MinioException, S3Error
from minio.signer import sign_v4_s3
from reprise.contracts.errors import NotStored, StoreUnavailable

REGION = "us-east-1"


@dataclass(frozen=True)
class Entry:
    """One object. size in bytes; modified by the store's clock."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """Strongly consistent: what was written is read and listed at once. Raises StoreUnavailable and NotStored."""

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Whole or not at all, and checked in transit."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Put if there is none (If-None-Match: *). False if there is one."""
        ...

    def replace(self, key: str, data: bytes, version: str) -> bool:
        """Put if it still is this version (If-Match). False if it is another, or gone."""
        ...

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        """length 0 means to the end."""
        ...

    def get_versioned(self, key: str) -> tuple[bytes, str]: ...

    def size(self, key: str) -> int: ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """By key, in order."""
        ...

    def delete(self, key: str) -> None:
        """No error if there is none."""
        ...

    def check(self) -> None: ...


class S3Store:
    """Any S3 API. The bucket is made if it is not there. Short time-outs: a caller retries and can say so.

    Bodies are signed as UNSIGNED-PAYLOAD and carry a CRC32C, which the store checks: a sha256 of every byte on both
    sides would cost more than the rest of an upload.
    """

    def __init__(self, *, endpoint: str, access_key: str, secret_key: str, bucket: str, secure: bool = False) -> None:
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=2, read=30), maxsize=16, retries=urllib3.Retry(total=1, backoff_factor=0.1),
            blocksize=1 << 20,
        )  # fmt: skip
        self._client: Any = Minio(
            endpoint, access_key=access_key, secret_key=secret_key, secure=secure, http_client=self._pool, region=REGION
        )
        self._credentials = Credentials(access_key, secret_key)
        self._base = f"{'https' if secure else 'http'}://{endpoint}/{bucket}/"
        self._endpoint, self._bucket, self._made = endpoint, bucket, False

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._call(key, lambda: self._put(key, data, {}))

    def create(self, key: str, data: bytes) -> bool:
        return bool(self._call(key, lambda: self._put(key, data, {"If-None-Match": "*"})))

    def replace(self, key: str, data: bytes, version: str) -> bool:
        return bool(self._call(key, lambda: self._put(key, data, {"If-Match": f'"{version}"'})))

    def _put(self, key: str, data: bytes | memoryview, condition: dict[str, str]) -> bool:
        url, now = urlsplit(self._base + quote(key)), datetime.now(UTC)
        headers: dict[str, Any] = {
            "Host": url.netloc,
            "Content-Length": str(len(data)),
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "x-amz-checksum-crc32c": base64.b64encode(crc32c(data).to_bytes(4, "big")).decode(),
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        } | condition
        signed = sign_v4_s3(
            method="PUT", url=url, region=REGION, headers=headers, credentials=self._credentials,
            content_sha256="UNSIGNED-PAYLOAD", date=now,
        )  # fmt: skip
        answer: Any = self._pool.request("PUT", url.geturl(), body=data, headers=signed)  # type: ignore[arg-type]
        if answer.status in (412, 409) and condition:
            return False
        if answer.status == 404 and "If-Match" in condition:
            return False
        if answer.status != 200:
            code = "NoSuchBucket" if b"NoSuchBucket" in answer.data else f"HTTP {answer.status}"
            raise S3Error(answer, code, answer.data[:300].decode(errors="replace"), key, "", "")
        return True

    def get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        return self._get(key, offset, length)[0]

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        return self._get(key, 0, 0)

    def _get(self, key: str, offset: int, length: int) -> tuple[bytes, str]:
        def act() -> tuple[bytes, str]:
            answer = self._client.get_object(self._bucket, key, offset=offset, length=length)
            try:
                return answer.read(), str(answer.headers.get("ETag", "")).strip('"')
            finally:
                answer.close()
                answer.release_conn()

        found: tuple[bytes, str] = self._call(key, act)
        return found

    def size(self, key: str) -> int:
        return int(self._call(key, lambda: self._client.stat_object(self._bucket, key)).size)

    def list(self, prefix: str) -> Iterator[Entry]:
        objects = self._call(prefix, lambda: list(self._client.list_objects(self._bucket, prefix, recursive=True)))
        return (Entry(item.object_name, item.size, item.last_modified) for item in objects)

    def delete(self, key: str) -> None:
        self._call(key, lambda: self._client.remove_object(self._bucket, key))

    def check(self) -> None:
        """Raises StoreUnavailable if the store does not answer."""
        self._call(self._bucket, lambda: self._client.bucket_exists(self._bucket))

    def _call(self, key: str, act: Any) -> Any:
        try:
            if not self._made:
                if not self._client.bucket_exists(self._bucket):
                    self._make()
                self._made = True
            return act()
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchObject"):
                raise NotStored("it is not in the store", subject=key) from error
            if error.code == "NoSuchBucket":
                self._made = False  # a store that came back empty
            raise StoreUnavailable(
                f"{error.code}: {error.message}", subject=key, remedy="check the store's credentials and its space"
            ) from error
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise StoreUnavailable(
                f"{self._endpoint} does not answer: {type(error).__name__}", subject=key, remedy="is the store up?"
            ) from error

    def _make(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
