"""The composition root of transfer."""

import asyncio
import contextlib

from reprise.archive.cache import PackCache
from reprise.archive.crypto import SecretKeys
from reprise.archive.repository import Repository
from reprise.archive.retention import parse_ladder
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.archive.store import Store
from reprise.contracts.errors import StoreError
from reprise.contracts.events import CheckpointFailed, CheckpointTaken, ImageBuilt
from reprise.contracts.records import NOTHING_WANTED, RollbackRecord
from reprise.runtime import kube
from reprise.runtime.cri import Cri, find_socket
from reprise.runtime.health import server
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import NodeFiles
from reprise.runtime.service import Service
from reprise.transfer import registry
from reprise.transfer.adapters.slots import Slots
from reprise.transfer.handlers import Handlers
from reprise.transfer.keeping import Keeping
from reprise.transfer.settings import Settings
from reprise.transfer.staging import Limits, Staging


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
    cache = PackCache(settings.cache_dir, settings.cache_bytes, settings.cache_spare_bytes) if settings.cache_bytes else None
    repository = Repository(store, SecretKeys(settings.kek_dir), cache)
    watch, cri = StoreWatch(store), Cri(find_socket(settings.cri_socket))
    recorder = kube.EventRecorder(await kube.connect(), "transfer")
    ladder = parse_ladder(settings.keep_ladder)
    slots, limits = Slots(settings.slots_dir), Limits(settings.staging_spare_bytes)
    staging = Staging(service.bus, repository, cri, recorder, slots, NodeFiles(settings.run_dir), limits)
    rollbacks = Bucket(service.bus, "wanted", RollbackRecord, instead=NOTHING_WANTED)
    keeping = Keeping(service.bus, slots, rollbacks, settings.checkpoints_dir)
    handlers = Handlers(service.bus, repository, recorder, keeping, slots, settings.checkpoints_dir, ladder)
    node = settings.node_name
    service.bus.subscribe(f"transfer-slots-{node}", CheckpointTaken, handlers.on_taken, node=node, concurrency=4)
    service.bus.subscribe(f"transfer-{node}", CheckpointTaken, handlers.on_upload, node=node, concurrency=2)
    service.bus.subscribe(f"transfer-refused-{node}", CheckpointFailed, handlers.on_failed, node=node)
    service.bus.subscribe(f"transfer-images-{node}", ImageBuilt, staging.on_image, node=node, concurrency=4)
    service.bus.subscribe(f"transfer-damage-{node}", CheckpointFailed, staging.on_damage, concurrency=1)
    service.part("store", watch.run)
    service.part("orphans", lambda: handlers.sweep_orphans(settings.orphan_age_s))
    service.part("slots", lambda: staging.sweep(settings.slots_gone_after_s))
    service.part("collector", lambda: handlers.collect_garbage(settings.gc_interval_s))
    if token := settings.registry_token.get_secret_value():
        web = server(registry.app(repository, token), settings.registry_host, settings.registry_port)
        service.part("registry", web.serve)
        service.health.ready_when("registry", lambda: web.started)
    service.health.ready_when("store", lambda: watch.up)
    await service.run_async()
