"""The event stream, read by a consumer of our own that leaves nothing behind."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoServersError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from reprise.cli.ports import ClusterError, Sent
from reprise.contracts import subjects
from reprise.runtime.access import client as access

BATCH = 500
WAIT_S = 5.0


class NatsStream:
    """name: what the user knows it by. credentials: a folder."""

    def __init__(self, url: str, name: str, credentials: Path) -> None:
        self._url, self._name, self._credentials = url, name, credentials

    def replay(self, subject: str, since: datetime) -> Iterator[Sent]:
        """What cannot be read as JSON is left out: the dead-letter stream has it."""
        with asyncio.Runner() as runner:
            client = runner.run(self._connect())
            try:
                subscription = runner.run(self._subscribe(client, subject, since))
                left = runner.run(subscription.consumer_info()).num_pending or 0
                while left:
                    found, left = runner.run(_batch(subscription))
                    yield from found
            except (NatsError, TimeoutError) as error:
                raise self._away(error) from error
            finally:
                runner.run(client.close())

    async def _connect(self) -> Client:
        async def quiet(_: Exception) -> None:
            """Told once, by what fails."""

        try:
            options = access.options(self._url, self._credentials)
            return await nats.connect(
                self._url, allow_reconnect=False, connect_timeout=5, error_cb=quiet, name="reprise CLI", **options
            )
        except (NatsError, OSError, TimeoutError, ValueError) as error:
            raise self._away(error) from error

    async def _subscribe(self, client: Client, subject: str, since: datetime) -> JetStreamContext.PullSubscription:
        """The consumer has the user's name, the only one that it may have: a replay that is still under way ends."""
        plain = access.is_plain(self._url)
        name, jetstream = "reader" if plain else access.Credentials.read(self._credentials).name, client.jetstream()
        config = ConsumerConfig(
            durable_name=name, filter_subject=subject, deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since,
            ack_policy=AckPolicy.NONE, inactive_threshold=30,
        )  # fmt: skip
        try:
            with contextlib.suppress(NotFoundError):
                await jetstream.delete_consumer(subjects.STREAM, name)
            await jetstream.add_consumer(subjects.STREAM, config)
            return await jetstream.pull_subscribe_bind(durable=name, stream=subjects.STREAM)
        except NotFoundError as error:
            raise ClusterError(
                f"it has no stream {subjects.STREAM}", subject=self._name, remedy="is Reprise deployed, and has it ever run?"
            ) from error

    def _away(self, error: Exception) -> ClusterError:
        why = "no server answers" if isinstance(error, NoServersError) else str(error) or type(error).__name__
        return ClusterError(
            f"the event stream cannot be read: {why}", subject=self._name, retryable=True,
            remedy="`kubectl -n reprise-system get pods` shows whether NATS runs; `reprise history` reads the console's database",
        )  # fmt: skip


async def _batch(subscription: JetStreamContext.PullSubscription) -> tuple[list[Sent], int]:
    """Some events, and how many are left."""
    messages = await subscription.fetch(BATCH, timeout=WAIT_S)
    found = []
    for message in messages:
        try:
            found.append(Sent(str(message.metadata.sequence.stream), json.loads(message.data)))
        except ValueError:
            continue
    return found, messages[-1].metadata.num_pending if messages else 0
