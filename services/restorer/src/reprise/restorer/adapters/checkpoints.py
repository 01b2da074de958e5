"""Good checkpoints and their images, in the object store. reprise.archive is synchronous: calls run in threads."""

import asyncio

from reprise.archive.manifest import Manifest
from reprise.archive.repository import Repository
from reprise.contracts.errors import DamagedObject, NotStored
from reprise.contracts.model import Workload
from reprise.restorer.model import Good, Need


class StoredCheckpoints:
    """Implements ports.Checkpoints."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self.criu: dict[str, str] = {}
        """Each node's CRIU, by the newest of its checkpoints that was seen."""

    async def good(self, workload: Workload, container: str) -> tuple[Good, ...]:
        manifests = await asyncio.to_thread(self._repository.list_manifests, workload, container)
        self.criu |= {m.target.node: m.facts.criu_version for m in reversed(manifests) if m.facts.criu_version}
        return tuple(
            Good(
                m.checkpoint_id,
                _need(m),
                m.size,
                m.cost.new,
                m.target.container_id,
                m.target.pod_uid,
                m.traceparent,
                m.facts.kind,
            )
            for m in manifests
        )

    async def publish(self, workload: Workload, container: str, checkpoint_id: str) -> tuple[str, str]:
        try:
            return await asyncio.to_thread(self._repository.publish, workload, container, checkpoint_id)
        except DamagedObject as error:  # what cannot be read is no good checkpoint, as in good()
            raise NotStored("it cannot be read", subject=f"checkpoint {checkpoint_id} of {workload}") from error


def _need(m: Manifest) -> Need:
    if m.facts.kind == "http":  # its program takes it back anywhere, and says so if it does not
        return Need()
    return Need(
        m.architecture, m.facts.runtime, m.size, kernel=m.kernel, criu=m.facts.criu_version, cpu_features=m.cpu_features,
        base_image=m.facts.base_image, mounts=m.facts.mounts, devices=m.facts.devices, emptied=m.facts.emptied,
    )  # fmt: skip
