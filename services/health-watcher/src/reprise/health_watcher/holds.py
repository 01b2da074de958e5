"""The last checkpoint of a process that is moved, or armed, seen from its node: from then on it stands still.

The checkpointer freezes (it knows the instant); this keeps it so, and Isolation lets it go by the rule for all that is
frozen. Late messages change nothing: a request counts only while its record in KV is as restorer wrote it, and what the
checkpointer tells only while this node still holds the container.
"""

from reprise.contracts.events import CheckpointDue, CheckpointFailed, CheckpointTaken, Event, FailoverHolding
from reprise.contracts.model import now
from reprise.contracts.records import HoldRecord
from reprise.health_watcher.isolation import Isolation
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log

DUE_INTERVAL_S = 60.0


class Holds:
    """isolation: of this node."""

    def __init__(self, bus: Bus, records: Bucket[HoldRecord], isolation: Isolation) -> None:
        self._bus, self._records, self._isolation = bus, records, isolation

    async def on_event(self, event: Event) -> None:
        """Those that hold a container, and those that tell how it went."""
        match event:
            case FailoverHolding():
                await self._begin(event)
            case CheckpointTaken(trigger="move" | "arm"):
                await self._taken(event)
            case CheckpointFailed(hold=True):
                self._isolation.let_go(event.target)  # a checkpointer that was killed may have left it frozen
                await self._failed(event.checkpoint_id, event.reason, event.message, event.remedy)

    async def _begin(self, event: FailoverHolding) -> None:
        """The note is on disk before anything is frozen: an agent that starts anew lets go of what it finds there."""
        name = key(event.checkpoint_id)
        entry = await self._records.get(name)
        if entry is None or entry.value.state != "wanted":
            log().info("not wanted any more: nothing is held", checkpoint=event.checkpoint_id)
            return
        if self._isolation.holds_beside({event.target.container_id}, event.target.pod_uid):
            await self._failed(event.checkpoint_id, "NotHeld", "another container of its pod stands still", "it is tried again")
            return
        begun = entry.value.model_copy(update={"state": "begun"})
        if await self._records.update(name, begun, entry.revision) is None:
            return
        arms = event.cause == "arm"
        self._isolation.hold(event.target, event.checkpoint_id, event.hold_s, stays=arms)
        due = CheckpointDue(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger="arm" if arms else "move", due_at=now(), interval_s=DUE_INTERVAL_S, keep=event.keep, hold=True,
            live_id=event.live_id,
        )  # fmt: skip
        await self._bus.publish(due, dedup_id=f"due-{event.checkpoint_id}")

    async def _taken(self, event: CheckpointTaken) -> None:
        """The fence is read while it stands still: this node lets go of the hold before it writes the fence, and thaws
        after that. So either the hold is found ended here, or the fence that restorer takes is found written there.
        """
        target, name = event.target, key(event.checkpoint_id)
        if not event.held:
            await self._failed(event.checkpoint_id, "NotHeld", "the process ran on for a moment after its dump",
                               "it is tried again; a node that is too busy to notice in time may need to be less so")  # fmt: skip
            return
        revision = await self._isolation.fence_revision(target.pod_uid)
        entry = await self._records.get(name)
        if not self._isolation.confirm(target.container_id, event.checkpoint_id):
            self._isolation.let_go(target)
            await self._failed(event.checkpoint_id, "HoldEnded", "its node had let it run on already", "it is tried again")
            return
        await self._isolation.on_started()  # its kubelet may have started another one during the dump
        if entry is None or entry.value.state != "begun":
            return  # it is not wanted any more: Isolation asks, and lets it go
        held = entry.value.model_copy(update={"state": "held", "fence_revision": revision})
        await self._records.update(name, held, entry.revision)

    async def _failed(self, checkpoint_id: str, reason: str, message: str, remedy: str) -> None:
        """Tell restorer; Isolation lets go of it at its next look, since its record says no more that it is to be held."""
        entry = await self._records.get(key(checkpoint_id))
        if entry and entry.value.state in ("wanted", "begun"):
            told = {"state": "failed", "reason": reason, "message": message, "remedy": remedy}
            await self._records.update(entry.key, entry.value.model_copy(update=told), entry.revision)
