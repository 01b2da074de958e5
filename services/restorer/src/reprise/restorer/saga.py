"""A failover, step by step: plan, fence, image, place, verify, adopt, complete; or undo, and then another attempt or the end.

A planned move is one too, and so is arming, each with a step of its own before the fence: hold, the last checkpoint of a
process that stands still afterwards. Undone, it runs on.

Each step is idempotent and is recorded by compare-and-set before the next begins. The record names the step to do
next, so whoever gets the message again after a crash goes on from there; who loses a compare-and-set stops at once,
because another replica is ahead. What ends a failover is recorded before anything is undone, and nothing is placed for
it after that: the pod's fence is let go of only when no restored instance can be left.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from prometheus_client import Counter, Histogram
from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import (
    Cause,
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverDelayed,
    FailoverFenced,
    FailoverRestored,
    FailoverStarted,
    ImageBuilt,
    Outcome,
)
from reprise.contracts.images import live_reference, parse_live
from reprise.contracts.model import checkpoint_id, now
from reprise.contracts.records import Fence
from reprise.restorer import decide
from reprise.restorer.model import Go, Good, Need, PodView, Recovery, Saga, Snapshot, Standby, Step, Stop
from reprise.restorer.moving import LastCheckpoint
from reprise.restorer.ports import Checkpoints, Cluster, recovery_key, shadow_name
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, Entry, container_key, key
from reprise.runtime.telemetry import link, log, of_target, of_workload, span

ENDED = Counter(
    "reprise_failovers_total", "Failovers that ended: restored, or an outcome of failover.abandoned", ["cause", "outcome"]
)
DELAYED = Counter("reprise_failovers_delayed_total", "Times that a failover could not go on and waits for a node", ["cause"])
TOTAL_SECONDS = Histogram(
    "reprise_failover_seconds",
    "From the notice of a fault to serving again with its state",
    ["cause", "path"],
    buckets=(0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120),
)
STEP_SECONDS = Histogram(
    "reprise_failover_step_seconds",
    "One step of a failover, each try by itself",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
for _cause in get_args(Cause):  # a counter that appears with its first failover shows no increase
    DELAYED.labels(_cause)
    for _outcome in ("restored", *get_args(Outcome)):
        ENDED.labels(_cause, _outcome)

POLL_S = 0.05
AGAIN_S = 1.0
LOOK_S = 1.0
"""How often the world is looked at again while a restored instance is waited for."""
NUDGE_S = 1.5
"""A kubelet that looks each second has begun to restart a container by then, unless it found the ended one's name taken: then it
tries again 10 s later (pkg/kubelet/pod_workers.go, backOffPeriod), or as soon as its pod changes."""


class Overtaken(Exception):
    """Another replica has moved this saga on."""


class Abandon(Exception):
    """The saga cannot go on; carries the reason to tell."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


@dataclass(frozen=True)
class Looked:
    """What a plan is made of: the snapshot, the record of the pod's recoveries, and its usable checkpoints, newest first."""

    snapshot: Snapshot
    recovery: Entry[Recovery] | None
    good: Sequence[Good]
    newest: str = ""
    """Of all its good checkpoints, usable or not; empty if there is none."""


