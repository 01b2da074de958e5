"""Good checkpoints and their images, in the object store. reprise.archive is synchronous: calls run in threads."""

import asyncio
import contextlib
from datetime import timedelta

from reprise.archive.images import Idle
from reprise.archive.layout import last
from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.contracts.errors import DamagedObject, NotStored
from reprise.contracts.model import Workload
from reprise.restorer.decide import LEFT_OVER_S
from reprise.restorer.model import Good, LiveRef, Need


class StoredCheckpoints:
    """Implements ports.Checkpoints."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.criu: dict[str, str] = {}
        """Each node's CRIU, by the newest of its checkpoints that was seen."""

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        manifests = await asyncio.to_thread(self._repository.list_manifests, workload, container)
        self.criu |= {m.target.node: m.facts.criu_version for m in reversed(manifests) if m.facts.criu_version}
        return tuple(Good(m.checkpoint_id, _need(m), m.size, m.cost.new, m.target.container_id, m.traceparent) for m in manifests)

    async def publish(self, workload: Workload, container: str, checkpoint_id: str, live_id: str) -> tuple[str, str]:
        manifest = None
        with contextlib.suppress(DamagedObject):  # what cannot be read is no good checkpoint, as in good()
            manifest = await asyncio.to_thread(self._repository.find, workload, container, checkpoint_id)
        if manifest is None:
            raise NotStored("it was pruned, or never committed", subject=f"checkpoint {checkpoint_id} of {workload}")
        image = await asyncio.to_thread(self._repository.publish_image, manifest, live_id)
        return image.reference, image.digest


class StoredReferences:
    """Implements ports.References."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._found: dict[LiveRef, Idle] = {}

    async def idle(self) -> tuple[LiveRef, ...]:
        found = await asyncio.to_thread(self._repository.idle_references, timedelta(seconds=LEFT_OVER_S))
        self._found = {_reference(each): each for each in found}
        return tuple(self._found)

    async def withdraw(self, reference: LiveRef) -> bool:
        return await asyncio.to_thread(self._repository.withdraw_reference, self._found[reference])


def _reference(found: Idle) -> LiveRef:
    pod_uid = found.pointer.pod_uid if found.pointer else ""
    return LiveRef(found.namespace, found.live_id, last(found.key), pod_uid, found.idle.total_seconds(), found.version)


def _need(m: Manifest) -> Need:
    return Need(
        m.architecture, m.facts.runtime, m.size, kernel=m.kernel, criu=m.facts.criu_version, cpu_features=m.cpu_features,
        base_image=m.facts.base_image, mounts=m.facts.mounts, devices=m.facts.devices,
    )  # fmt: skip
