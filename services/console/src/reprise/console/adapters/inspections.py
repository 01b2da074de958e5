"""Stored checkpoints, opened by the parts that tell what they hold: their memory is neither fetched nor shown."""

import asyncio

from reprise.archive.inspection import Inspection
from reprise.archive.inspector import inspect_file
from reprise.archive.repository import Repository
from reprise.contracts.model import Workload


class StoredInspections:
    """Implements ports.Inspections. One at a time: each decodes some megabytes."""

    def __init__(self, repository: Repository) -> None:
        self._repository, self._slot = repository, asyncio.Semaphore(1)

    async def inspect(self, workload: Workload, container: str, checkpoint_id: str) -> Inspection | None:
        async with self._slot:
            return await asyncio.to_thread(self._inspect, workload, container, checkpoint_id)

    def _inspect(self, workload: Workload, container: str, checkpoint_id: str) -> Inspection | None:
        manifest = self._repository.find(workload, container, checkpoint_id)
        if manifest is None:
            return None
        with self._repository.open(manifest).file() as file:
            return inspect_file(file, checkpoint_id)
