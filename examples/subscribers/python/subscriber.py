"""Print what happens: a subscriber that needs `pip install reprise-contracts nats-py[nkeys]` and nothing else of Reprise.

NATS_CREDENTIALS: a folder with ca.crt and user.creds, of the Secret reprise-nats-reader. A reader has one consumer, `reader`.
"""

import asyncio
import os
import ssl

import nats
from reprise.contracts import envelope


async def main() -> None:
    options = {}
    if folder := os.environ.get("NATS_CREDENTIALS"):
        trusted = ssl.create_default_context(cafile=f"{folder}/ca.crt")
        options = {"user_credentials": f"{folder}/user.creds", "tls": trusted, "inbox_prefix": "_INBOX.reader"}
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"), **options)
    events = await client.jetstream().subscribe("reprise.v1.failover.>", stream="REPRISE", durable="reader")
    async for message in events.messages:
        attributes, event = envelope.decode(message.data)
        print(f"{attributes.time:%H:%M:%S} {event.TYPE} {event.workload} on {event.node}", flush=True)
        await message.ack()


asyncio.run(main())
