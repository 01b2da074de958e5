"""What health-watcher does on events."""

from reprise.contracts.events import FailoverStarted
from reprise.runtime.cri import Cri
from reprise.runtime.telemetry import log


class Handlers:
    def __init__(self, cri: Cri) -> None:
        self._cri = cri

    async def on_failover_started(self, event: FailoverStarted) -> None:
        """In place by PATCH: the image is changed already; end the old instance now, not after its grace period."""
        if event.path != "in-place-patch" or not event.target.container_id:
            return
        running = {c.id for c in await self._cri.list_containers("running")}
        if event.target.container_id in running:
            await self._cri.stop_container(event.target.container_id, 0)
            log().info("ended for its restore in place", pod=event.target.pod, id=event.target.container_id[:12])
