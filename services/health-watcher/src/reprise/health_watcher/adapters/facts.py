"""This node's CPU, told in the KV bucket `nodes` and told again now and then: NATS may have lost it with its data."""

import asyncio
from pathlib import Path

from nats.errors import Error as NatsError
from reprise.health_watcher.model import NodeFacts
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key

EVERY_S = 300.0
RETRY_S = 5.0


class Facts:
    def __init__(self, bus: Bus, node: str) -> None:
        self._bucket, self._node = Bucket(bus, "nodes", NodeFacts), node

    async def run(self) -> None:
        facts = NodeFacts(node=self._node, cpu_features=cpu_features(Path("/proc/cpuinfo").read_text()))
        while True:
            try:
                await self._bucket.put(key(self._node), facts)
                await asyncio.sleep(EVERY_S)
            except (NatsError, OSError, TimeoutError):
                await asyncio.sleep(RETRY_S)


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """`flags` on x86, `Features` on arm64. Source: kernel arch/x86/kernel/cpu/proc.c, arch/arm64/kernel/cpuinfo.c."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return tuple(sorted(value.split()))
    return ()
