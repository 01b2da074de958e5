"""Has each new checkpoint lie ready where it would be restored: on the process's own node, and on its standby.

For a large process nothing is copied: what differs of its pages is written into a file of the node's (adapters/slots.py), and
the image that the runtime pulls is a thin one that leads there. A small one is pulled whole.
"""

import asyncio
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.archive.thin import page_files
from reprise.contracts.errors import DamagedObject, NotStored
from reprise.contracts.events import CheckpointFailed, CheckpointStaged, CheckpointTaken, ImageBuilt, StandbyRefused
from reprise.contracts.images import parse_live
from reprise.runtime.bus import Bus
from reprise.runtime.cri import Cri, CriError
from reprise.runtime.kube import EventRecorder
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log, span
from reprise.transfer.adapters.slots import SlotBusy, Slots
from reprise.transfer.decide import Refusal, gives_up, staging_limitation
from reprise.transfer.model import Noted

STAGE_SECONDS = Histogram("reprise_stage_seconds", "From a built image to its checkpoint lying ready on the node", ["role"])
WRITTEN = Counter("reprise_staged_bytes_total", "Bytes written to the node's disk to stage checkpoints", ["what"])
REFUSED = Counter("reprise_stagings_refused_total", "Checkpoints that this node did not stage", ["role", "reason"])
DAMAGED = Counter("reprise_checkpoints_damaged_total", "Stored checkpoints that were found damaged and could not be healed here")
HEALED = Counter("reprise_packs_healed_total", "Packs that were put back into the store from this node's copies")
RESTORE_LIMIT_S = 30.0
"""How long a restore under way is waited for before its slot is left alone this time."""
HOLD_ATTEMPTS = 3
NOTED_S = 1.0
"""How long NATS is waited for, which the hold of a node's own checkpoint must not need."""


@dataclass(frozen=True)
class Limits:
    """thin_bytes: processes with at least so many bytes of pages are staged as thin images; spare_bytes: left free on disk."""

    thin_bytes: int
    spare_bytes: int


