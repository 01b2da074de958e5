"""The composition root of console."""

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime

import httpx
import psycopg
from kubernetes.aio import client
from nats.errors import Error as NatsError
from psycopg_pool import PoolTimeout
from reprise.archive.crypto import SecretKeys
from reprise.archive.repository import Repository
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.console.access import Role
from reprise.console.accounts import Issuers, Remembering
from reprise.console.adapters.annotations import ListedAnnotations
from reprise.console.adapters.cluster import KubernetesCluster
from reprise.console.adapters.inspections import StoredInspections
from reprise.console.adapters.oidc import OidcAccounts
from reprise.console.adapters.planner import RestorerPlanner
from reprise.console.adapters.reviews import ReviewedAccounts
from reprise.console.app import app
from reprise.console.asking import Asking
from reprise.console.gate import Gate
from reprise.console.handlers import Handlers
from reprise.console.ledger import Ledger, cutoff
from reprise.console.operations import Operations
from reprise.console.ports import Accounts
from reprise.console.settings import Settings
from reprise.console.stream import Tails
from reprise.console.web.rendering import Pages
from reprise.contracts.events import ALL, Event
from reprise.contracts.records import WrongAnnotations
from reprise.runtime import kube
from reprise.runtime.kv import Bucket
from reprise.runtime.service import Service

CONSUMER = "console"
AWAY = (psycopg.OperationalError, PoolTimeout, NatsError, OSError, TimeoutError)
LOOK_S = 10.0


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("console", settings)
    ledger = Ledger(settings.conninfo)
    await ledger.open()
    tails = Tails(service.bus)
    handlers = Handlers(ledger, lambda: service.bus.rewind(CONSUMER))
    api = await kube.connect() if settings.cluster else None
    gate = Gate(accounts(settings, api), settings.anonymous == "read")

    async def publish(event: Event, name: str) -> None:
        await service.bus.publish(event, dedup_id=name)

    asking = Asking(gate, ledger, Operations(publish, KubernetesCluster(api)) if api else None)
    rendering = Pages(
        lambda: service.bus.connected, settings.trace_url, operable=asking.able, inspects=settings.kek_dir is not None
    )
    reviews = api is not None and settings.token_review
    audience = settings.token_audience if reviews else ""
    url = settings.restorer_url
    planner = RestorerPlanner(httpx.AsyncClient(base_url=url, timeout=3)) if url else None
    listed = ListedAnnotations(Bucket(service.bus, "annotations", WrongAnnotations, instead=WrongAnnotations()))
    service.app.mount("/", app(ledger, tails, rendering, gate, asking, audience, planner, inspections(settings), listed))
    _parts(service, settings, ledger, handlers, api)
    service.bus.subscribe(CONSUMER, ALL, handlers.on_event, concurrency=256, batch=256)
    service.health.ready_when("postgres", lambda: ledger.migrated)
    service.on_stop(tails.close)
    service.on_stop(handlers.writer.stop)
    service.on_stop(ledger.close)
    await service.run_async()


def _parts(service: Service, settings: Settings, ledger: Ledger, handlers: Handlers, api: client.ApiClient | None) -> None:
    async def prepare() -> None:
        while True:
            with contextlib.suppress(*AWAY):
                await handlers.prepare()
            await asyncio.sleep(1)

    async def forget() -> None:
        while True:
            if ledger.migrated:
                with contextlib.suppress(*AWAY):
                    await ledger.forget(cutoff(datetime.now(UTC), settings.retain_days))
            await asyncio.sleep(3600 if ledger.migrated else 1)

    service.part("ledger", handlers.writer.run)
    service.part("migrations", prepare)
    service.part("retention", forget)
    if api is None:
        return
    pods = kube.ProtectedPods(api)

    async def compare() -> None:
        """The events do not tell of a workload that is deleted, or protected no more: the cluster does."""
        while True:
            if ledger.migrated and pods.synced:
                with contextlib.suppress(*AWAY):
                    await ledger.protected(pods.protected, pods.pods.values())
            await asyncio.sleep(LOOK_S)

    service.part("pods", pods.run)
    service.part("protected", compare)


def inspections(settings: Settings) -> StoredInspections | None:
    """None without keys."""
    if settings.kek_dir is None:
        return None
    return StoredInspections(Repository(s3_store(StoreSettings()), SecretKeys(settings.kek_dir)))


def accounts(settings: Settings, api: client.ApiClient | None) -> Accounts | None:
    """Who vouches for tokens; None if nobody does."""
    named: dict[str, Accounts] = {}
    if settings.oidc_issuer:
        context = ssl.create_default_context(cafile=str(settings.oidc_ca) if settings.oidc_ca else None)
        groups: dict[Role, frozenset[str]] = {
            "read": _names(settings.oidc_read_groups), "operate": _names(settings.oidc_operate_groups),
        }  # fmt: skip
        named[settings.oidc_issuer] = OidcAccounts(
            httpx.AsyncClient(verify=context, timeout=5), settings.oidc_issuer, settings.oidc_audience, groups,
            settings.oidc_user_claim, settings.oidc_groups_claim,
        )  # fmt: skip
    others = ReviewedAccounts(api, settings.token_audience) if api and settings.token_review else None
    return Remembering(Issuers(named, others)) if named or others else None


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