class SagaRunner:
    """Runs one failover to its end."""

    def __init__(
        self,
        bus: Bus,
        cluster: Cluster,
        checkpoints: Checkpoints,
        *,
        verify_timeout_s: float,
        adopt_timeout_s: float,
        stage_timeout_s: float,
    ) -> None:
        self._bus, self._cluster, self._checkpoints = bus, cluster, checkpoints
        self._verify_timeout_s, self._adopt_timeout_s = verify_timeout_s, adopt_timeout_s
        self._stage_timeout_s = stage_timeout_s
        self.sagas = Bucket(bus, "failovers", Saga)
        self.fences = Bucket(bus, "fences", Fence)
        self.standbys = Bucket(bus, "standby", Standby)
        self.recoveries = Bucket(bus, "recoveries", Recovery)
        self._last = LastCheckpoint(bus, checkpoints)
        self._steps: dict[Step, Callable[[Saga], Awaitable[Saga]]] = {
            "plan": self._plan,
            "hold": self._hold,
            "fence": self._fence,
            "image": self._image,
            "place": self._place,
            "verify": self._verify,
            "adopt": self._adopt,
            "undo": self._undo,
        }

    async def run(self, declared: Saga) -> Saga:
        """Start the saga, or go on with the one that is recorded under its id. Returns it as it ended, or waits."""
        name = key(declared.failover_id)
        saga, revision = declared, await self.sagas.create(name, declared)
        try:
            if revision is None:
                saga, revision = await self._resume(name, declared)
            while not saga.ended and saga.step != "wait":
                with span(f"saga.{saga.step}", links=[saga.checkpoint_trace], attributes=_told(saga)):
                    saga, revision = await self._advance(saga, revision)
        except Overtaken:
            log().info("another replica runs this failover", failover=saga.failover_id)
        return saga

    async def _resume(self, name: str, declared: Saga) -> tuple[Saga, int]:
        entry = await self.sagas.get(name)
        if entry is None:
            raise RecoveryError("its record vanished", subject=declared.failover_id, retryable=True)
        log().info("resuming failover", failover=declared.failover_id, step=entry.value.step)
        again = decide.taken_up(entry.value, declared)
        if again is None:
            return entry.value, entry.revision
        revision = await self.sagas.update(name, again, entry.revision)
        if revision is None:
            raise Overtaken
        return again, revision

    async def _advance(self, saga: Saga, revision: int) -> tuple[Saga, int]:
        began = time.monotonic()
        try:
            after = await self._steps[saga.step](saga)
        except Abandon as abandon:
            after = _undone(saga, abandon.stop)
        except RecoveryError as error:
            if error.retryable or saga.step == "undo":
                raise
            after = _undone(saga, Stop(error.reason, str(error), error.remedy))
        updated = await self.sagas.update(key(saga.failover_id), after, revision)
        if updated is None:
            raise Overtaken
        STEP_SECONDS.labels(saga.step).observe(time.monotonic() - began)
        _count(saga, after)
        return after, updated

    async def snapshot(self, saga: Saga) -> Looked:
        """Everything that its plan looks at, as it is now. Changes nothing."""
        target = saga.target
        pod = await self._cluster.pod(saga.workload.namespace, target.pod, target.container)
        recovery = await self._recovery(pod, target.container)
        before = recovery.value if recovery else Recovery()
        stored = await self._checkpoints.good(saga.workload, target.container)
        # What somebody chose may be what was given up before: that is for them to know.
        usable = stored if saga.wanted else decide.usable(stored, before)
        good, unfit = decide.fitting(usable, pod, await self._others(pod, target.node))
        standby = await self._standby(saga) if saga.moves else Standby()
        found = Snapshot(
            cause=saga.cause,
            workload=saga.workload,
            target=target,
            pod=pod,
            checkpoints=tuple(found.checkpoint_id for found in good),
            nodes=await self._cluster.nodes() if saga.moves else (),
            need=good[0].need if good else Need(),
            standby=standby.node,
            refused=tuple(standby.refused.items()),
            tried=saga.tried,
            failover_id=saga.failover_id,
            lived_s=saga.lived_s,
            ran=saga.ran,
            proved=any(found.container_id == target.container_id for found in stored),
            recovery=before,
            fenced_by=await self._fenced_by(saga),
            unfit=unfit,
            to=saga.to,
            wanted=saga.wanted,
        )
        return Looked(found, recovery, good, stored[0].checkpoint_id if stored else "")

    async def _plan(self, saga: Saga) -> Saga:
        if saga.planned:
            saga = await self._retargeted(saga)
        target = saga.target
        looked = await self.snapshot(saga)
        good, recovery, pod = looked.good, looked.recovery, looked.snapshot.pod
        match decide.plan(looked.snapshot):
            case Stop() as stop:
                raise Abandon(stop)
            case Go() as go:
                assert pod is not None
                log().info("failover planned", failover=saga.failover_id, path=go.path, checkpoint=go.checkpoint_id,
                           standby=go.standby, attempt=saga.attempt, why=go.why)  # fmt: skip
                own_name = saga.moves or go.renamed
                by_us = go.path == "in-place-patch"  # what runs by now is the kubelet's blank, or of the checkpoint given up
                made_in = next((found.traceparent for found in good if found.checkpoint_id == go.checkpoint_id), "")
                link(made_in, reprise_checkpoint_id=go.checkpoint_id)
                if saga.holds:
                    saga = saga.model_copy(update={"hold_s": decide.hold_s(good[0].size if good else 0)})
                    last = checkpoint_id(target.pod_uid, target.container, decide.later(now(), looked.newest))
                    go = replace(go, checkpoint_id=last, recovery=go.recovery.model_copy(update={"checkpoint_id": last}))
                if not own_name:
                    await self._note(pod.live_id, target.container, recovery, go.recovery)
                return saga.model_copy(
                    update={
                        "step": "hold" if saga.holds else "fence",
                        "path": go.path, "checkpoint_id": go.checkpoint_id, "standby": go.standby,
                        "why": go.why, "checkpoint_trace": made_in,
                        "live_id": saga.name if own_name else pod.live_id, "recovery": go.recovery,
                        "seen_image": pod.image, "replaced": (target.container_id, *([pod.container_id] if by_us else [])),
                        "cold_image": pod.cold_image or saga.cold_image or (pod.image if not parse_live(pod.image) else ""),
                    }
                )  # fmt: skip

    async def _retargeted(self, saga: Saga) -> Saga:
        """Whatever instance of its pod runs by now is what is to be moved: it may have been armed, or restored, since."""
        target = saga.target
        pod = await self._cluster.pod(saga.workload.namespace, target.pod, target.container)
        if pod is None or pod.uid != target.pod_uid or pod.container_id in ("", target.container_id):
            return saga
        return saga.model_copy(update={"target": target.model_copy(update={"container_id": pod.container_id})})

    async def _others(self, pod: PodView | None, node: str) -> frozenset[str]:
        image = decide.image_of(pod) if pod else ""
        return await self._cluster.other_images(node, image) if image else frozenset()

    async def _recovery(self, pod: PodView | None, container: str) -> Entry[Recovery] | None:
        return await self.recoveries.get(recovery_key(pod.live_id, container)) if pod else None

    async def _note(self, live_id: str, container: str, before: Entry[Recovery] | None, after: Recovery) -> None:
        """Two deaths of one pod may be planned at once: who comes second plans anew."""
        name = recovery_key(live_id, container)
        if before and before.value == after:
            return
        written = await (self.recoveries.update(name, after, before.revision) if before else self.recoveries.create(name, after))
        if written is None:
            raise RecoveryError("another failover of its pod was planned meanwhile", subject=live_id, retryable=True)

    async def _fenced_by(self, saga: Saga) -> str:
        """Another failover that has the pod's fence."""
        held = await self.fences.get(key(saga.target.pod_uid))
        other = held is not None and held.value.holder == "restorer" and held.value.failover_id != saga.failover_id
        return held.value.failover_id if held and other else ""

    async def _sight(self, saga: Saga) -> Stop | None:
        """Whether what is so now still lets this saga act."""
        pod = await self._cluster.pod(saga.workload.namespace, saga.target.pod, saga.target.container)
        if saga.planned and saga.step in ("hold", "fence") and (stop := decide.changed(saga.target, pod)):
            return stop
        if saga.moves and saga.step not in ("plan", "hold", "fence"):
            held = await self.fences.get(key(saga.target.pod_uid))
            if held is None or (held.value.holder, held.value.failover_id) != ("restorer", saga.failover_id):
                return Stop("FenceLost", "somebody else wrote the pod's fence", "nothing", "hand-over")
        image = () if saga.moves else (saga.seen_image, saga.reference)
        acts = saga.path != "in-place-armed"
        return decide.may_go_on(saga.target, pod, acts=acts, fenced_by=await self._fenced_by(saga), image=image)

    async def _look(self, saga: Saga) -> None:
        if stop := await self._sight(saga):
            raise Abandon(stop)

    async def _hold(self, saga: Saga) -> Saga:
        done = await self._last.take(saga, lambda: self._look(saga))
        if isinstance(done, Stop):
            raise Abandon(done)
        return saga.model_copy(update={"step": "fence", "fence_revision": done.fence_revision})

    async def _fence(self, saga: Saga) -> Saga:
        if saga.holds and not saga.moves:
            await self._look(saga)
            if stop := await self._last.claim(saga):
                raise Abandon(stop)
        if saga.path == "shadow":
            await self._look(saga)
            await self._take(saga)
            await self._started(saga)
            how = (
                "its last checkpoint left it frozen, and its node may not thaw it"
                if saga.planned
                else "the node froze its containers before it was given up, and may not thaw them"
            )
            await self._emit(
                FailoverFenced(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                               target=saga.target, how=how),
                "fenced", saga,
            )  # fmt: skip
        return saga.model_copy(update={"step": "image"})

    async def _take(self, saga: Saga) -> None:
        name = key(saga.target.pod_uid)
        mine = Fence(pod_uid=saga.target.pod_uid, holder="restorer", failover_id=saga.failover_id)
        while True:
            entry = await self.fences.get(name)
            held, revision = (entry.value, entry.revision) if entry else (None, 0)
            if stop := decide.may_take(held, revision, saga):
                raise Abandon(stop)
            if held and held.holder == "restorer":
                return
            if await (self.fences.update(name, mine, revision) if revision else self.fences.create(name, mine)):
                return

    async def _let_go(self, saga: Saga) -> int:
        """The old instance may run again, if its node returns. Returns the fence's revision that this failover knows."""
        name = key(saga.target.pod_uid)
        while True:
            entry = await self.fences.get(name)
            if entry is None or entry.value.failover_id != saga.failover_id:
                return saga.fence_revision
            if entry.value.holder == "nobody":
                return entry.revision
            free = Fence(pod_uid=saga.target.pod_uid, holder="nobody", failover_id=saga.failover_id)
            revision = await self.fences.update(name, free, entry.revision)
            if revision is not None:
                return revision

    async def _image(self, saga: Saga) -> Saga:
        """An armed pod's image lies on its node already: nothing to wait for, the store may be away."""
        if saga.path == "in-place-armed":
            return saga.model_copy(update={"step": "place"})
        reference = live_reference(saga.workload.namespace, saga.live_id, saga.target.container)
        if saga.moves and (await self._standby(saga)).holds(saga.standby, saga.checkpoint_id, reference):
            return saga.model_copy(update={"step": "place", "reference": reference})  # published before it was staged
        await self._publish(saga, saga.live_id)
        if saga.moves and not await self._staged(saga, reference):
            # Under this name the standby may have an older state, which the kubelet would take: another name has none.
            log().warning("the standby did not stage the checkpoint in time: its kubelet pulls it", failover=saga.failover_id)
            reference = await self._publish(saga, f"{saga.name}-cold")
        return saga.model_copy(update={"step": "place", "reference": reference})

    async def _publish(self, saga: Saga, live_id: str) -> str:
        found = await self._checkpoints.publish(saga.workload, saga.target.container, saga.checkpoint_id, live_id)
        return found[0]

    async def _staged(self, saga: Saga, reference: str) -> bool:
        """Ask the standby to stage this very checkpoint under this name; whether it did in time."""
        built = ImageBuilt(
            node=saga.standby, workload=saga.workload, checkpoint_id=saga.checkpoint_id, target=saga.target,
            reference=reference, digest="", role="standby", prestage="image",
        )  # fmt: skip
        await self._name_standby(saga)
        await self._bus.publish(built, dedup_id=f"built-{saga.name}-{saga.checkpoint_id}")
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stage_timeout_s
        while loop.time() < end:
            await asyncio.sleep(POLL_S)
            if (await self._standby(saga)).holds(saga.standby, saga.checkpoint_id, reference):
                return True
        return False

    async def _name_standby(self, saga: Saga) -> None:
        """What another node than the one that is named says of its staging counts for nothing (Standbys.on_staged)."""
        name = container_key(saga.workload, saga.target.container)
        while True:
            entry = await self.standbys.get(name)
            if entry and entry.value.node == saga.standby:
                return
            named = Standby(node=saga.standby, refused=entry.value.refused if entry else {})
            if await (self.standbys.update(name, named, entry.revision) if entry else self.standbys.create(name, named)):
                return

    async def _standby(self, saga: Saga) -> Standby:
        entry = await self.standbys.get(container_key(saga.workload, saga.target.container))
        return entry.value if entry else Standby()

    async def _place(self, saga: Saga) -> Saga:
        workload, target = saga.workload, saga.target
        if saga.path != "in-place-armed":
            await self._look(saga)
            named = parse_live(saga.reference)
            assert named, f"{saga.reference} is no live reference"
            if saga.live_id == saga.name:  # the others were noted when they were planned
                await self.recoveries.put(recovery_key(named[1], target.container), saga.recovery)
            if saga.path == "shadow":
                await self._cluster.create_shadow(target, workload, saga.name, saga.standby, saga.reference)
            else:
                await self._cluster.set_image(workload.namespace, target.pod, target.container, saga.reference, named[1])
        if saga.path != "shadow":
            await self._started(saga)
        return saga.model_copy(update={"step": "verify"})

    async def _verify(self, saga: Saga) -> Saga:
        pod = shadow_name(saga.workload, saga.name) if saga.path == "shadow" else saga.target.pod
        loop = asyncio.get_running_loop()
        # What was moved stands still meanwhile, and can run on where it was: nobody waits for it longer than for its hold.
        patience_s = min(self._verify_timeout_s, saga.hold_s) if saga.planned else self._verify_timeout_s
        end, look_at, nudge_at = loop.time() + patience_s, loop.time(), loop.time() + NUDGE_S
        while True:
            if loop.time() >= look_at:
                await self._look(saga)
                if saga.planned and await self._cluster.adopted(saga.workload, saga.name) is None:
                    raise Abandon(Stop("ShadowGone", "somebody removed the restored pod", "nothing", "step-aside"))
                look_at = loop.time() + LOOK_S
            life = await self._cluster.life(saga.workload.namespace, pod, saga.target, saga.replaced)
            if life.healthy and await self._may_be_adopted(saga, pod):
                break
            if loop.time() > nudge_at and saga.path != "shadow" and not life.runs:
                await self._cluster.nudge(saga.workload.namespace, pod, saga.name)
                nudge_at = loop.time() + patience_s  # once is enough
            if loop.time() > end:
                raise Abandon(decide.unverified(saga, pod, life, patience_s))
            await asyncio.sleep(POLL_S)
        await self._emit(
            FailoverRestored(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id,
                             target=saga.target, checkpoint_id=saga.checkpoint_id),
            "restored", saga,
        )  # fmt: skip
        return saga.model_copy(update={"step": "adopt"})

    async def _may_be_adopted(self, saga: Saga, pod: str) -> bool:
        """Of a pod that is not ready and one that is, a ReplicaSet removes the first: nobody but we can open a shadow's gate."""
        return saga.path != "shadow" or await self._cluster.opens_gate(saga.workload.namespace, pod, saga.checkpoint_id)

    async def _adopt(self, saga: Saga) -> Saga:
        if saga.path == "shadow":
            loop = asyncio.get_running_loop()
            end = loop.time() + self._adopt_timeout_s
            while not await self._owned(saga):
                if loop.time() > end:
                    raise RecoveryError(
                        "its ReplicaSet does not adopt the restored pod", subject=str(saga.workload), retryable=True
                    )
                await asyncio.sleep(POLL_S)
        if saga.planned:
            await self._cluster.end(saga.target, saga.workload.namespace)
        if saga.holds:
            await self._last.forget(saga)
        await self._completed(saga)
        return saga.model_copy(update={"step": "complete"})

    async def _owned(self, saga: Saga) -> bool:
        """The old pod is looked at first: what the ReplicaSet does to it because of the adoption comes after that."""
        stop = await self._sight(saga)
        owned = await self._cluster.adopted(saga.workload, saga.name)
        if owned:
            return True
        if owned is None:
            raise Abandon(
                stop or Stop("ShadowGone", "somebody removed the restored pod", "nothing: a deletion wins", "step-aside")
            )
        if stop:
            raise Abandon(stop)
        await self._cluster.adopt(saga.target, saga.workload, saga.name)
        return False

    async def _undo(self, saga: Saga) -> Saga:
        """Nothing restored is left running before the fence is let go of; that is let go of before the end is told."""
        stop = saga.stop
        assert stop is not None
        if saga.path == "shadow":
            await self._discard(saga)
        if saga.holds:
            await self._last.forget(saga)
        if saga.planned:
            await self._let_go(saga)
        again = decide.after(saga, stop)
        fresh = {"stop": None, "path": None, "reference": "", "live_id": "", "checkpoint_trace": ""}
        if again and not again.later:
            log().warning("attempt failed, another one follows", failover=saga.failover_id, why=again.why)
            await asyncio.sleep(AGAIN_S if saga.holds and not again.lossy else 0.0)  # its process runs on first
            tried = saga.tried if stop.unheld else (*saga.tried, saga.checkpoint_id)
            another = {"step": "plan", "attempt": saga.attempt + 1, "tried": tried, "lossy": again.lossy}
            return saga.model_copy(update=fresh | another)
        if not stop.harmless and not saga.moves:
            await self._start_cold(saga)
        revision = await self._let_go(saga)
        if again:
            await self._delayed(saga, stop)
            return saga.model_copy(
                update=fresh | {"step": "wait", "delays": saga.delays + 1, "fence_revision": revision, "why": stop.message}
            )
        await self._abandoned(saga, stop)
        return saga.model_copy(update={"step": "abandoned", "fence_revision": revision, "why": stop.message})

    async def _discard(self, saga: Saga) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._adopt_timeout_s
        while not await self._cluster.discard_shadow(saga.workload, saga.name):
            if loop.time() > end:
                raise RecoveryError("it is not certain that the restored pod is gone", subject=saga.name, retryable=True)
            await asyncio.sleep(POLL_S)

    async def _start_cold(self, saga: Saga) -> None:
        """The pod must not go on asking for a checkpoint that does not live."""
        pod = await self._cluster.pod(saga.workload.namespace, saga.target.pod, saga.target.container)
        if pod is None or pod.uid != saga.target.pod_uid or not parse_live(pod.image):
            return
        noted = await self._recovery(pod, saga.target.container)
        never = (noted.value if noted else Recovery()).model_copy(update={"arms": False, "strikes": 0, "back": 0})
        await self.recoveries.put(recovery_key(pod.live_id, saga.target.container), never)
        cold = saga.cold_image or pod.cold_image
        if cold:
            await self._cluster.set_image(saga.workload.namespace, pod.name, saga.target.container, cold, pod.live_id)

    async def _started(self, saga: Saga) -> None:
        await self._emit(
            FailoverStarted(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                            target=saga.target, cause=saga.cause, path=saga.path or "cold",
                            checkpoint_id=saga.checkpoint_id, standby=saga.standby, why=saga.why, attempt=saga.attempt,
                            reference=saga.reference),
            "started", saga,
        )  # fmt: skip

    async def _completed(self, saga: Saga) -> None:
        total_s = (now() - saga.declared_at).total_seconds()
        await self._emit(
            FailoverCompleted(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id,
                              target=saga.target, cause=saga.cause, path=saga.path or "cold",
                              checkpoint_id=saga.checkpoint_id, total_s=total_s),
            "completed", saga,
        )  # fmt: skip
        log().info("failover completed", failover=saga.failover_id, total_s=round(total_s, 3))

    async def _delayed(self, saga: Saga, stop: Stop) -> None:
        log().warning("failover delayed", failover=saga.failover_id, reason=stop.reason, message=stop.message, delays=saga.delays)
        await self._emit(
            FailoverDelayed(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                            target=saga.target, cause=saga.cause, attempt=saga.attempt, reason=stop.reason,
                            message=stop.message, remedy=stop.remedy),
            f"delayed-{saga.delays}", saga,
        )  # fmt: skip

    async def _abandoned(self, saga: Saga, stop: Stop) -> None:
        level = log().info if stop.harmless else log().error
        level("failover abandoned", failover=saga.failover_id, reason=stop.reason, message=stop.message, outcome=stop.outcome)
        if stop.harmless and saga.cause == "arm":
            return
        await self._emit(
            FailoverAbandoned(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                              target=saga.target, cause=saga.cause, reason=stop.reason, message=stop.message,
                              remedy=stop.remedy, outcome=stop.outcome, attempt=saga.attempt),
            "abandoned", saga,
        )  # fmt: skip

    async def _emit(self, event: Event, what: str, saga: Saga) -> None:
        await self._bus.publish(event, dedup_id=f"{what}-{saga.name}")


