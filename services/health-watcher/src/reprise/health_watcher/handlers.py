"""What health-watcher does on events."""

from reprise.contracts.events import FailoverStarted
from reprise.contracts.images import parse_live
from reprise.runtime.cri import Cri
from reprise.runtime.telemetry import log


class Handlers:
    def __init__(self, cri: Cri) -> None:
        self._cri = cri

    async def on_failover_started(self, event: FailoverStarted) -> None:
        """In place by PATCH: the image is changed already; end the old instance now, not after its grace period. The kubelet may
        have started one more of the reference before.
        """
        if event.path != "in-place-patch" or not event.target.container_id:
            return
        for container in await self._cri.list_containers("running"):
            same = (container.pod_uid, container.name) == (event.target.pod_uid, event.target.container)
            superseded = same and bool(event.reference and parse_live(container.image)) and container.image != event.reference
            if container.id == event.target.container_id or superseded:
                await self._cri.stop_container(container.id, 0)
                log().info("ended for its restore in place", pod=event.target.pod, id=container.id[:12])
