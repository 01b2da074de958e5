"""What the node does when a failover tells it to."""

from collections.abc import Callable

from reprise.contracts.events import CheckpointStaged, FailoverAbandoned, FailoverReleased, FailoverStarted
from reprise.health_watcher.cold_starts import ColdStarts
from reprise.health_watcher.ends import Ends
from reprise.health_watcher.ledger import Ledger
from reprise.health_watcher.ports import Runtime
from reprise.health_watcher.reconciler import Reconciler
from reprise.runtime.telemetry import log


class Handlers:
    """Of this node. gates_changed: the readiness gates are looked at again."""

    def __init__(
        self, runtime: Runtime, ledger: Ledger, cold: ColdStarts, reconciler: Reconciler, ends: Ends,
        gates_changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._runtime, self._ledger, self._cold = runtime, ledger, cold
        self._reconciler, self._ends, self._gates_changed = reconciler, ends, gates_changed

    async def on_started(self, event: FailoverStarted) -> None:
        """`reprise restore --to`: its checkpoint is live; end what runs, and the kubelet's restart restores that."""
        target = event.target
        if event.cause != "restore" or event.path != "in-place" or not target.container_id:
            return
        running = await self._runtime.list_containers("running")
        if all(c.id != target.container_id for c in running):
            return
        self._ends.expect(target.container_id)
        self._reconciler.refresh()
        log().info("ended for its restore in place", pod=target.pod, id=target.container_id[:12])
        try:
            await self._reconciler.kill(target.container_id, target.pod_uid)
        except OSError:  # the runtime can, though it may let it run for a moment
            await self._runtime.stop_container(target.container_id, 0)

    async def on_staged(self, event: CheckpointStaged) -> None:
        """An engine may wait for it: its pod's file says so from now on, and not only at the next pass. Nobody waits for what a
        node took itself, which is staged at each checkpoint.
        """
        if event.role == "standby":
            self._reconciler.refresh()

    async def on_released(self, event: FailoverReleased) -> None:
        """The verdict lets go first, then the container is thawed: a restart in between is an ordinary restore."""
        uid = event.target.pod_uid
        if uid not in self._ledger.released:
            self._ledger.release(uid)
            log().info("released: its failover is final", pod=event.target.pod)
        await self._reconciler.reconcile()

    async def on_abandoned(self, event: FailoverAbandoned) -> None:
        """An announced cold start: the next instance is not restored, and may serve."""
        if event.outcome == "cold":
            target = event.target
            self._cold.announce((target.pod_uid, target.container), target.container_id, f"{event.reason}: {event.message}")
            self._reconciler.refresh()
            self._gates_changed()
