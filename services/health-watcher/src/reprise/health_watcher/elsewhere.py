"""Holds back what has ended and is to go to another node (rules/on_failure.py), until its failover is decided.

As for a planned move (holds.py), but nothing is checkpointed: it has ended, and is restored from what there is. The ledger and
the verdict say so first; then whatever was started in between is frozen; then the fence's revision is read, and told. So either
restorer takes the fence as it was while nothing ran here, or this node has written it since and starts the container here (I1).
Whatever goes wrong, it starts here again HOLD_S later at the latest: being moved must not be worse than a restart (I6).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from nats.errors import Error as NatsError
from reprise.contracts.events import FailoverDeclared
from reprise.contracts.model import Target, elsewhere_id
from reprise.contracts.records import HoldRecord
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import Held
from reprise.health_watcher.reconciler import Reconciler
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import about, log, span

HOLD_S = 10.0
"""Until its fence is taken: restorer plans first."""
ASK_S = 2.0


class Elsewhere:
    """Of this node."""

    def __init__(
        self, bus: Bus, records: Bucket[HoldRecord], ledger: Ledger, fences: Fences, reconciler: Reconciler, lease: Lease
    ) -> None:
        self._bus, self._records, self._ledger, self._fences = bus, records, ledger, fences
        self._reconciler, self._lease = reconciler, lease

    def hold_back(self, target: Target) -> None:
        """Nothing is started in its place from here on; it may not have ended yet."""
        until_s = self._lease.clock() + HOLD_S
        self._ledger.hold(Held(target.pod_uid, target.container, target.container_id, elsewhere_id(target), until_s))
        self._reconciler.refresh()

    def let_go(self, target: Target) -> None:
        """Nobody was told of it: it starts here."""
        if held := self._ledger.held.get(target.container_id):
            self._ledger.let_go(held)
            self._reconciler.refresh()

    async def declare(self, target: Target, event: Callable[[int], FailoverDeclared]) -> bool:
        """Once it has ended. event: by the revision of the fence. False: it could not be told, and starts here."""
        name = key(elsewhere_id(target))
        told = False
        try:
            async with asyncio.timeout(ASK_S):
                await self._records.put(name, HoldRecord(failover_id=elsewhere_id(target), state="begun"))
                if not (held := self._ledger.held.get(target.container_id)):
                    return False
                self._ledger.hold(replace(held, standing=True))
                await self._reconciler.reconcile()  # whatever was started in between
                declared, told = event(await self._fences.revision(target.pod_uid)), True
                with span("failover.declared", root=True, ago_s=declared.noticed_after_s, attributes=about(declared)):
                    await self._bus.publish(declared, dedup_id=f"declared-{declared.failover_id}")
        except (NatsError, OSError, TimeoutError) as error:
            log().warning("cannot tell that it is to go to another node: it starts here", pod=target.pod, error=repr(error))
            if not told:
                self.let_go(target)
            with contextlib.suppress(NatsError, OSError, TimeoutError):  # else its hold runs out
                async with asyncio.timeout(ASK_S):
                    await self._records.delete(name)
            return False
        return True
