"""Who leads: a key in KV, renewed by compare-and-set, judged on one's own CLOCK_BOOTTIME.

A leader stops at LEAD_S after the *start* of its last successful renewal; a candidate takes over only after
seeing no new revision for TAKEOVER_S > LEAD_S on its own clock. Nobody compares two machines' clocks
(the Kubernetes client's election compares wall clocks and polls: docs/adr/0002-election-in-kv.md).
After a leader is gone, the next one leads within longest_gap_s().
"""

import asyncio
import contextlib
from collections.abc import Callable

from nats.errors import Error as NatsError
from prometheus_client import Gauge
from pydantic import BaseModel
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import boottime_s
from reprise.runtime.telemetry import log

RENEW_S = 1.0
LOOK_S = 0.5
"""How often a candidate looks."""
LEAD_S = 3.0
TAKEOVER_S = 3.5
LEADING = Gauge("reprise_leading", "Whether this replica leads", ["election"])


def longest_gap_s() -> float:
    """From the end of a leader that renewed just before, unseen yet by the candidate; without the time that NATS takes."""
    return LOOK_S + TAKEOVER_S + LOOK_S


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
        self._fit: Callable[[], bool] = lambda: True
        self._leads_until = 0.0
        self._revision = 0
        """Of what this replica wrote last."""
        self._resigned = False
        self._led = False
        LEADING.labels(name).set_function(lambda: self.leading)

    @property
    def leading(self) -> bool:
        return not self._resigned and boottime_s() < self._leads_until

    def only_while(self, fit: Callable[[], bool]) -> None:
        """fit: whether this replica could do the work now. Else it neither renews nor takes over, and another one leads."""
        self._fit = fit

    async def run(self) -> None:
        seen_revision, seen_at = -1, boottime_s()
        while True:
            started = boottime_s()
            try:
                entry = None if self._resigned else await self._bucket.get(self._key)
                if entry and entry.revision != seen_revision:
                    seen_revision, seen_at = entry.revision, boottime_s()
                if self._resigned or not self._fit():
                    pass  # the process ends, or another one shall lead
                elif entry is None:
                    self._won(await self._bucket.create(self._key, Leadership(holder=self._identity)), started)
                elif entry.value.holder == self._identity or boottime_s() - seen_at > TAKEOVER_S:
                    value = Leadership(holder=self._identity, renewals=entry.value.renewals + 1)
                    self._won(await self._bucket.update(self._key, value, entry.revision), started)
            except (NatsError, OSError, TimeoutError) as error:
                log().debug("election: store away", election=self._name, error=repr(error))
            if self.leading != self._led:
                self._led = self.leading
                log().info("leadership " + ("won" if self._led else "lost"), election=self._name)
            every_s = RENEW_S if self.leading else LOOK_S
            await asyncio.sleep(max(0.0, every_s - (boottime_s() - started)))

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
