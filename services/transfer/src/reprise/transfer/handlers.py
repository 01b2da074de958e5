"""One function per event."""

import asyncio
import contextlib
import random
import time
from pathlib import Path

from prometheus_client import Counter, Histogram
from reprise.archive.criu.volumes import may_start_cold
from reprise.archive.crypto import KeyUnavailable
from reprise.archive.facts import BadArchive
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.retention import Ladder
from reprise.contracts.errors import CheckpointError, DamagedObject, RepriseError, StoreError, StoreUnavailable
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointPruned,
    CheckpointSkipped,
    CheckpointStored,
    CheckpointTaken,
)
from reprise.contracts.model import Workload
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder
from reprise.runtime.telemetry import log, of_target, span
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.decide import home_of, orphans
from reprise.transfer.keeping import Keeping

STORE_RETRY_S = 1.0
STORE_RETRY_MAX_S = 10.0
MOST_ADVISED = 10_000

STORED = Counter("reprise_checkpoints_stored_total", "Good checkpoints: verified, complete in the store, committed")
BYTES = Counter("reprise_archive_bytes_total", "Bytes of the archives that were stored")
NEW_BYTES = Counter("reprise_archive_new_bytes_total", "Of these, bytes that no checkpoint before them had")
UPLOADED_BYTES = Counter("reprise_uploaded_bytes_total", "Bytes sent to the store for them, compressed and encrypted")
SECONDS_OF_PAUSES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
PAUSE_SECONDS = Histogram(
    "reprise_checkpoint_pause_seconds", "How long a process could not run for its checkpoint, from the first to the last moment",
    buckets=SECONDS_OF_PAUSES,
)  # fmt: skip
CRIU_FROZEN_SECONDS = Histogram(
    "reprise_checkpoint_criu_frozen_seconds", "How long CRIU held the process still for a checkpoint, by its own statistics",
    buckets=SECONDS_OF_PAUSES,
)  # fmt: skip
COLLECTED_BYTES = Counter("reprise_collected_bytes_total", "Bytes of packs that garbage collection removed from the store")
SECONDS = Histogram("reprise_transfer_seconds", "From taking a checkpoint up to its commit in the store")
FAILED = Counter("reprise_archives_refused_total", "Archives that did not become a checkpoint", ["reason"])
SUPERSEDED = Counter("reprise_checkpoints_superseded_total", "Checkpoints that newer ones replaced before they could be stored")


