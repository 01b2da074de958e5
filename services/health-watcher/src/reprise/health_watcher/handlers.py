"""What health-watcher does on events."""

from reprise.contracts.events import FailoverStarted
from reprise.contracts.images import parse_live
from reprise.health_watcher.births import Births
from reprise.health_watcher.isolation import Isolation
from reprise.health_watcher.ports import Freezer
from reprise.runtime.cri import Cri, RunningContainer
from reprise.runtime.telemetry import log


class Handlers:
    def __init__(self, cri: Cri, freezer: Freezer, isolation: Isolation, births: Births) -> None:
        self._cri, self._freezer, self._isolation, self._births = cri, freezer, isolation, births

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
                self._births.superseded.add(container.id)
                await self._end(container)
                log().info("ended for its restore in place", pod=event.target.pod, id=container.id[:12])

    async def _end(self, container: RunningContainer) -> None:
        try:
            await self._isolation.end({container.id}, container.pod_uid)
        except OSError as error:  # the runtime can, though it may let it run for a moment
            log().error("could not be ended where it stands", pod=container.pod, error=str(error))
            self._freezer.thaw(container.id)
            await self._cri.stop_container(container.id, 0)
