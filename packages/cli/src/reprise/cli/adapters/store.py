"""The object store, opened for looking after it: a name that is mistyped must not make a bucket."""

from typing import Any

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Store
from reprise.contracts.errors import StoreUnavailable


def open_store(endpoint: str, access: str, secret: str, bucket: str, *, secure: bool) -> Store:
    """Raises StoreUnavailable: no answer, refused, or no such bucket."""
    _require_bucket(endpoint, access, secret, bucket, secure=secure)
    known = {"endpoint": endpoint, "access_key": access, "secret_key": secret, "bucket": bucket, "secure": secure}
    return s3_store(StoreSettings.model_validate(known))


def _require_bucket(endpoint: str, access: str, secret: str, bucket: str, *, secure: bool) -> None:
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=3, read=10), retries=urllib3.Retry(total=1, backoff_factor=0.1))
    where = f"store {endpoint}"
    try:
        # The bucket is asked for by listing one object of it: a HEAD is refused without saying why.
        client: Any = Minio(endpoint, access_key=access, secret_key=secret, secure=secure, http_client=pool, region="us-east-1")
        next(iter(client.list_objects(bucket)), None)
    except S3Error as error:
        if error.code == "NoSuchBucket":
            raise StoreUnavailable(
                "there is no such bucket", subject=f"bucket {bucket}", remedy="set REPRISE_STORE_BUCKET", retryable=False
            ) from error
        raise StoreUnavailable(
            f"it refuses these credentials: {error.message} ({error.code})", subject=where, retryable=False,
            remedy="check REPRISE_STORE_ACCESS_KEY and REPRISE_STORE_SECRET_KEY, or the Secret reprise-store",
        ) from error  # fmt: skip
    except ValueError as error:
        raise StoreUnavailable(
            f"{error}", subject=where, remedy="REPRISE_STORE_ENDPOINT is host:port, without http://", retryable=False
        ) from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise StoreUnavailable(
            f"it does not answer: {type(error).__name__}", subject=where, remedy="is it up, and REPRISE_STORE_ENDPOINT right?"
        ) from error
