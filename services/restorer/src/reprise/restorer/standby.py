"""Keeps the standby of each protected pod's container: which node it would be moved to, and what lies ready there."""

from collections.abc import Callable

from reprise.contracts.errors import NotStored
from reprise.contracts.events import CheckpointStaged, CheckpointStored, ImageBuilt, StandbyRefused
from reprise.contracts.model import Target
from reprise.contracts.records import NOTHING_WANTED, RollbackRecord
from reprise.restorer.decide import NOT_MOVABLE_REMEDY, prestage
from reprise.restorer.model import Standby
from reprise.restorer.nodes import choose_node
from reprise.restorer.placement import tied
from reprise.restorer.ports import Checkpoints, Cluster
from reprise.runtime.bus import Bus
from reprise.runtime.kube import ProtectedPod
from reprise.runtime.kv import Bucket, container_key, key
from reprise.runtime.telemetry import log, span

ATTEMPTS = 10


class Standbys:
    """Every replica may run this: the record is changed by compare-and-set."""

    def __init__(self, bus: Bus, cluster: Cluster, checkpoints: Checkpoints) -> None:
        self._bus, self._cluster, self._checkpoints = bus, cluster, checkpoints
        self._bucket = Bucket(bus, "standby", Standby, instead=Standby())
        self._wanted = Bucket(bus, "wanted", RollbackRecord, instead=NOTHING_WANTED)
        self._told: set[str] = set()
        """Pods of which was told that they cannot be moved."""

    async def send(self, event: CheckpointStored, pod: ProtectedPod) -> None:
        """Name the standby, and have it stage this checkpoint."""
        good = await self._checkpoints.good(event.workload, event.target.container)
        newest = next((found for found in good if found.checkpoint_id == event.checkpoint_id), None)
        if newest is None:
            return  # pruned
        mode, why = prestage(pod.policy.prestage, newest.size, newest.new_bytes, pod.policy.interval_s)
        if mode == "none":
            return
        entry = await self._bucket.get(_name(event.target))
        now = entry.value if entry else Standby()
        asks = await self._cluster.placement(pod.namespace, pod.name, pod.uid, event.target.container)
        if held := tied(asks, event.target.node, alone=pod.workload.kind != "Deployment"):
            await self._tell_tied(event, held)
            return
        chosen = choose_node(await self._cluster.nodes(), newest.need, event.target.node, now.node, now.refused, asks)
        if isinstance(chosen, str):
            log().info("no standby", workload=str(event.workload), why=chosen)
            await self._change(event.target, lambda _: Standby())  # each is asked again next time
            return
        if chosen.node.name != now.node:
            log().info(
                "standby named", workload=str(event.workload), standby=chosen.node.name, why=chosen.why, stages=mode, because=why
            )
            await self._change(event.target, lambda before: Standby(node=chosen.node.name, refused=before.refused))
        try:
            with span("image"):
                reference, digest = await self._checkpoints.publish(event.workload, event.target.container, event.checkpoint_id)
        except NotStored:
            return  # pruned meanwhile
        built = ImageBuilt(
            node=chosen.node.name, workload=event.workload, checkpoint_id=event.checkpoint_id, target=event.target,
            reference=reference, digest=digest, role="standby", prestage=mode,
        )  # fmt: skip
        await self._bus.publish(built, dedup_id=f"built-standby-{chosen.node.name}-{event.checkpoint_id}")

    async def _tell_tied(self, event: CheckpointStored, held: str) -> None:
        """Once for each pod: its owner learns of it before its node is lost."""
        if event.target.pod_uid in self._told:
            return
        refused = StandbyRefused(
            node=event.target.node, workload=event.workload, target=event.target, reason="NotMovable", message=f"its {held}",
            remedy=NOT_MOVABLE_REMEDY,
        )  # fmt: skip
        await self._bus.publish(refused, dedup_id=f"refused-tied-{event.target.pod_uid}-{event.target.container}")
        self._told.add(event.target.pod_uid)

    async def on_staged(self, event: CheckpointStaged) -> None:
        """Of another node than the one that was named since, or of an older one that nobody waits for, it changes nothing."""

        def staged(before: Standby) -> Standby:
            older = before.checkpoint_id > event.checkpoint_id and before.asked != event.checkpoint_id
            if before.node != event.node or older:
                return before
            same = before.checkpoint_id == event.checkpoint_id
            return Standby(
                node=before.node, refused=before.refused, checkpoint_id=event.checkpoint_id, warm=event.warm,
                previous=before.previous if same else before.checkpoint_id if before.warm else "",
                asked="" if before.asked == event.checkpoint_id else before.asked,
            )  # fmt: skip

        await self._change(event.target, staged)

    async def on_live(self, event: CheckpointStaged) -> None:
        """Its pod's own node holds this checkpoint: a rollback may wait for it."""
        name = container_key(event.workload, event.target.container)
        while True:
            entry = await self._wanted.get(name)
            if entry is None or (entry.value.node, entry.value.checkpoint_id) != (event.node, event.checkpoint_id):
                return
            wanted = entry.value
            ready = RollbackRecord(
                failover_id=wanted.failover_id, node=wanted.node, checkpoint_id=wanted.checkpoint_id, ready=True
            )  # fmt: skip
            if wanted.ready or await self._wanted.update(name, ready, entry.revision):
                return

    async def on_refused(self, event: StandbyRefused) -> None:
        """The next checkpoint goes to another node, if there is one."""

        def refused(before: Standby) -> Standby:
            why = before.refused | {event.node: f"says {event.reason}: {event.message}"}
            if before.node == event.node:
                return Standby(refused=why)
            return Standby(
                node=before.node,
                checkpoint_id=before.checkpoint_id,
                previous=before.previous,
                warm=before.warm,
                refused=why,
                asked=before.asked,
            )

        await self._change(event.target, refused)

    async def _change(self, source: Target, change: Callable[[Standby], Standby]) -> None:
        """source: of whose checkpoints."""
        name = _name(source)
        for _ in range(ATTEMPTS):
            entry = await self._bucket.get(name)
            before = entry.value if entry else Standby()
            after = change(before)
            if after == before and entry:
                return
            if entry is None and await self._bucket.create(name, after):
                return
            if entry and await self._bucket.update(name, after, entry.revision):
                return


def _name(source: Target) -> str:
    return key(source.pod_uid, source.container)
