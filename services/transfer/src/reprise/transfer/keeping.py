"""Makes each good checkpoint the one that its container is restored from, on the process's own node.

It needs neither the store nor anything else away from the node, and comes before both: from then on a crash brings it back.
"""

import asyncio
import contextlib
from collections import deque
from pathlib import Path

from reprise.archive.source import open_source
from reprise.archive.writer import verify_archive
from reprise.contracts.errors import CheckpointError
from reprise.contracts.events import CheckpointFailed, CheckpointStaged, CheckpointTaken
from reprise.contracts.records import RollbackRecord
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.telemetry import log
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.decide import archive_path, home_of, require_own


class Keeping:
    """rollbacks: what is being gone back to. checkpoints_dir: the kubelet's, where the container runtime's stubs lie."""

    def __init__(self, bus: Bus, slots: Slots, rollbacks: Bucket[RollbackRecord], checkpoints_dir: Path) -> None:
        self._bus, self._slots, self._rollbacks, self._checkpoints_dir = bus, slots, rollbacks, checkpoints_dir
        self._kept: deque[str] = deque(maxlen=100)
        """Slots that were verified and told: two consumers ask for the same one, a moment apart."""

    async def keep(self, event: CheckpointTaken) -> bool:
        """Make it live and tell so, unless it is of an instance that is being given up; False if newer ones took its place and
        it is gone.

        Raises CheckpointError if the event names no slot of its own, or there is none; BadArchive for one that is not whole or
        of another container. Told again after a restart, it is done again.
        """
        self.drop_stub(event)
        require_own(event.slot, event.workload, event.target, event.checkpoint_id)
        home, checkpoint_id = home_of(event.workload, event.target), event.checkpoint_id
        async with self._slots.lock(home):
            live = await asyncio.to_thread(self._slots.live, home)
            if live == checkpoint_id and event.slot in self._kept:
                return True
            if not await asyncio.to_thread(self._slots.holds, home, checkpoint_id):
                if live > checkpoint_id:
                    return False
                raise CheckpointError(
                    "its slot is gone from the node", subject=event.target.pod, reason="SlotGone",
                    remedy="did something else clean /var/lib/reprise/slots? the next one is not affected",
                )  # fmt: skip
            await asyncio.to_thread(verify, self._slots.path(home, checkpoint_id), event.target.container_id)
            if checkpoint_id > live and await self._is_given_up(event):
                log().info("not live: an older one is gone back to", checkpoint=checkpoint_id, pod=event.target.pod, live=live)
            elif await asyncio.to_thread(self._slots.promote, home, checkpoint_id):
                log().info("live", checkpoint=checkpoint_id, pod=event.target.pod, before=live)
            await asyncio.to_thread(self._slots.tidy, home)
            is_live = await asyncio.to_thread(self._slots.live, home) == checkpoint_id
        if is_live:
            await self._bus.publish(staged_own(event), dedup_id=f"staged-{event.node}-{event.slot}-")
            self._kept.append(event.slot)
        return True

    async def _is_given_up(self, event: CheckpointTaken) -> bool:
        rollback = await self._rollbacks.get(container_key(event.workload, event.target.container))
        return rollback is not None and rollback.value.node == event.node and rollback.value.checkpoint_id != event.checkpoint_id

    async def take_back(self, event: CheckpointTaken) -> None:
        """It does not count after all: the one before is live again."""
        with contextlib.suppress(CheckpointError):
            require_own(event.slot, event.workload, event.target, event.checkpoint_id)
            home = home_of(event.workload, event.target)
            async with self._slots.lock(home):
                await asyncio.to_thread(self._slots.withdraw, home, event.checkpoint_id)

    async def throw_away(self, event: CheckpointFailed) -> None:
        """Remove what was taken of a process that was not the same healthy one before and after: its own slot, and no other."""
        self.drop_stub(event)
        if not event.slot:
            return
        try:
            require_own(event.slot, event.workload, event.target, event.checkpoint_id)
        except CheckpointError as error:
            log().error("not a slot of this checkpoint, left alone", slot=event.slot[:300], error=str(error))
            return
        home = home_of(event.workload, event.target)
        async with self._slots.lock(home):
            if event.checkpoint_id in await asyncio.to_thread(self._slots.shown, home):
                log().error("it was told as good before, left alone", slot=event.slot)
                return
            await asyncio.to_thread(self._slots.remove, home, event.checkpoint_id)
        log().info("slot thrown away", slot=event.slot, reason=event.reason)

    def drop_stub(self, event: CheckpointTaken | CheckpointFailed) -> None:
        """The archive that the container runtime made for the kubelet: what counts is in the slot."""
        if not event.archive_path:
            return
        try:
            archive_path(event.archive_path, self._checkpoints_dir).unlink(missing_ok=True)
        except (CheckpointError, OSError) as error:
            log().error("the kubelet's archive is left alone", archive=event.archive_path[:300], error=str(error))


def verify(slot: Path, container_id: str) -> None:
    """Raises BadArchive if it is not whole, or of another container; OSError."""
    with contextlib.closing(open_source(slot)) as source:
        verify_archive(source, container_id)


def staged_own(event: CheckpointTaken) -> CheckpointStaged:
    return CheckpointStaged(
        node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target, reference=event.slot,
        pull_s=0.0, role="own",
    )  # fmt: skip
