"""Has a checkpoint lie ready in a slot: the newest on a workload's standby, the one that is asked for on its own node.

What differs of its pages from the newest slot here is fetched and written; a slot that may be restored is never changed.
"""

import asyncio
import contextlib
import shutil
import time
from dataclasses import dataclass

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from reprise.archive.facts import BadArchive
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.contracts.errors import CheckpointError, DamagedObject, StoreError
from reprise.contracts.events import CheckpointFailed, CheckpointStaged, ImageBuilt, StandbyRefused
from reprise.runtime.bus import Bus
from reprise.runtime.cri import Cri, CriError
from reprise.runtime.kube import EventRecorder
from reprise.runtime.nodefiles import NodeFiles
from reprise.runtime.telemetry import log, span
from reprise.transfer.adapters.filling import Base, Filled, Filler
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.decide import Refusal, checkpoint_name, gone, home_of, staging_limitation

STAGE_SECONDS = Histogram("reprise_stage_seconds", "From a built image to its checkpoint lying ready on the node", ["role"])
WRITTEN = Counter("reprise_staged_bytes_total", "Bytes written to the node's disk to stage checkpoints", ["what"])
REFUSED = Counter("reprise_stagings_refused_total", "Checkpoints that this node did not stage", ["role", "reason"])
DAMAGED = Counter("reprise_checkpoints_damaged_total", "Stored checkpoints that were found damaged and could not be healed here")
HEALED = Counter("reprise_packs_healed_total", "Packs that were put back into the store from this node's copies")


@dataclass(frozen=True)
class Limits:
    """spare_bytes: left free on the node's disk."""

    spare_bytes: int