class Staging:
    """The node's images. thin: whether its runtime follows a thin image's links."""

    def __init__(
        self, bus: Bus, repository: Repository, cri: Cri, recorder: EventRecorder, slots: Slots, root: Path, limits: Limits
    ) -> None:
        self._bus, self._repository, self._cri, self._recorder = bus, repository, cri, recorder
        self._slots, self._root, self._limits = slots, root, limits
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._newest: dict[str, str] = {}
        self._noted = Bucket(bus, "recoveries", Noted)

    async def on_image(self, event: ImageBuilt) -> None:
        """Stage it, unless a newer one has come meanwhile: then this one is worth nothing any more."""
        staged = await self._serve(event)
        if staged:
            await self.tell(staged)

    async def hold(self, taken: CheckpointTaken, manifest: Manifest) -> CheckpointStaged | None:
        """Have this node's runtime hold its own pod's checkpoint, before anybody is told that it is stored: from then on a crash
        brings it back, whoever else is away. Returns what is to be told; None if it cannot be held now, which is told
        as why, or need not. Raises StoreError.
        """
        if not taken.live_id or await self._given_up(taken):
            return None
        try:
            image = await asyncio.to_thread(self._repository.publish_image, manifest, taken.live_id)
        except NotStored:
            return None  # pruned meanwhile
        own = ImageBuilt(
            node=taken.node, workload=taken.workload, checkpoint_id=taken.checkpoint_id, target=taken.target,
            reference=image.reference, digest=image.digest,
        )  # fmt: skip
        for attempt in range(HOLD_ATTEMPTS):
            try:
                return await self._serve(own)
            except (CriError, SlotBusy) as error:
                log().warning("its own node does not hold it yet", checkpoint=taken.checkpoint_id, error=str(error))
                await asyncio.sleep(0.5 * 2**attempt)
        return None  # the restorer has it staged once it is told

    async def _given_up(self, taken: CheckpointTaken) -> bool:
        """Whether it, or the instance that it is of, was found poisoned. While NATS is away: nobody has found anything."""
        try:
            async with asyncio.timeout(NOTED_S):
                entry = await self._noted.get(key(taken.live_id, taken.target.container))
        except (NatsError, OSError, TimeoutError):
            return False
        return entry is not None and gives_up(entry.value, taken)

    async def _serve(self, event: ImageBuilt) -> CheckpointStaged | None:
        self._newest[event.reference] = max(self._newest.get(event.reference, ""), event.checkpoint_id)
        async with self._locks[event.reference]:
            if self._newest[event.reference] != event.checkpoint_id:
                return None
            manifest = await self._find(event)
            if manifest is None:
                log().info("checkpoint was pruned before it was staged", checkpoint=event.checkpoint_id)
                return None
            try:
                return await self._stage_or_heal(event, manifest)
            except DamagedObject as error:
                if await self._find(event):  # else it was pruned meanwhile, and its packs collected
                    await self._damaged(event, error)
                return None

    async def tell(self, staged: CheckpointStaged) -> None:
        await self._bus.publish(staged, dedup_id=f"staged-{staged.node}-{staged.reference}-{staged.checkpoint_id}")

    async def _stage_or_heal(self, event: ImageBuilt, manifest: Manifest) -> CheckpointStaged | None:
        try:
            return await self._stage(event, manifest)
        except DamagedObject:
            if not await self._heal(manifest):
                raise
            return await self._stage(event, manifest)

    async def on_damage(self, event: CheckpointFailed) -> None:
        """Whichever node found a stored checkpoint damaged: put back what this one still has of it."""
        if event.reason != DamagedObject.__name__:
            return
        try:
            manifest = await self._find(event)
        except DamagedObject:  # the manifest is: no node has a copy of that
            return
        if manifest:
            await self._heal(manifest)

    async def _find(self, event: ImageBuilt | CheckpointFailed) -> Manifest | None:
        return await asyncio.to_thread(self._repository.find, event.workload, event.target.container, event.checkpoint_id)

    async def _heal(self, manifest: Manifest) -> bool:
        healed = await asyncio.to_thread(self._repository.heal, manifest)
        if healed:
            HEALED.inc(len(healed))
            log().warning("the store is healed from this node's copies", checkpoint=manifest.checkpoint_id, packs=healed)
        return bool(healed)

    async def _stage(self, event: ImageBuilt, manifest: Manifest) -> CheckpointStaged | None:
        began = time.monotonic()
        refusal = await self._refusal(event, manifest)
        if refusal:
            await self._refuse(event, refusal)
            return None
        with span("stage", reprise_image_reference=event.reference, reprise_role=event.role):
            fetched = await asyncio.to_thread(self._repository.prefetch, manifest) if event.role == "standby" else 0
            written = await self._pull(event, manifest) if event.prestage == "image" else 0
        took_s = time.monotonic() - began
        STAGE_SECONDS.labels(event.role).observe(took_s)
        WRITTEN.labels("packs").inc(fetched)
        WRITTEN.labels("image").inc(written)
        log().info("staged", checkpoint=event.checkpoint_id, role=event.role, took_s=round(took_s, 3), fetched=fetched,
                   written=written)  # fmt: skip
        return CheckpointStaged(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reference=event.reference, pull_s=took_s, role=event.role, bytes_fetched=fetched, bytes_written=written,
            warm=event.prestage == "image",
        )  # fmt: skip

    async def _refusal(self, event: ImageBuilt, manifest: Manifest) -> Refusal | None:
        runtime = (await self._cri.version()).split()[0]
        base = manifest.facts.base_image_id
        present = not base or await self._cri.image_id(base) is not None
        if not present and event.role == "standby":
            present = await self._pull_base(manifest)
        folder = self._folder(event.reference)
        missing = await asyncio.to_thread(self._slots.missing_bytes, folder, manifest.size)
        free = shutil.disk_usage(self._root).free
        return staging_limitation(
            manifest.facts.runtime, runtime, manifest.facts.base_image, base_present=present, missing_bytes=missing,
            free_bytes=free, spare_bytes=self._limits.spare_bytes,
        )  # fmt: skip

    async def _pull_base(self, manifest: Manifest) -> bool:
        """By name; it counts only if that still is the same image (CRI-O restores by the image's id)."""
        try:
            await self._cri.pull_image(manifest.facts.base_image, 120)
        except CriError as error:
            log().warning("the base image cannot be pulled", image=manifest.facts.base_image, error=str(error))
            return False
        return await self._cri.image_id(manifest.facts.base_image_id) is not None

    async def _pull(self, event: ImageBuilt, manifest: Manifest) -> int:
        """Returns the bytes that were written for it. The image before is dropped once the new one is there."""
        before = await self._cri.image_id(event.reference)
        written = await self._thin(event, manifest, before or "") if manifest.size >= self._limits.thin_bytes else None
        with span("pull", kind=SpanKind.CLIENT, reprise_image_reference=event.reference):
            try:
                await self._cri.pull_image(event.reference)
            except CriError:
                await asyncio.to_thread(self._verify, manifest)  # raises what it is, if it is the archive
                raise
        after = await self._cri.image_id(event.reference)
        if before and after and before != after:
            try:
                await self._cri.remove_image(before)
            except CriError as error:  # in use by a container that was restored from it: dropped with the next
                log().debug("superseded image stays", image=before, error=str(error))
        return manifest.size if written is None else written

    async def _thin(self, event: ImageBuilt, manifest: Manifest, shown: str) -> int | None:
        """Bytes written; None if there is no thin image of this one."""
        await self._no_restore_under_way(event)
        archive = await asyncio.to_thread(self._repository.open, manifest)
        pages = await asyncio.to_thread(page_files, archive, self._limits.thin_bytes)
        if not pages:
            return None
        shown_id = shown.rpartition(":")[2].rpartition("@")[2]
        image, written = await asyncio.to_thread(self._slots.stage, self._folder(event.reference), archive, pages, shown_id)
        return written if image else None

    async def _no_restore_under_way(self, event: ImageBuilt) -> None:
        """A container that is created but not started may be about to read either slot."""
        end = time.monotonic() + RESTORE_LIMIT_S
        while True:
            created = await self._cri.list_containers("created")
            if not any((c.namespace, c.name) == (event.workload.namespace, event.target.container) for c in created):
                return
            if time.monotonic() > end:
                raise SlotBusy("a restore is under way", subject=event.reference)
            await asyncio.sleep(0.2)

    def _verify(self, manifest: Manifest) -> None:
        for _ in self._repository.read_archive(manifest):
            pass

    def _folder(self, reference: str) -> Path:
        named = parse_live(reference)
        assert named, f"{reference} is no live reference"
        return self._slots.folder(*named)

    async def _refuse(self, event: ImageBuilt, refusal: Refusal) -> None:
        REFUSED.labels(event.role, refusal.reason).inc()
        log().warning(
            "not staged", checkpoint=event.checkpoint_id, role=event.role, reason=refusal.reason, message=refusal.message
        )
        if event.role == "own":
            message = f"{refusal.reason}: {refusal.message}. {refusal.remedy}"
            await self._recorder.record(event.workload, "Warning", "NotStaged", message)
            return
        refused = StandbyRefused(
            node=event.node, workload=event.workload, target=event.target, reason=refusal.reason, message=refusal.message,
            remedy=refusal.remedy,
        )  # fmt: skip
        await self._bus.publish(refused, dedup_id=f"refused-{event.node}-{event.checkpoint_id}")

    async def _damaged(self, event: ImageBuilt, error: DamagedObject) -> None:
        """The image before stays: it is the newest state that can be restored."""
        DAMAGED.inc()
        log().error("a stored checkpoint is damaged", checkpoint=event.checkpoint_id, error=str(error))
        failed = CheckpointFailed(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=error.reason, message=str(error), remedy=error.remedy,
        )  # fmt: skip
        await self._bus.publish(failed, dedup_id=f"damaged-{event.node}-{event.checkpoint_id}")
        await self._recorder.record(event.workload, "Warning", "CheckpointDamaged", f"{error}. {error.remedy}")

    async def sweep(self, is_gone_after_s: float) -> None:
        """Remove the slots of pods that are gone: nothing has been staged for so long, and no container leads there."""
        while True:
            await asyncio.sleep(60)
            for namespace, live_id, container, state in list(self._slots.all()):
                if time.time() - state.staged_at < is_gone_after_s:
                    continue
                containers = await self._cri.list_containers()
                reference = f"{namespace}/{live_id}/{container}"
                if not any(c.pod_uid == live_id or reference in c.image for c in containers):
                    log().info("slots removed", reference=reference)
                    await asyncio.to_thread(self._slots.remove, namespace, live_id, container)