def _told(saga: Saga) -> dict[str, object]:
    """Of a step, as attributes of its span."""
    ours = {
        "id": saga.failover_id,
        "cause": saga.cause,
        "attempt": saga.attempt,
        "path": saga.path or "",
        "standby": saga.standby,
    }
    told = {f"reprise.failover.{name}": value for name, value in ours.items() if value}
    made = {"reprise.checkpoint.id": saga.checkpoint_id} if saga.checkpoint_id else {}
    return {**of_workload(saga.workload), **of_target(saga.target), **told, **made}


def _undone(saga: Saga, stop: Stop) -> Saga:
    if saga.untouched and stop.outcome == "cold":
        stop = replace(stop, outcome="step-aside")
    return saga.model_copy(update={"step": "undo", "stop": stop, "why": stop.message})


def _count(before: Saga, after: Saga) -> None:
    """Once each: only who wins the compare-and-set that ends it comes here."""
    if after.step == "complete":
        ENDED.labels(after.cause, "restored").inc()
        TOTAL_SECONDS.labels(after.cause, after.path or "cold").observe((now() - after.declared_at).total_seconds())
    elif after.step == "abandoned" and before.stop:
        ENDED.labels(after.cause, before.stop.outcome).inc()
    elif after.step == "wait":
        DELAYED.labels(after.cause).inc()
