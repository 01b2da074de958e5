"""The composition root of transfer."""

import asyncio
import contextlib

from reprise.archive.repository import Repository
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Store
from reprise.contracts.errors import StoreError
from reprise.contracts.events import CheckpointTaken, ImageBuilt
from reprise.runtime import kube
from reprise.runtime.cri import Cri
from reprise.runtime.health import server
from reprise.runtime.service import Service
from reprise.transfer import registry
from reprise.transfer.handlers import Handlers
from reprise.transfer.settings import Settings


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


class StoreWatch:
    """Whether the store answers, asked every few seconds."""

    def __init__(self, store: Store) -> None:
        self._store, self.up = store, False

    async def run(self) -> None:
        while True:
            up = False
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(self._store.check)
                up = True
            self.up = up
            await asyncio.sleep(3)


async def main(settings: Settings) -> None:
    service = Service("transfer", settings)
    store = s3_store(StoreSettings())
    repository, watch, cri = Repository(store), StoreWatch(store), Cri(settings.cri_socket)
    recorder = kube.EventRecorder(await kube.connect(), "transfer")
    handlers = Handlers(service.bus, repository, cri, recorder, settings.checkpoints_dir, lambda: watch.up)
    web = server(registry.app(repository), settings.registry_host, settings.registry_port)
    node = settings.node_name
    service.bus.subscribe(f"transfer-{node}", CheckpointTaken, handlers.on_taken, node=node, concurrency=2)
    service.bus.subscribe(f"transfer-images-{node}", ImageBuilt, handlers.on_image, node=node, concurrency=2)
    service.part("registry", web.serve)
    service.part("store", watch.run)
    service.part("orphans", lambda: handlers.sweep_orphans(settings.orphan_age_s))
    service.health.ready_when("registry", lambda: web.started)
    service.health.ready_when("store", lambda: watch.up)
    await service.run_async()