class Staging:
    """The node's slots, as the store fills them."""

    def __init__(
        self, bus: Bus, repository: Repository, cri: Cri, recorder: EventRecorder, slots: Slots, files: NodeFiles, limits: Limits
    ) -> None:
        self._bus, self._repository, self._cri, self._recorder = bus, repository, cri, recorder
        self._slots, self._files, self._limits = slots, files, limits
        self._newest: dict[str, str] = {}
        """What was asked for last of each standby's slots: an older one is worth nothing any more."""
        self._gone_since: dict[str, float] = {}

    async def on_image(self, event: ImageBuilt) -> None:
        """Stage it. Raises CriError, StoreUnavailable: tried again."""
        try:
            home = home_of(event.workload, event.target)
            checkpoint_name(event.checkpoint_id)
        except CheckpointError as error:
            log().error("not staged", checkpoint=event.checkpoint_id[:300], error=str(error))
            return
        if _follows(event):
            self._newest[home] = max(self._newest.get(home, ""), event.checkpoint_id)
        async with self._slots.lock(home):
            staged = await self._serve(event, home)
        if staged:
            await self._bus.publish(staged, dedup_id=f"staged-{staged.node}-{staged.reference}-{event.asked_by}")

    async def _serve(self, event: ImageBuilt, home: str) -> CheckpointStaged | None:
        if _follows(event) and self._is_old(event, home):
            return None
        if await asyncio.to_thread(self._slots.holds, home, event.checkpoint_id):
            return await self._show(event, home, 0, Filled(0, cloned=False), time.monotonic())
        manifest = await self._find(event)
        if manifest is None:
            log().info("checkpoint was pruned before it was staged", checkpoint=event.checkpoint_id)
            return None
        try:
            return await self._stage_or_heal(event, home, manifest)
        except (BadArchive, DamagedObject) as error:
            if await self._find(event):  # else it was pruned meanwhile, and its packs collected
                await self._damaged(event, error)
            return None

    def _is_old(self, event: ImageBuilt, home: str) -> bool:
        return event.checkpoint_id < max(self._newest.get(home, ""), self._slots.live(home))

    async def _stage_or_heal(self, event: ImageBuilt, home: str, manifest: Manifest) -> CheckpointStaged | None:
        try:
            return await self._stage(event, home, manifest)
        except DamagedObject:
            if not await self._heal(manifest):
                raise
            return await self._stage(event, home, manifest)

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

    async def _stage(self, event: ImageBuilt, home: str, manifest: Manifest) -> CheckpointStaged | None:
        began = time.monotonic()
        refusal = await self._refusal(manifest)
        if refusal:
            await self._refuse(event, refusal)
            return None
        with span("stage", kind=SpanKind.CLIENT, reprise_slot=f"{home}/{event.checkpoint_id}", reprise_role=event.role):
            fetched = await asyncio.to_thread(self._repository.prefetch, manifest) if event.role == "standby" else 0
            WRITTEN.labels("packs").inc(fetched)
            if event.prestage != "image":
                return self._told(event, home, fetched, 0, began)
            filled = await asyncio.to_thread(self._fill, home, manifest)
        return await self._show(event, home, fetched, filled, began)

    def _fill(self, home: str, manifest: Manifest) -> Filled:
        archive = self._repository.open(manifest)
        live, spare = self._slots.live(home), self._slots.spare(home)
        return Filler(self._slots.path(home), archive, self._base(manifest, home, live), self._base(manifest, home, spare)).fill()

    def _base(self, manifest: Manifest, home: str, checkpoint_id: str) -> Base | None:
        """What of another slot here may be used again; nothing if it is not known what it is made of."""
        if not checkpoint_id or checkpoint_id == manifest.checkpoint_id:
            return None
        with contextlib.suppress(StoreError):
            found = self._repository.find(manifest.workload, manifest.target.container, checkpoint_id)
            if found:
                return Base(self._slots.path(home, checkpoint_id), self._repository.open(found))
        return None

    async def _show(self, event: ImageBuilt, home: str, fetched: int, filled: Filled, began: float) -> CheckpointStaged:
        """Make it what is restored; an older one than that too if it was asked for."""
        await asyncio.to_thread(self._slots.promote, home, event.checkpoint_id, back=not _follows(event))
        spares = 1 if event.role == "standby" and not filled.cloned else 0
        await asyncio.to_thread(self._slots.tidy, home, spares=spares)
        WRITTEN.labels("slots").inc(filled.written)
        return self._told(event, home, fetched, filled.written, began)

    def _told(self, event: ImageBuilt, home: str, fetched: int, written: int, began: float) -> CheckpointStaged:
        took_s = time.monotonic() - began
        STAGE_SECONDS.labels(event.role).observe(took_s)
        return CheckpointStaged(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reference=f"{home}/{event.checkpoint_id}", pull_s=took_s, role=event.role, bytes_fetched=fetched,
            bytes_written=written, warm=event.prestage == "image",
        )  # fmt: skip

    async def _refusal(self, manifest: Manifest) -> Refusal | None:
        runtime = (await self._cri.version()).split()[0]
        free = shutil.disk_usage(self._slots.root).free
        return staging_limitation(
            manifest.facts.runtime, runtime, missing_bytes=manifest.size, free_bytes=free, spare_bytes=self._limits.spare_bytes
        )

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
        await self._bus.publish(refused, dedup_id=f"refused-{event.node}-{event.checkpoint_id}-{event.asked_by}")

    async def _damaged(self, event: ImageBuilt, error: BadArchive | DamagedObject) -> None:
        """What was live before stays so: it is the newest state that can be restored."""
        DAMAGED.inc()
        log().error("a stored checkpoint is damaged", checkpoint=event.checkpoint_id, error=str(error))
        failed = CheckpointFailed(
            node=event.node, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reason=error.reason, message=str(error), remedy=error.remedy,
        )  # fmt: skip
        await self._bus.publish(failed, dedup_id=f"damaged-{event.node}-{event.checkpoint_id}-{event.asked_by}")
        await self._recorder.record(event.workload, "Warning", "CheckpointDamaged", f"{error}. {error.remedy}")

    async def sweep(self, gone_after_s: float) -> None:
        """Each minute: remove the slots of pods that have been gone for so long, and of which nothing was staged meanwhile."""
        while True:
            await asyncio.sleep(60)
            try:
                await self.sweep_once(gone_after_s)
            except (CriError, OSError) as error:
                log().warning("slots could not be swept, it is tried again", error=str(error))

    async def sweep_once(self, gone_after_s: float) -> None:
        """Gone all the time, not at this moment: a container that is restarted is not there for a while. Raises CriError."""
        homes = dict(await asyncio.to_thread(lambda: list(self._slots.homes())))
        containers = [container.pod_uid for container in await self._cri.list_containers()]
        named = await asyncio.to_thread(self._named)
        now = time.monotonic()
        for home, at in homes.items():
            if not gone(containers, named, home.split("/")[1], home):
                self._gone_since.pop(home, None)
                continue
            since = self._gone_since.setdefault(home, now)
            if now - since >= gone_after_s and time.time() - at >= gone_after_s:
                async with self._slots.lock(home):
                    await asyncio.to_thread(self._slots.forget, home)
                log().info("slots removed", home=home)
        self._gone_since = {home: since for home, since in self._gone_since.items() if home in homes}

    def _named(self) -> list[str]:
        """What this node's pods may be restored from."""
        found = [self._files.read_pod(uid) for uid in list(self._files.pods())]
        return [slots for pod in found if pod for verdict in pod.containers.values() for slots in verdict.slots]


def _follows(event: ImageBuilt) -> bool:
    """Whether the newest is what is wanted, as a standby does; else this very checkpoint is: by a person, or by a failover."""
    return event.role == "standby" and not event.asked_by
