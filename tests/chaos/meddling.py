"""Faults that follow what Reprise itself does, as NATS tells it: each runs beside the test until its context ends."""

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError
from reprise.contracts import subjects
from reprise_lab import faults, nats
from reprise_lab.shell import LabError, kubectl

STEPS = ("fence", "stage", "place", "restored", "release", "verify", "adopt")
UNDER_WAY = ("stage", "place", "restored", "release", "verify")
EACH_STEP_S = 75.0
"""NATS delivers what a killed restorer had in hand again after 10 s."""
REPLAYED = 200
"""So many of the stream's newest events, their replays included."""
AWAY = (NatsError, JetStreamError, OSError, TimeoutError)


@contextmanager
def _beside(act: Callable[[Client], Awaitable[None]], finish_s: float = 0.0) -> Iterator[None]:
    """act runs in a thread of its own with a client of NATS. finish_s: what it is given to end by itself afterwards."""
    stop, failed = threading.Event(), []

    async def run() -> None:
        client = await nats.connect(connect_timeout=5)
        task = asyncio.ensure_future(act(client))
        while not (stop.is_set() or task.done()):
            await asyncio.sleep(0.1)
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended, Exception):
            failed.append(ended)
        with suppress(*AWAY):
            await client.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield
        thread.join(finish_s)
    finally:
        stop.set()
        thread.join(20)
    assert not failed, f"the fault itself failed: {failed[0]!r}"


@contextmanager
def killed_before_each_step() -> Iterator[None]:
    """Whoever has just recorded that a step is next is killed -9, once for each step."""

    async def act(client: Client) -> None:
        bucket = await client.jetstream().key_value("failovers")
        left, fresh = set(STEPS), False
        watcher = await bucket.watchall()
        while left:
            with suppress(NatsError, TimeoutError):
                entry = await watcher.updates(timeout=1)  # type: ignore[no-untyped-call]
                if entry is None:  # from here on it is new
                    fresh = True
                elif fresh and (step := json.loads(entry.value or b"{}").get("step")) in left:
                    left.remove(step)
                    await asyncio.to_thread(_kill_restorers)

    with _beside(act, EACH_STEP_S):
        yield


@contextmanager
def at_the_first_step(act: Callable[[], None]) -> Iterator[None]:
    """Once the first failover that begins from now on has come to where something of it is under way."""

    async def wait(client: Client) -> None:
        bucket = await client.jetstream().key_value("failovers")
        watcher, fresh = await bucket.watchall(), False
        while True:
            with suppress(NatsError, TimeoutError):
                entry = await watcher.updates(timeout=1)  # type: ignore[no-untyped-call]
                if entry is None:
                    fresh = True
                elif fresh and json.loads(entry.value or b"{}").get("step") in UNDER_WAY:
                    await asyncio.to_thread(act)
                    return

    with _beside(wait):
        yield


def _kill_restorers() -> None:
    """And their pods: the kubelet waits ever longer with what crashes; a new pod does not wait."""
    with suppress(LabError):
        faults.kill_service("restorer")
        selector = "app.kubernetes.io/name=restorer"
        kubectl("-n", "reprise-system", "delete", "pods", "-l", selector, "--grace-period=0", "--force", "--wait=false")


@contextmanager
def replayed(chance: random.Random) -> Iterator[None]:
    """The newest events once more, again and again, in any order, as messages of their own."""

    async def act(client: Client) -> None:
        stream = client.jetstream()
        while True:
            last = (await stream.stream_info(subjects.STREAM)).state.last_seq
            numbers = chance.sample(range(max(1, last - REPLAYED), last + 1), k=min(20, last))
            for number in numbers:
                with suppress(JetStreamError):  # it may be gone
                    message = await stream.get_msg(subjects.STREAM, number)
                    headers = {k: v for k, v in (message.headers or {}).items() if k.startswith(("trace", "Content"))}
                    await stream.publish(str(message.subject), message.data or b"", headers=headers)
            await asyncio.sleep(0.5)

    with _beside(act):
        yield
