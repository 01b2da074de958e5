"""A failover, step by step: plan, fence, image, place, verify, adopt, complete.

Each step is idempotent and is recorded by compare-and-set before the next begins. The record names the step to do
next, so whoever gets the message again after a crash goes on from there; who loses a compare-and-set stops at once,
because another replica is ahead.
"""

import asyncio
from collections.abc import Awaitable, Callable

from reprise.contracts.errors import RecoveryError
from reprise.contracts.events import (
    Event,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverFenced,
    FailoverRestored,
    FailoverStarted,
    ImageBuilt,
)
from reprise.contracts.model import now
from reprise.restorer.decide import plan
from reprise.restorer.model import Fence, Go, Need, Saga, Snapshot, Standby, Step, Stop
from reprise.restorer.ports import Checkpoints, Cluster, shadow_name, standby_key
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log, span

POLL_S = 0.05


class Overtaken(Exception):
    """Another replica has moved this saga on."""


class Abandon(Exception):
    """The saga cannot go on; carries the reason to tell."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


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
        self._steps: dict[Step, Callable[[Saga], Awaitable[Saga]]] = {
            "plan": self._plan,
            "fence": self._fence,
            "image": self._image,
            "place": self._place,
            "verify": self._verify,
            "adopt": self._adopt,
        }

    async def run(self, saga: Saga) -> Saga:
        """Start the saga, or go on with the one that is recorded under its id. Returns it as it ended."""
        name = key(saga.failover_id)
        revision = await self.sagas.create(name, saga)
        if revision is None:
            entry = await self.sagas.get(name)
            if entry is None:
                raise RecoveryError("its record vanished", subject=saga.failover_id, retryable=True)
            saga, revision = entry.value, entry.revision
            log().info("resuming failover", failover=saga.failover_id, step=saga.step)
        try:
            while not saga.ended:
                with span(f"saga.{saga.step}", reprise_failover=saga.failover_id):
                    saga, revision = await self._advance(saga, revision)
        except Overtaken:
            log().info("another replica runs this failover", failover=saga.failover_id)
        return saga

    async def _advance(self, saga: Saga, revision: int) -> tuple[Saga, int]:
        try:
            after = await self._steps[saga.step](saga)
        except Abandon as abandon:
            await self._abandon(saga, abandon.stop)
            after = saga.model_copy(update={"step": "abandoned", "why": abandon.stop.message})
        updated = await self.sagas.update(key(saga.failover_id), after, revision)
        if updated is None:
            raise Overtaken
        if after.step == "complete":
            await self._complete(after)
        return after, updated

    async def _plan(self, saga: Saga) -> Saga:
        target = saga.target
        pod = await self._cluster.pod(saga.workload.namespace, target.pod, target.container)
        good = await self._checkpoints.good(saga.workload, target.container)
        moves = saga.cause == "node-loss"
        standby = await self._standby(saga) if moves else Standby()
        snapshot = Snapshot(
            cause=saga.cause,
            workload=saga.workload,
            target=target,
            pod=pod,
            checkpoints=tuple(found.checkpoint_id for found in good),
            nodes=await self._cluster.nodes() if moves else (),
            need=good[0].need if good else Need(),
            standby=standby.node,
            refused=tuple(standby.refused.items()),
        )
        match plan(snapshot):
            case Stop() as stop:
                raise Abandon(stop)
            case Go() as go:
                log().info("failover planned", failover=saga.failover_id, path=go.path, checkpoint=go.checkpoint_id,
                           standby=go.standby, why=go.why)  # fmt: skip
                return saga.model_copy(
                    update={
                        "step": "fence", "path": go.path, "checkpoint_id": go.checkpoint_id, "standby": go.standby,
                        "why": go.why, "reference": pod.live_id if pod else "",
                    }
                )  # fmt: skip

    async def _fence(self, saga: Saga) -> Saga:
        if saga.path == "shadow":
            fence = Fence(pod_uid=saga.target.pod_uid, holder="restorer", failover_id=saga.failover_id)
            if not await self.fences.create(key(saga.target.pod_uid), fence):
                held = await self.fences.get(key(saga.target.pod_uid))
                if held is None or held.value.failover_id != saga.failover_id:
                    raise Abandon(Stop("NodeReturned", "the node came back first and runs on", "nothing", harmless=True))
            await self._started(saga)
            how = "the node froze its containers before it was given up, and may not thaw them"
            await self._emit(
                FailoverFenced(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                               target=saga.target, how=how),
                "fenced", saga,
            )  # fmt: skip
        return saga.model_copy(update={"step": "image"})

    async def _image(self, saga: Saga) -> Saga:
        """An armed pod's image lies on its node already: nothing to wait for, the store may be away."""
        if saga.path == "in-place-armed":
            return saga.model_copy(update={"step": "place"})
        moves = saga.path == "shadow"
        live_id = saga.failover_id if moves else saga.reference or saga.target.pod_uid
        reference = await self._publish(saga, live_id)
        if moves and not await self._staged(saga, reference):
            # Under this name the standby may have an older state, which the kubelet would take: another name has none.
            log().warning("the standby did not stage the checkpoint in time: its kubelet pulls it", failover=saga.failover_id)
            reference = await self._publish(saga, f"{saga.failover_id}-cold")
        return saga.model_copy(update={"step": "place", "reference": reference})

    async def _publish(self, saga: Saga, live_id: str) -> str:
        found = await self._checkpoints.publish(saga.workload, saga.target.container, saga.checkpoint_id, live_id)
        return found[0]

    async def _staged(self, saga: Saga, reference: str) -> bool:
        """Whether the standby holds this very checkpoint under this name; asked to stage it, if it does not yet."""
        if (await self._standby(saga)).holds(saga.standby, saga.checkpoint_id, reference):
            return True
        built = ImageBuilt(
            node=saga.standby, workload=saga.workload, checkpoint_id=saga.checkpoint_id, target=saga.target,
            reference=reference, digest="", role="standby", prestage="image",
        )  # fmt: skip
        await self._bus.publish(built, dedup_id=f"built-{saga.failover_id}-{saga.checkpoint_id}")
        loop = asyncio.get_running_loop()
        end = loop.time() + self._stage_timeout_s
        while loop.time() < end:
            await asyncio.sleep(POLL_S)
            if (await self._standby(saga)).holds(saga.standby, saga.checkpoint_id, reference):
                return True
        return False

    async def _standby(self, saga: Saga) -> Standby:
        entry = await self.standbys.get(standby_key(saga.workload, saga.target.container))
        return entry.value if entry else Standby()

    async def _place(self, saga: Saga) -> Saga:
        if saga.path == "in-place-patch":
            await self._cluster.set_image(saga.workload.namespace, saga.target.pod, saga.target.container, saga.reference)
        elif saga.path == "shadow":
            await self._cluster.create_shadow(saga.target, saga.workload, saga.failover_id, saga.standby, saga.reference)
        if saga.path != "shadow":
            await self._started(saga)
        return saga.model_copy(update={"step": "verify"})

    async def _verify(self, saga: Saga) -> Saga:
        pod = shadow_name(saga.workload, saga.failover_id) if saga.path == "shadow" else saga.target.pod
        loop = asyncio.get_running_loop()
        end = loop.time() + self._verify_timeout_s
        while True:
            verdict = await self._cluster.healthy(saga.workload.namespace, pod, saga.target)
            if verdict.healthy:
                break
            if loop.time() > end:
                if saga.path == "shadow":
                    await self._cluster.discard_shadow(saga.workload, saga.failover_id)
                raise Abandon(
                    Stop(
                        "RestoreFailed",
                        f"pod {pod} did not serve within {self._verify_timeout_s:.0f} s: {verdict.detail}",
                        f"`kubectl -n {saga.workload.namespace} describe pod {pod}`; CRIU's log is in the container's "
                        "bundle on the node",
                    )
                )
            await asyncio.sleep(POLL_S)
        await self._emit(
            FailoverRestored(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id,
                             target=saga.target, checkpoint_id=saga.checkpoint_id),
            "restored", saga,
        )  # fmt: skip
        return saga.model_copy(update={"step": "adopt"})

    async def _adopt(self, saga: Saga) -> Saga:
        if saga.path == "shadow":
            loop = asyncio.get_running_loop()
            end = loop.time() + self._adopt_timeout_s
            while not await self._cluster.adopt(saga.target, saga.workload, saga.failover_id):
                if loop.time() > end:
                    raise RecoveryError(
                        "its ReplicaSet does not adopt the restored pod", subject=str(saga.workload), retryable=True
                    )
                await asyncio.sleep(POLL_S)
        return saga.model_copy(update={"step": "complete"})

    async def _started(self, saga: Saga) -> None:
        await self._emit(
            FailoverStarted(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                            target=saga.target, cause=saga.cause, path=saga.path or "cold",
                            checkpoint_id=saga.checkpoint_id, standby=saga.standby, why=saga.why),
            "started", saga,
        )  # fmt: skip

    async def _complete(self, saga: Saga) -> None:
        total_s = (now() - saga.declared_at).total_seconds()
        await self._emit(
            FailoverCompleted(node=saga.standby, workload=saga.workload, failover_id=saga.failover_id,
                              target=saga.target, cause=saga.cause, path=saga.path or "cold",
                              checkpoint_id=saga.checkpoint_id, total_s=total_s),
            "completed", saga,
        )  # fmt: skip
        log().info("failover completed", failover=saga.failover_id, total_s=round(total_s, 3))

    async def _abandon(self, saga: Saga, stop: Stop) -> None:
        held = await self.fences.get(key(saga.target.pod_uid))
        if held and held.value.failover_id == saga.failover_id:
            await self.fences.delete(key(saga.target.pod_uid))  # the old instance may run again, if its node returns
        level = log().info if stop.harmless else log().error
        level("failover abandoned", failover=saga.failover_id, reason=stop.reason, message=stop.message)
        if stop.harmless and saga.cause == "arm":
            return
        await self._emit(
            FailoverAbandoned(node=saga.target.node, workload=saga.workload, failover_id=saga.failover_id,
                              target=saga.target, cause=saga.cause, reason=stop.reason, message=stop.message,
                              remedy=stop.remedy),
            "abandoned", saga,
        )  # fmt: skip

    async def _emit(self, event: Event, what: str, saga: Saga) -> None:
        await self._bus.publish(event, dedup_id=f"{what}-{saga.failover_id}")
