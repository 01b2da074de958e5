"""Print what happens: a subscriber that needs `pip install reprise-contracts nats-py` and nothing else of Reprise."""

import asyncio
import os

import nats
from reprise.contracts import envelope


async def main() -> None:
    client = await nats.connect(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
    events = await client.jetstream().subscribe("reprise.v1.failover.>", ordered_consumer=True)
    async for message in events.messages:
        attributes, event = envelope.decode(message.data)
        print(f"{attributes.time:%H:%M:%S} {event.TYPE} {event.workload} on {event.node}", flush=True)


asyncio.run(main())
