"""One function per event: what became of a checkpoint decides whether there is a next one."""

import time

from reprise.contracts.causes import LASTING
from reprise.contracts.events import CheckpointFailed, CheckpointPaused, CheckpointStored
from reprise.contracts.records import Newest
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.telemetry import log
from reprise.scheduler.decide import HARM_REMEDY, HARMED_AT_MOST, counted, paused
from reprise.scheduler.model import Harm

ATTEMPTS = 5


class Handlers:
    """harms: one record per pod's container, changed by compare-and-set; any replica may handle an outcome."""

    def __init__(self, bus: Bus, harms: Bucket[Harm], newest: Bucket[Newest], recorder: EventRecorder) -> None:
        self._bus, self._harms, self._newest, self._recorder = bus, harms, newest, recorder

    async def on_outcome(self, event: CheckpointFailed | CheckpointStored) -> None:
        """Count it, and tell the owner once it is one too many."""
        if isinstance(event, CheckpointStored):
            await self._note(event)
        reason = event.reason if isinstance(event, CheckpointFailed) else ""
        harm = await self._count(event, reason)
        if isinstance(event, CheckpointFailed) and reason in LASTING and harm.failures == 1:
            await self._tell_lasting(event)
        if isinstance(event, CheckpointFailed) and paused(harm):
            await self._tell(event)

    async def _note(self, event: CheckpointStored) -> None:
        """What comes next must sort after it, whosever clock named it."""
        name, newest = container_key(event.workload, event.target.container), Newest(checkpoint_id=event.checkpoint_id)
        for _ in range(ATTEMPTS):
            entry = await self._newest.get(name)
            if entry and entry.value.checkpoint_id >= event.checkpoint_id:
                return
            if await (self._newest.update(name, newest, entry.revision) if entry else self._newest.create(name, newest)):
                return
        raise TimeoutError(f"others keep changing {name}")

    async def _count(self, event: CheckpointFailed | CheckpointStored, reason: str) -> Harm:
        target = event.target
        name = key(target.pod_uid, target.container)
        for _ in range(ATTEMPTS):
            entry = await self._harms.get(name)
            before = entry.value if entry else Harm(pod_uid=target.pod_uid, container=target.container)
            after = counted(before, event.checkpoint_id, reason, time.time())
            if after.model_copy(update={"checkpoint_id": before.checkpoint_id}) == before:
                return after
            if await (self._harms.update(name, after, entry.revision) if entry else self._harms.create(name, after)):
                return after
        raise TimeoutError(f"others keep changing {name}")

    async def _tell_lasting(self, event: CheckpointFailed) -> None:
        """Once, until it fails of something else, or its pod is another one."""
        message = (
            f"{event.reason}: {event.message}. Each try is a pause, so the next ones are ever further apart, at most an hour; "
            f"`reprise checkpoint take` tries at once. To do: {event.remedy}"
        )
        await self._recorder.record(event.workload, "Warning", "CheckpointFailed", message)

    async def _tell(self, event: CheckpointFailed) -> None:
        message = (
            f"container {event.target.container} of pod {event.target.pod} did not stand {HARMED_AT_MOST} checkpoints in a row, "
            f"so no more are taken; of the last one: {event.message}"
        )
        log().error("checkpoints paused", pod=event.target.pod, container=event.target.container)
        told = CheckpointPaused(
            node=event.node, workload=event.workload, target=event.target, reason="PauseOutlastsProbe", message=message,
            remedy=HARM_REMEDY,
        )  # fmt: skip
        await self._bus.publish(told, dedup_id=f"paused-{event.target.pod_uid}-{event.target.container}")
        await self._recorder.record(event.workload, "Warning", "CheckpointsPaused", f"{message}. To do: {HARM_REMEDY}")
