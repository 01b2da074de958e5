"""Who leads: a key in KV, renewed by compare-and-set, judged on one's own CLOCK_BOOTTIME.

A leader stops at LEAD_S after the *start* of its last successful renewal; a candidate takes over only after
seeing no new revision for TAKEOVER_S > LEAD_S on its own clock. Nobody compares two machines' clocks
(the Kubernetes client's election compares wall clocks and polls: docs/adr/0002-election-in-kv.md).
"""

import asyncio
import contextlib

from nats.errors import Error as NatsError
from prometheus_client import Gauge
from pydantic import BaseModel
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import boottime_s
from reprise.runtime.telemetry import log

RENEW_S = 1.0
LEAD_S = 3.0
TAKEOVER_S = 4.0
LEADING = Gauge("reprise_leading", "Whether this replica leads", ["election"])


class Leadership(BaseModel):
    """The key's value."""

    holder: str
    renewals: int = 0


class Election:
    """Run run() as a part of the service; ask `leading` before each act."""

    def __init__(self, bus: Bus, name: str, identity: str) -> None:
        self._bucket = Bucket(bus, "elections", Leadership, instead=Leadership(holder="nobody"))
        self._key = name
        self._name = name
        self._identity = identity
        self._leads_until = 0.0
        self._revision = 0
        """Of what this replica wrote last."""
        self._resigned = False
        self._led = False
        LEADING.labels(name).set_function(lambda: self.leading)

    @property
    def leading(self) -> bool:
        return not self._resigned and boottime_s() < self._leads_until

    async def run(self) -> None:
        seen_revision, seen_at = -1, boottime_s()
        while True:
            started = boottime_s()
            try:
                entry = None if self._resigned else await self._bucket.get(self._key)
                if self._resigned:
                    pass  # the process ends
                elif entry is None:
                    self._won(await self._bucket.create(self._key, Leadership(holder=self._identity)), started)
                else:
                    if entry.revision != seen_revision:
                        seen_revision, seen_at = entry.revision, boottime_s()
                    mine = entry.value.holder == self._identity
                    if mine or boottime_s() - seen_at > TAKEOVER_S:
                        value = Leadership(holder=self._identity, renewals=entry.value.renewals + 1)
                        self._won(await self._bucket.update(self._key, value, entry.revision), started)
            except (NatsError, OSError, TimeoutError) as error:
                log().debug("election: store away", election=self._name, error=repr(error))
            if self.leading != self._led:
                self._led = self.leading
                log().info("leadership " + ("won" if self._led else "lost"), election=self._name)
            await asyncio.sleep(max(0.0, RENEW_S - (boottime_s() - started)))

    def _won(self, revision: int | None, started: float) -> None:
        if revision:
            self._revision, self._leads_until = revision, started + LEAD_S

    async def resign(self) -> None:
        """Give the lead away at once, on a planned stop: only what this replica wrote, whoever leads by now."""
        if not self._revision:
            return
        self._resigned = True
        self._leads_until = 0.0
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await self._bucket.remove(self._key, self._revision)
