"""The first step of each attempt: look at everything once, and decide (decide.plan)."""

from dataclasses import dataclass, replace

from reprise.contracts.model import checkpoint_id, now
from reprise.restorer import admission, choosing, decide
from reprise.restorer.model import Good, PodView, Saga, Snapshot, Standby, Stop
from reprise.restorer.room import Abandon, Room
from reprise.runtime.telemetry import link, log

FIRST = {"in-place": "verify", "rollback": "stage", "shadow": "fence", "same-name": "fence"}
"""The step after the plan, of each route; of a planned move another one."""


@dataclass(frozen=True)
class Looked:
    """The snapshot, and the newest of all good checkpoints, usable or not; empty if there is none."""

    snapshot: Snapshot
    newest: str = ""


class Planning:
    def __init__(self, room: Room) -> None:
        self._room = room

    async def snapshot(self, saga: Saga) -> Looked:
        """Everything that its plan looks at, as it is now. Changes nothing. A crash needs no store: that may be away."""
        room, target = self._room, saga.target
        pod = await room.cluster.pod(saga.workload.namespace, target.pod, target.container)
        before = choosing.rejecting(await room.recovery(saga), saga.rejected)
        seen = Snapshot(cause=saga.cause, target=target, pod=pod, recovery=before, fenced_by=await room.fences.others(saga))
        if saga.cause in ("crash", "hang") and not saga.elsewhere:
            return Looked(seen)
        stored = await room.checkpoints.good(saga.workload, target.container)
        # What somebody chose may be what was given up before: that is for them to know.
        usable = stored if saga.wanted else choosing.ours(choosing.usable(stored, before), pod)
        good, unfit = choosing.fitting(usable, pod, await self._others(pod, target.node))
        source = good[0].pod_uid if good and not saga.planned else target.pod_uid
        standby = await room.standby(source, target.container) if saga.moves else Standby()
        found = replace(
            seen, good=good, unfit=unfit, nodes=await room.cluster.nodes() if saga.moves else (), standby=standby.node,
            refused=tuple(standby.refused.items()), tried=saga.attempt.tried, failed=saga.attempt.failed, to=saga.to,
            elsewhere=saga.elsewhere, restored_from=saga.restored_from,
            wanted=saga.wanted,
        )  # fmt: skip
        return Looked(found, _newest(stored))

    async def plan(self, saga: Saga) -> Saga:
        """Raises Abandon."""
        if saga.cause in ("move", "restore"):
            saga = await self._retargeted(saga)
        if saga.rejected:
            await self._room.note(saga.workload, saga.target.container, lambda before: choosing.rejecting(before, saga.rejected))
        looked = await self.snapshot(saga)
        plan = decide.plan(looked.snapshot)
        if isinstance(plan, Stop):
            raise Abandon(plan)
        if plan.route == "in-place" and saga.why:
            plan = replace(plan, why=f"{saga.why}; {plan.why}")
        if saga.planned:
            plan = replace(plan, checkpoint_id=name_last(saga, looked.newest))
        log().info("failover planned", failover=saga.failover_id, route=plan.route, checkpoint=plan.checkpoint_id,
                   standby=plan.standby, attempt=saga.attempt.number, why=plan.why)  # fmt: skip
        link(plan.trace, reprise_checkpoint_id=plan.checkpoint_id)
        first = "place" if plan.placed_first else "hold"
        step = first if saga.planned else FIRST[plan.route]
        planned = saga.at(step, attempt=replace(saga.attempt, plan=plan))
        if saga.moves and (stop := await admission.refusal(self._room, planned)):
            raise Abandon(stop)
        if plan.route == "in-place":
            await self._room.tell.started(planned)
        return planned

    async def _retargeted(self, saga: Saga) -> Saga:
        """Whatever instance of its pod runs by now is what is meant: it may have been restored since."""
        target = saga.target
        pod = await self._room.cluster.pod(saga.workload.namespace, target.pod, target.container)
        if pod is None or pod.uid != target.pod_uid or pod.container_id in ("", target.container_id):
            return saga
        return saga.at(saga.step, target=target.but(container_id=pod.container_id))

    async def _others(self, pod: PodView | None, node: str) -> frozenset[str]:
        return await self._room.cluster.other_images(node, pod.image) if pod and pod.image else frozenset()


def name_last(saga: Saga, newest: str) -> str:
    """Return the id of a checkpoint that is taken now. newest: of those before it, by whatever clock."""
    return checkpoint_id(saga.target.pod_uid, saga.target.container, decide.later(now(), newest))


def _newest(stored: tuple[Good, ...]) -> str:
    return max((each.checkpoint_id for each in stored), default="")
