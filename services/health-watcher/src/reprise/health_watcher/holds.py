"""The last checkpoint of a process that is moved, seen from its node: from then on it stands still.

The engine leaves it frozen (it knows the instant); the reconciler keeps it so, and lets it go by the rule for all that is frozen.
Late messages change nothing: a request counts only while its record in KV is as restorer wrote it, and what the checkpointer
tells only while this node still holds the container. While it is held the verdict is `wait`: nothing starts in its place.
"""

import asyncio
from dataclasses import replace

from reprise.contracts.events import CheckpointDue, CheckpointFailed, CheckpointTaken, Event, FailoverHolding
from reprise.contracts.model import Target, now
from reprise.contracts.records import HoldRecord
from reprise.health_watcher.decide import holds
from reprise.health_watcher.fences import Fences
from reprise.health_watcher.lease import Lease
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.model import Held
from reprise.health_watcher.reconciler import Reconciler
from reprise.health_watcher.verdicts import Verdicts
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

DUE_INTERVAL_S = 60.0
LOOK_S, AGAIN_S = 0.1, 0.5
ENDED = {"reason": "HoldEnded", "message": "its node's agent started anew and let it run on", "remedy": "it is tried again"}
DELETED = {"reason": "PodDeleting", "message": "its pod is being deleted", "remedy": "nothing: a deletion wins"}
OVER = {
    "reason": "NotStored",
    "message": "its last checkpoint did not get into the store in time: its node let it run on",
    "remedy": "see the workload's events, and transfer's log on its node: `kubectl -n reprise-system get pods -o wide`",
}


class Holds:
    """Of this node."""

    def __init__(
        self, bus: Bus, records: Bucket[HoldRecord], ledger: Ledger, fences: Fences, verdicts: Verdicts, reconciler: Reconciler,
        lease: Lease,
    ) -> None:  # fmt: skip
        self._bus, self._records, self._ledger, self._fences = bus, records, ledger, fences
        self._verdicts, self._reconciler, self._lease = verdicts, reconciler, lease

    async def on_event(self, event: Event) -> None:
        """Those that hold a container, and those that tell how it went."""
        match event:
            case FailoverHolding():
                await self._begin(event)
            case CheckpointTaken(trigger="move"):
                await self._taken(event)
            case CheckpointFailed(hold=True):
                self._let_go(event.target)  # a checkpointer that was killed may have left it frozen
                await self._failed(event.checkpoint_id, event.reason, event.message, event.remedy)

    async def run(self) -> None:
        while True:
            try:
                for held in list(self._ledger.held.values()):
                    await self._end(held)
            except Exception as error:  # of NATS: what is held stays so
                log().warning("cannot ask whether it is still held, trying again", error=repr(error))
                await asyncio.sleep(AGAIN_S)
            await asyncio.sleep(LOOK_S)

    async def _begin(self, event: FailoverHolding) -> None:
        """The note and the verdict are on disk before anything is frozen: an agent that starts anew lets go of what it finds."""
        name, target = key(event.checkpoint_id), event.target
        entry = await self._records.get(name)
        if entry is None or entry.value.state != "wanted":
            log().info("not wanted any more: nothing is held", checkpoint=event.checkpoint_id)
            return
        if any(h.pod_uid == target.pod_uid and h.container_id != target.container_id for h in self._ledger.held.values()):
            await self._failed(event.checkpoint_id, "NotHeld", "another container of its pod stands still", "it is tried again")
            return
        begun = entry.value.model_copy(update={"state": "begun"})
        if await self._records.update(name, begun, entry.revision) is None:
            return
        until_s = self._lease.clock() + event.hold_s
        self._ledger.hold(Held(target.pod_uid, target.container, target.container_id, event.checkpoint_id, until_s))
        self._reconciler.refresh()
        due = CheckpointDue(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=target, trigger="move",
            due_at=now(), interval_s=DUE_INTERVAL_S, keep=event.keep, hold=True,
        )  # fmt: skip
        await self._bus.publish(due, dedup_id=f"due-{event.checkpoint_id}")

    async def _taken(self, event: CheckpointTaken) -> None:
        """The fence is read while it stands still: this node lets go of the hold before it writes the fence, and thaws
        after that. So either the hold is found ended here, or the fence that restorer takes is found written there.
        """
        target, name = event.target, key(event.checkpoint_id)
        if not event.held:
            await self._failed(
                event.checkpoint_id, "NotHeld", "the process ran on for a moment after its dump", "it is tried again"
            )
            return
        revision = await self._fences.revision(target.pod_uid)
        entry = await self._records.get(name)
        held = self._ledger.held.get(target.container_id)
        if held is None or held.checkpoint_id != event.checkpoint_id:
            self._let_go(target)
            await self._failed(event.checkpoint_id, "HoldEnded", "its node had let it run on already", "it is tried again")
            return
        self._ledger.hold(replace(held, standing=True))
        await self._reconciler.reconcile()  # whatever else runs in its pod
        if entry is None or entry.value.state != "begun":
            return  # it is not wanted any more: run() finds that out, and lets it go
        done = entry.value.model_copy(update={"state": "held", "fence_revision": revision})
        await self._records.update(name, done, entry.revision)

    async def _end(self, held: Held) -> None:
        """First its record says so, then the hold is forgotten, then its fence is written, then it is thawed."""
        entry = await self._records.get(key(held.checkpoint_id))
        leaves = self._verdicts.leaves(held.pod_uid)
        if not leaves and holds(held, entry.value if entry else None, self._lease.clock()):
            return
        if entry and entry.value.state != "failed":
            why = DELETED if leaves else OVER if held.until_s else ENDED
            failed = entry.value.model_copy(update={"state": "failed", **why})
            if await self._records.update(entry.key, failed, entry.revision) is None:
                return  # it was taken just then, or is not wanted any more
        if self._ledger.held.get(held.container_id) != held:
            return  # it was confirmed meanwhile: the next look ends it
        log().info("its hold has ended: it is asked whether it may run", pod_uid=held.pod_uid, checkpoint=held.checkpoint_id)
        self._forget(held)

    def _let_go(self, target: Target) -> None:
        """It may be frozen, and no hold of ours knows why."""
        if target.container_id and target.container_id not in self._ledger.held:
            self._forget(Held(target.pod_uid, target.container, target.container_id, "", 0.0))

    def _forget(self, held: Held) -> None:
        """If it was not confirmed it may have been frozen all the same: it counts as such until its fence was asked."""
        self._ledger.let_go(held)
        self._fences.unsettle(held.pod_uid)
        self._reconciler.refresh()

    async def _failed(self, checkpoint_id: str, reason: str, message: str, remedy: str) -> None:
        """Tell restorer; run() lets go of it at its next look, since its record says no more that it is to be held."""
        entry = await self._records.get(key(checkpoint_id))
        if entry and entry.value.state in ("wanted", "begun"):
            told = {"state": "failed", "reason": reason, "message": message, "remedy": remedy}
            await self._records.update(entry.key, entry.value.model_copy(update=told), entry.revision)
