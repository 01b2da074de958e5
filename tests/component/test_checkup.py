"""A question to a node's agent, over a real NATS: answered while it is there, and again after NATS was away."""

import asyncio
from typing import Any

from reprise.contracts.records import Checkup, Question
from reprise.runtime.bus import Bus
from reprise.runtime.checkup import ask, subject

QUESTION = Question(pod_uid="u1", container="counter")


async def well(payload: bytes) -> bytes:
    assert Question.model_validate_json(payload) == QUESTION
    return Checkup(healthy=True, detail="HTTP 200").model_dump_json().encode()


async def told(bus: Bus, seconds: float) -> Checkup:
    found = await ask(bus, "n1", QUESTION)
    for _ in range(round(seconds / 0.1)):
        if found.told:
            break
        await asyncio.sleep(0.1)
        found = await ask(bus, "n1", QUESTION)
    return found


async def test_an_agent_answers_also_after_nats_was_away(nats_server: Any) -> None:
    agent, asker = (Bus(f"nats://127.0.0.1:{nats_server.port}", name) for name in ("agent", "asker"))
    agent.answer(subject("n1"), well)
    await agent.connect()
    await asker.connect()
    assert not (await ask(asker, "n1", QUESTION)).told, "nobody is there yet"
    serving = asyncio.create_task(agent.run())
    try:
        assert (await told(asker, 5)).healthy
        nats_server.stop()
        nats_server.start()
        assert (await told(asker, 20)).healthy
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        for bus in (agent, asker):
            await bus.drain(1)