class Handlers:
    """Takes checkpoints from the node's slots to the store."""

    def __init__(
        self,
        bus: Bus,
        repository: Repository,
        recorder: EventRecorder,
        keeping: Keeping,
        slots: Slots,
        checkpoints_dir: Path,
        ladder: Ladder = (),
    ) -> None:
        self._bus, self._repository, self._recorder = bus, repository, recorder
        self._keeping, self._slots, self._folder = keeping, slots, checkpoints_dir
        self._ladder = ladder
        self._advised: dict[tuple[str, str], str] = {}
        """By pod and container: what its owner was told of it."""

    async def on_taken(self, event: CheckpointTaken) -> None:
        """Make it what is restored on this node, whatever the store does. Uploads may be behind: this is not."""
        try:
            await self._keeping.keep(event)
        except (BadArchive, CheckpointError) as error:
            await self._refuse(event, error)

    async def on_upload(self, event: CheckpointTaken) -> None:
        """Hold it ready here, store it, tell, prune. While the store or its keys are away: wait, for as long as it would be
        restored. Only what is wrong with the slot itself takes it back.
        """
        self._slots.busy.add(event.slot)
        try:
            began = time.monotonic()
            try:
                is_there = await self._keeping.keep(event)
                manifest = await self._store(event, is_there=is_there)
            except (BadArchive, CheckpointError) as error:
                await self._refuse(event, error)
                return
        finally:
            self._slots.busy.discard(event.slot)
        if manifest is None:
            await self._superseded(event)
            return
        transfer_s = time.monotonic() - began
        SECONDS.observe(transfer_s)
        await self._stored(event, manifest, transfer_s)
        await self._advise(event, manifest)
        await self._prune(event)

    async def _store(self, event: CheckpointTaken, *, is_there: bool) -> Manifest | None:
        """The commit; None if newer ones have taken its place on the node before it could be stored."""
        delay_s, container, told = STORE_RETRY_S, event.target.container, False
        home = home_of(event.workload, event.target)
        while True:
            try:
                known = await asyncio.to_thread(self._find_whole, event.workload, container, event.checkpoint_id)
                if known:  # committed by us before a crash
                    return known
                return await self._write(event, self._slots.path(home, event.checkpoint_id)) if is_there else None
            except (StoreUnavailable, KeyUnavailable, DamagedObject) as error:
                log().warning("it cannot be stored now, the slot is kept", slot=event.slot, reason=error.reason, error=str(error))
                if not (told or isinstance(error, StoreUnavailable)):  # the store's own absence is told of elsewhere
                    told = True
                    message = f"it cannot be stored yet, and is restored on its own node meanwhile: {error}. {error.remedy}"
                    await self._recorder.record(event.workload, "Warning", "CheckpointFailed", message)
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, STORE_RETRY_MAX_S)
                if event.checkpoint_id not in await asyncio.to_thread(self._slots.shown, home):
                    return None

    async def _write(self, event: CheckpointTaken, slot: Path) -> Manifest:
        with span("store", attributes=of_target(event.target)) as current:
            manifest = await asyncio.to_thread(
                self._repository.write_archive, slot, checkpoint_id=event.checkpoint_id, workload=event.workload,
                target=event.target, trigger=event.trigger,
            )  # fmt: skip
            current.set_attributes({
                "reprise.archive.size": manifest.size, "reprise.archive.new": manifest.cost.new,
                "reprise.uploaded": manifest.cost.uploaded,
            })  # fmt: skip
        _count(event, manifest)
        return manifest

    def _find_whole(self, workload: Workload, container: str, checkpoint_id: str) -> Manifest | None:
        """A damaged manifest is as good as none: the slot that is still here is uploaded again."""
        try:
            return self._repository.find(workload, container, checkpoint_id)
        except DamagedObject:
            return None

    async def _stored(self, event: CheckpointTaken, manifest: Manifest, transfer_s: float) -> None:
        stored = CheckpointStored(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger=event.trigger, manifest_key=manifest.key,
            size=manifest.size, sha256=manifest.sha256, transfer_s=transfer_s, kubelet_s=event.kubelet_s,
            stats=manifest.facts.stats, new_bytes=manifest.cost.new, uploaded_bytes=manifest.cost.uploaded,
            pause_s=event.pause_s, kind=manifest.facts.kind,
        )  # fmt: skip
        await self._bus.publish(stored, dedup_id=f"stored-{event.checkpoint_id}")
        log().info("stored", checkpoint=event.checkpoint_id, bytes=manifest.size, transfer_s=round(transfer_s, 3))

    async def _advise(self, event: CheckpointTaken, manifest: Manifest) -> None:
        """What may not be restored is told with its first checkpoint, not after a crash; once, as long as it stays so."""
        text = ". ".join(filter(None, may_start_cold(manifest.facts.sized, manifest.facts.emptied)))
        key = (event.target.pod_uid, event.target.container)
        if self._advised.get(key, "") == text:
            return
        if len(self._advised) > MOST_ADVISED:
            self._advised.clear()
        self._advised[key] = text
        if text:
            who = f"container {event.target.container} of pod {event.target.pod}"
            await self._recorder.record(event.workload, "Warning", "MayStartCold", f"{who}: {text}")

    async def _superseded(self, event: CheckpointTaken) -> None:
        SUPERSEDED.inc()
        log().info("newer ones took its place before it was stored", checkpoint=event.checkpoint_id)
        home = home_of(event.workload, event.target)
        async with self._slots.lock(home):
            await asyncio.to_thread(self._slots.tidy, home)
        skipped = CheckpointSkipped(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason="Superseded", message="newer checkpoints took its place on the node before it could be stored",
        )  # fmt: skip
        await self._bus.publish(skipped, dedup_id=f"superseded-{event.checkpoint_id}")

    async def _refuse(self, event: CheckpointTaken, error: RepriseError) -> None:
        """First told, then removed: told again if that is interrupted."""
        FAILED.labels(error.reason).inc()
        log().error("archive refused", checkpoint=event.checkpoint_id, reason=error.reason, error=str(error))
        failed = CheckpointFailed(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=error.reason, message=str(error), remedy=error.remedy,
        )  # fmt: skip
        await self._bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}")
        await self._keeping.take_back(event)
        await self._recorder.record(event.workload, "Warning", "CheckpointFailed", f"{error}. {error.remedy}")

    async def _prune(self, event: CheckpointTaken) -> None:
        try:
            removed = await asyncio.to_thread(
                self._repository.prune, event.workload, event.target.container, event.keep, self._ladder
            )
        except StoreError as error:
            log().warning("retention could not run, the next checkpoint tries again", error=str(error))
            return
        for checkpoint_id in removed:
            pruned = CheckpointPruned(
                node=event.node, workload=event.workload, checkpoint_id=checkpoint_id, container=event.target.container
            )
            await self._bus.publish(pruned, dedup_id=f"pruned-{checkpoint_id}")

    async def on_failed(self, event: CheckpointFailed) -> None:
        """At an interval of seconds and a gigabyte each they would fill the node's disk before any sweep."""
        await self._keeping.throw_away(event)

    async def collect_garbage(self, interval_s: float) -> None:
        """Each node collects, at any time: collectors are safe against each other and against uploads."""
        while True:
            await asyncio.sleep(interval_s * random.uniform(0.5, 1.5))
            try:
                done = await asyncio.to_thread(self._repository.gc)
            except StoreError as error:
                log().warning("garbage collection could not run, it is tried again", error=str(error))
                continue
            if done.packs or done.skipped:
                COLLECTED_BYTES.inc(done.freed)
                log().info("collected", packs=len(done.packs), bytes=done.freed, skipped=done.skipped)

    async def sweep_orphans(self, age_s: float) -> None:
        """Every few minutes: the kubelet's archives that no event tells of."""
        while True:
            found = []
            for path in self._folder.glob("checkpoint-*.tar"):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path, time.time() - path.stat().st_mtime))
            for path in orphans(found, age_s):
                log().info("removing an archive that nobody told of", archive=path.name)
                path.unlink(missing_ok=True)
            await asyncio.sleep(300)


def _count(event: CheckpointTaken, manifest: Manifest) -> None:
    STORED.inc()
    BYTES.inc(manifest.size)
    NEW_BYTES.inc(manifest.cost.new)
    UPLOADED_BYTES.inc(manifest.cost.uploaded)
    if manifest.facts.kind == "criu":
        CRIU_FROZEN_SECONDS.observe(manifest.facts.stats.frozen_time_us / 1e6)
    if event.pause_s is not None:
        PAUSE_SECONDS.observe(event.pause_s)
