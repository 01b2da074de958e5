"""The object store behind one narrow port, and its S3 adapter (the minio SDK). Synchronous: callers use threads."""

import io
from collections.abc import Iterator
from typing import IO, Any, Protocol

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from reprise.contracts.errors import NotStored, StoreUnavailable

PART = 16 << 20
READ = 1 << 20


class Store(Protocol):
    """Raises StoreUnavailable and NotStored."""

    def put_stream(self, key: str, stream: IO[bytes]) -> None: ...

    def put(self, key: str, data: bytes) -> None: ...

    def get(self, key: str) -> bytes: ...

    def stream(self, key: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        """length 0 means to the end."""
        ...

    def size(self, key: str) -> int: ...

    def list(self, prefix: str) -> list[str]: ...

    def delete(self, key: str) -> None: ...

    def check(self) -> None: ...


class S3Store:
    """Any S3 API. The bucket is made if it is not there. Short time-outs: a caller retries and can say so."""

    def __init__(self, *, endpoint: str, access_key: str, secret_key: str, bucket: str, secure: bool = False) -> None:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=2, read=30), maxsize=16, retries=urllib3.Retry(total=1, backoff_factor=0.1)
        )
        self._client: Any = Minio(
            endpoint, access_key=access_key, secret_key=secret_key, secure=secure, http_client=pool, region="us-east-1"
        )
        self._endpoint, self._bucket, self._made = endpoint, bucket, False

    def put_stream(self, key: str, stream: IO[bytes]) -> None:
        self._call(key, lambda: self._client.put_object(self._bucket, key, stream, -1, part_size=PART))

    def put(self, key: str, data: bytes) -> None:
        self._call(key, lambda: self._client.put_object(self._bucket, key, io.BytesIO(data), len(data)))

    def get(self, key: str) -> bytes:
        return b"".join(self.stream(key))

    def stream(self, key: str, offset: int = 0, length: int = 0) -> Iterator[bytes]:
        answer = self._call(key, lambda: self._client.get_object(self._bucket, key, offset=offset, length=length))
        try:
            yield from answer.stream(READ)
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"reading broke off: {error}", subject=key) from error
        finally:
            answer.close()
            answer.release_conn()

    def size(self, key: str) -> int:
        return int(self._call(key, lambda: self._client.stat_object(self._bucket, key)).size)

    def list(self, prefix: str) -> list[str]:
        objects = self._call(prefix, lambda: list(self._client.list_objects(self._bucket, prefix, recursive=True)))
        return [item.object_name for item in objects]

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
