"""Values in buckets that this version cannot read.

Each is contained to its key: whoever follows the bucket goes on with the others. It is dead-lettered once for each writing of it,
by whichever process sees it first, and counted by each that sees it until it is put right.
"""

from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from nats.js.errors import APIError
from prometheus_client import Gauge
from reprise.contracts import subjects
from reprise.contracts.errors import RepriseError
from reprise.runtime.telemetry import log

UNREADABLE = Gauge("reprise_kv_unreadable", "Keys whose value cannot be read, as far as this process has looked", ["bucket"])
_told: dict[str, dict[str, int]] = {}
"""By bucket: the keys, and the revision that was told of."""


class UnreadableRecord(RepriseError, NatsError):
    """A value that cannot be read. A NatsError as well: whoever waits for NATS to answer waits for this to be put right."""

    retryable = True


def watched(bucket: str) -> None:
    """A gauge that appears with its first value shows no change."""
    UNREADABLE.labels(bucket).set(len(_told.setdefault(bucket, {})))


def keys(bucket: str) -> frozenset[str]:
    """Those that this process has met."""
    return frozenset(_told[bucket])


def settled(bucket: str, key: str) -> None:
    """It can be read again, or is gone."""
    if _told[bucket].pop(key, None) is not None:
        log().info("a record can be read again", bucket=bucket, record=key)
        watched(bucket)


async def tell(js: JetStreamContext, bucket: str, key: str, value: bytes, revision: int, error: Exception) -> UnreadableRecord:
    """Dead-letter it, once for each revision, and return what to raise."""
    detail = " ".join(str(error).split())[:1000]
    remedy = f"see docs/runbooks.md#repriserecordunreadable; it is key {key!r} of bucket {bucket!r}, revision {revision}"
    if _told[bucket].get(key) != revision:
        log().error("a record cannot be read", bucket=bucket, record=key, revision=revision, detail=detail)
        await _dead_letter(js, bucket, key, value, revision, detail)
        _told[bucket][key] = revision
        watched(bucket)
    return UnreadableRecord(f"its value cannot be read: {detail}", subject=f"record {bucket}/{key}", remedy=remedy)


async def _dead_letter(js: JetStreamContext, bucket: str, key: str, value: bytes, revision: int, detail: str) -> None:
    headers = {
        "Reprise-Reason": UnreadableRecord.__name__, "Reprise-Detail": detail, "Reprise-Subject": f"$KV.{bucket}.{key}",
        "Nats-Expected-Last-Subject-Sequence": "0",  # the first of all who see it
    }  # fmt: skip
    try:
        await js.publish(f"{subjects.dead_letter(f'kv-{bucket}')}.{key}.{revision}", value, headers=headers)
    except APIError:
        return  # another process was faster
    except (NatsError, OSError, TimeoutError) as failed:
        log().warning("a record that cannot be read is not in the dead letters", bucket=bucket, record=key, error=repr(failed))
