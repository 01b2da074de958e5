"""One function per event."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import Counter, Histogram
from reprise.archive.crypto import KeyUnavailable
from reprise.archive.facts import BadArchive
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.retention import Ladder
from reprise.contracts.errors import CheckpointError, DamagedObject, RepriseError, StoreError, StoreUnavailable
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointPruned,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
)
from reprise.contracts.model import Workload
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder
from reprise.runtime.telemetry import log, of_target, span
from reprise.transfer.decide import archive_path, orphans
from reprise.transfer.staging import Staging

STORE_RETRY_S = 1.0
STORE_RETRY_MAX_S = 10.0

STORED = Counter("reprise_checkpoints_stored_total", "Good checkpoints: verified, complete in the store, committed")
BYTES = Counter("reprise_archive_bytes_total", "Bytes of the archives that were stored")
NEW_BYTES = Counter("reprise_archive_new_bytes_total", "Of these, bytes that no checkpoint before them had")
UPLOADED_BYTES = Counter("reprise_uploaded_bytes_total", "Bytes sent to the store for them, compressed and encrypted")
PAUSE_SECONDS = Histogram(
    "reprise_checkpoint_pause_seconds",
    "How long CRIU held the process still for a checkpoint, by its own statistics",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
COLLECTED_BYTES = Counter("reprise_collected_bytes_total", "Bytes of packs that garbage collection removed from the store")
SECONDS = Histogram("reprise_transfer_seconds", "From taking an archive up to its commit")
FAILED = Counter("reprise_archives_refused_total", "Archives that did not become a checkpoint", ["reason"])


class Handlers:
    """Takes archives from the kubelet's folder to the store."""

    def __init__(
        self,
        bus: Bus,
        repository: Repository,
        recorder: EventRecorder,
        staging: Staging,
        checkpoints_dir: Path,
        store_is_up: Callable[[], bool],
        ladder: Ladder = (),
    ) -> None:
        self._bus, self._repository, self._recorder = bus, repository, recorder
        self._staging, self._folder = staging, checkpoints_dir
        self._busy: set[Path] = set()
        self._store_is_up, self._ladder = store_is_up, ladder

    async def on_taken(self, event: CheckpointTaken) -> None:
        """Verify, store, free the local tar, hold it ready here, tell, prune. While the store is away: wait, and keep the tar."""
        try:
            path = archive_path(event.archive_path, self._folder)
        except CheckpointError as error:
            await self._failed(event, error)
            return
        self._busy.add(path)
        try:
            began = time.monotonic()
            try:
                manifest = await self._store(event, path)
            except (BadArchive, DamagedObject, CheckpointError, KeyUnavailable) as error:
                await self._failed(event, error)  # first told, then removed: told again if that is interrupted
                path.unlink(missing_ok=True)
                return
            path.unlink(missing_ok=True)
            transfer_s = time.monotonic() - began
            SECONDS.observe(transfer_s)
            held = await self._hold(event, manifest)
            await self._stored(event, manifest, transfer_s, held)
            if held:
                await self._staging.tell(held)
        finally:
            self._busy.discard(path)
        await self._prune(event)

    async def _store(self, event: CheckpointTaken, path: Path) -> Manifest:
        delay_s, container = STORE_RETRY_S, event.target.container
        while True:
            try:
                known = await asyncio.to_thread(self._find_whole, event.workload, container, event.checkpoint_id)
                if known:  # committed by us before a crash
                    return known
                if not path.exists():
                    raise CheckpointError(
                        f"{path.name} is gone from the node",
                        subject=event.target.pod,
                        reason="ArchiveGone",
                        remedy="did something else clean the kubelet's checkpoints folder? the next one is not affected",
                    )
                with span("store", attributes=of_target(event.target), reprise_archive_size=path.stat().st_size) as current:
                    manifest = await asyncio.to_thread(
                        self._repository.write_archive, path, checkpoint_id=event.checkpoint_id,
                        workload=event.workload, target=event.target, trigger=event.trigger,
                    )  # fmt: skip
                    current.set_attributes({"reprise.archive.new": manifest.cost.new, "reprise.uploaded": manifest.cost.uploaded})
                _count(manifest)
                return manifest
            except StoreUnavailable as error:
                log().warning("the store is away, the archive is kept", archive=path.name, error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, STORE_RETRY_MAX_S)

    async def _hold(self, event: CheckpointTaken, manifest: Manifest) -> CheckpointStaged | None:
        delay_s = STORE_RETRY_S
        while True:
            try:
                return await self._staging.hold(event, manifest)
            except StoreUnavailable as error:
                log().warning("the store is away, its image waits", checkpoint=event.checkpoint_id, error=str(error))
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, STORE_RETRY_MAX_S)

    def _find_whole(self, workload: Workload, container: str, checkpoint_id: str) -> Manifest | None:
        """A damaged manifest is as good as none: the archive that is still here is uploaded again."""
        try:
            return self._repository.find(workload, container, checkpoint_id)
        except DamagedObject:
            return None

    async def _stored(self, event: CheckpointTaken, manifest: Manifest, transfer_s: float, held: CheckpointStaged | None) -> None:
        stored = CheckpointStored(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            trigger=event.trigger, manifest_key=manifest.key,
            size=manifest.size, sha256=manifest.sha256, transfer_s=transfer_s, kubelet_s=event.kubelet_s,
            stats=manifest.facts.stats, new_bytes=manifest.cost.new, uploaded_bytes=manifest.cost.uploaded,
            live_id=event.live_id if held else "",
        )  # fmt: skip
        await self._bus.publish(stored, dedup_id=f"stored-{event.checkpoint_id}")
        log().info("stored", checkpoint=event.checkpoint_id, bytes=manifest.size, transfer_s=round(transfer_s, 3))

    async def _failed(self, event: CheckpointTaken, error: RepriseError) -> None:
        FAILED.labels(error.reason).inc()
        log().error("archive refused", checkpoint=event.checkpoint_id, reason=error.reason, error=str(error))
        failed = CheckpointFailed(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=error.reason, message=str(error), remedy=error.remedy,
        )  # fmt: skip
        await self._bus.publish(failed, dedup_id=f"failed-{event.checkpoint_id}")
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
        """Throw away what was taken of a process that was not the same healthy one before and after."""
        if not event.archive_path:
            return
        try:
            path = archive_path(event.archive_path, self._folder)
        except CheckpointError as error:
            log().error("not an archive of ours, left alone", archive=event.archive_path[:300], error=str(error))
            return
        if path not in self._busy:
            path.unlink(missing_ok=True)
            log().info("archive thrown away", archive=path.name, reason=event.reason)

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
        """Every few minutes, but never while the store is away: archives that no event tells of."""
        while True:
            found = []
            for path in self._folder.glob("checkpoint-*.tar"):
                with contextlib.suppress(FileNotFoundError):
                    found.append((path, time.time() - path.stat().st_mtime))
            for path in orphans(found, self._busy, age_s) if self._store_is_up() else []:
                log().info("removing an archive that nobody told of", archive=path.name)
                path.unlink(missing_ok=True)
            await asyncio.sleep(300)


def _count(manifest: Manifest) -> None:
    STORED.inc()
    BYTES.inc(manifest.size)
    NEW_BYTES.inc(manifest.cost.new)
    UPLOADED_BYTES.inc(manifest.cost.uploaded)
    PAUSE_SECONDS.observe(manifest.facts.stats.frozen_time_us / 1e6)
