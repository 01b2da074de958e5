"""Our streams, as they are made: bounded, so that events never take the disk that leases and fences are on, and replicated.

What exists with an operator's own bound keeps it. One without a bound, of a version before there was one, gets ours; one with
fewer replicas than are wanted gets those.
"""

from dataclasses import dataclass, replace

from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, BadRequestError
from reprise.contracts import subjects
from reprise.runtime.telemetry import log

DEDUP_WINDOW_S = 120.0
RETAIN_S = 7 * 86400.0
DEAD_LETTERS_SHARE = 16
"""Of the events' bound, what dead letters may take is so small a part."""
LEAST_BYTES = 16 << 20
NO_ROOM = (10023, 10047)
"""nats-server's JSInsufficientResourcesErr and JSStorageResourcesExceededErr."""


@dataclass(frozen=True)
class Storage:
    """What JetStream is asked for. replicas: of each stream and bucket."""

    replicas: int = 1
    events_max_bytes: int = 4 << 30


async def ensure(js: JetStreamContext, storage: Storage) -> None:
    """Make our streams, or amend what is there. Raises nats.errors.Error or TimeoutError."""
    events = StreamConfig(
        name=subjects.STREAM, subjects=[f"{subjects.ROOT}.>"], retention=RetentionPolicy.LIMITS, discard=DiscardPolicy.OLD,
        max_age=RETAIN_S, duplicate_window=DEDUP_WINDOW_S, max_bytes=storage.events_max_bytes, num_replicas=storage.replicas,
    )  # fmt: skip
    dead = StreamConfig(
        name=subjects.DEAD_LETTER_STREAM, subjects=[f"{subjects.DEAD_LETTER_ROOT}.>"], discard=DiscardPolicy.OLD,
        max_age=4 * RETAIN_S, max_bytes=storage.events_max_bytes // DEAD_LETTERS_SHARE, num_replicas=storage.replicas,
    )  # fmt: skip
    for config in (events, dead):
        await _ensure(js, config)


async def replicate(js: JetStreamContext, name: str, replicas: int) -> None:
    """Give a stream that exists as many replicas as are wanted. Raises nats.errors.Error or TimeoutError."""
    found = (await js.stream_info(name)).config
    if (found.num_replicas or 1) < replicas:
        await _amend(js, found.evolve(num_replicas=replicas))


async def _ensure(js: JetStreamContext, config: StreamConfig) -> None:
    """With half the bound, and half of that, where the server has less room to give: it promises that room when it agrees."""
    try:
        await _make(js, config)
    except APIError as error:
        smaller = (config.max_bytes or 0) // 2
        if error.err_code not in NO_ROOM or smaller < LEAST_BYTES:
            raise
        log().warning("nats has less room for this stream than was asked for", stream=config.name, max_bytes=smaller)
        await _ensure(js, replace(config, max_bytes=smaller))


async def _make(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)
    except BadRequestError:  # it exists, and is another one
        found = (await js.stream_info(str(config.name))).config
        bounded = (found.max_bytes or -1) > 0
        replicas = max(found.num_replicas or 1, config.num_replicas or 1)
        amended = found.evolve(max_bytes=found.max_bytes if bounded else config.max_bytes, num_replicas=replicas)
        if amended != found:
            await _amend(js, amended)


async def _amend(js: JetStreamContext, config: StreamConfig) -> None:
    """NATS does not answer who has no right to: another of our services has it (access/rights.py), and what is there serves."""
    try:
        await js.update_stream(config)
    except TimeoutError:
        log().info("the stream is left to another service to amend", stream=config.name)
