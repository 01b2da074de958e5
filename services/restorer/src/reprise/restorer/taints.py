"""While a StatefulSet's pod is made anew elsewhere, the scheduler keeps new pods off the node that is left.

A lost node looks well to it for 40 s (the controller manager's node-monitor-grace-period), and the StatefulSet's controller
makes the next pod within milliseconds: it was put back there again and again. Each failover has a taint of its own, for a second
or two; what a failover did not live to remove is removed here.
"""

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from reprise.contracts.errors import RepriseError
from reprise.restorer.model import Saga
from reprise.restorer.ports import Taints
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

LOOK_S = 30.0


class LeftTaints:
    """leads: whether this replica is the one that looks."""

    def __init__(self, bus: Bus, cluster: Taints, leads: Callable[[], bool]) -> None:
        self._sagas, self._cluster, self._leads = Bucket(bus, "failovers", Saga), cluster, leads

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._leads():
                try:
                    await self.look()
                except (RepriseError, NatsError, OSError, TimeoutError, ValueError) as error:
                    log().warning("not known which taints are left over, trying again", error=repr(error))

    async def look(self) -> None:
        """The taints first: a failover's record is there before its taint."""
        found = await self._cluster.kept_off()
        running = {entry.value.failover_id for entry in await self._sagas.entries() if not entry.value.ended} if found else set()
        for node, failover_id in found:
            if failover_id not in running and key(failover_id) not in self._sagas.unreadable:
                await self._cluster.let_on(node, failover_id)
                log().info("taint removed: its failover has ended", of_node=node, failover=failover_id)
