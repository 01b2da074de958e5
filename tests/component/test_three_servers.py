"""NATS as `overlays/production` has it, of three servers with TLS and accounts, one of which vanishes without a word.

SIGSTOP is the nearest to a node without power that one machine has: nothing is closed, and nothing answers.
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from nats.errors import Error as NatsError
from pydantic import BaseModel
from reprise.runtime.access import install
from reprise.runtime.access.authority import Authority
from reprise.runtime.bus import Bus
from reprise.runtime.connection import CONNECT_S, PING_S, PINGS
from reprise.runtime.kv import Bucket
from reprise.runtime.streams import Storage

pytestmark = pytest.mark.component

MANIFEST = Path(__file__).parents[2] / "deploy/overlays/production/servers/nats.yaml"
NAMESPACE = "reprise-system"
NAMES = ("nats-0", "nats-1", "nats-2")
NOTICED_S = PING_S * (PINGS + 1)
ELECTED_S = 9.0
"""The longest that a replica of NATS' waits for its leader (maxElectionTimeout in its raft.go); then it stands for election."""
SLOW_S = 3.0
"""What a busy machine adds."""


class Value(BaseModel):
    number: int


class Trio:
    """Three servers by their names; the user `scheduler` may connect."""

    def __init__(self, folder: Path, serve: Callable[..., Any], ports: list[int]) -> None:
        authority = Authority(folder / "authority")
        self._files = authority.server(install.names(NAMESPACE))
        self._peers = dict(zip(NAMES, ports, strict=False))
        self.user = folder / "user"
        self.user.mkdir()
        for file, text in authority.user("scheduler", "scheduler").items():
            (self.user / file).write_text(text)
        self.servers = {name: serve(folder / name, self._command) for name in NAMES}

    def _command(self, folder: Path, port: int) -> list[str]:
        """With the configuration of deploy/; only where it listens and writes differs."""
        folder.mkdir()
        for file, content in self._files.items():
            (folder / file).write_text(content)
        [config] = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d["kind"] == "ConfigMap"]
        told = config["data"]["nats.conf"].replace("$POD_NAME", folder.name).replace("http: 8222", "")
        told = told.replace("/etc/nats", str(folder)).replace("/data", f"{folder}/data")
        told = told.replace("port: 6222", f"listen: 127.0.0.1:{self._peers[folder.name]}")
        for peer, peers_port in self._peers.items():
            told = told.replace(f"tls://{peer}.nats-peers.{NAMESPACE}:6222", f"tls://127.0.0.1:{peers_port}")
        (folder / "nats.conf").write_text(f"listen: 127.0.0.1:{port}\n{told}")
        return [str(Path(sys.executable).parent / "nats-server"), "-c", str(folder / "nats.conf")]

    def bus(self, name: str) -> Bus:
        """Of a client whose way in is that server; the others it learns of by itself."""
        storage = Storage(replicas=3, events_max_bytes=64 << 20)
        return Bus(f"tls://127.0.0.1:{self.servers[name].port}", "test", storage, self.user)

    def vanish(self, name: str) -> float:
        """When it did."""
        self.servers[name].signal(signal.SIGSTOP)
        return time.monotonic()


def server_of(bus: Bus) -> str:
    """The name of the server that it is connected to."""
    return str(bus._client._server_info["server_name"])


@pytest.fixture
def trio(tmp_path: Path, serve_once: Callable[..., Any], free_ports: list[int]) -> Trio:
    return Trio(tmp_path, serve_once, free_ports)


@contextlib.asynccontextmanager
async def connected(trio: Trio, name: str, bus: Bus | None = None) -> AsyncIterator[Bus]:
    bus = bus or trio.bus(name)
    try:
        async with asyncio.timeout(40):
            await bus.connect()
        yield bus
    finally:
        await bus.drain(1)


async def again(act: Callable[[], Awaitable[Any]], seconds: float = 30) -> float:
    """Seconds until it succeeded."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(NatsError, TimeoutError):
                async with asyncio.timeout(1):
                    await act()
                return time.monotonic() - began
            await asyncio.sleep(0.05)


async def leader(bus: Bus, stream: str) -> str:
    found = (await bus.jetstream.stream_info(stream)).cluster
    assert found and found.leader
    return found.leader


async def test_a_client_leaves_a_server_that_vanished_for_another_within_seconds(trio: Trio) -> None:
    async with connected(trio, "nats-0") as bus:
        gone = server_of(bus)
        began = trio.vanish(gone)
        async with asyncio.timeout(30):
            while server_of(bus) == gone or not bus.connected:
                await asyncio.sleep(0.02)
        # One of the two that are tried may be the one that vanished.
        assert time.monotonic() - began < NOTICED_S + CONNECT_S + SLOW_S


async def test_what_is_kept_can_be_written_again_once_another_server_leads_it(trio: Trio) -> None:
    async with connected(trio, "nats-0") as bus:
        bucket = Bucket(bus, "schedule", Value)
        await again(lambda: bucket.put("a", Value(number=1)))
        trio.vanish(await leader(bus, "KV_schedule"))
        took_s = await again(lambda: bucket.put("a", Value(number=2)))
        assert took_s < ELECTED_S + CONNECT_S + SLOW_S
        entry = await bucket.get("a")
        assert entry and entry.value.number == 2


async def test_every_bucket_is_there_before_a_server_is_lost(trio: Trio) -> None:
    """None with three replicas can be made by two servers: what is first needed when a node dies must exist by then."""
    bus = trio.bus("nats-0")
    Bucket(bus, "harms", Value)
    async with connected(trio, "nats-0", bus):
        found = await bus.jetstream.stream_info("KV_harms")
        assert found.config.num_replicas == len(NAMES)
        assert not found.config.allow_direct, "a replica that is behind would answer what is no longer so"
