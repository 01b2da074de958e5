"""The composition root of restorer."""

import asyncio
import math

from reprise.archive.repository import Repository
from reprise.archive.s3 import s3_store
from reprise.archive.settings import StoreSettings
from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointStaged,
    CheckpointStored,
    FailoverAbandoned,
    FailoverDeclared,
    FailoverDelayed,
    NodeSuspected,
    StandbyRefused,
)
from reprise.restorer.adapters.budgets import KubernetesBudgets
from reprise.restorer.adapters.checkpoints import StoredCheckpoints
from reprise.restorer.adapters.cluster import KubernetesCluster
from reprise.restorer.adapters.taints import KubernetesTaints
from reprise.restorer.ahead import Ahead
from reprise.restorer.cordons import Cordons
from reprise.restorer.forecast import Forecast
from reprise.restorer.handlers import Handlers
from reprise.restorer.leftovers import LeftOvers
from reprise.restorer.model import NOT_KNOWN, NodeFacts
from reprise.restorer.reconciler import Reconciler
from reprise.restorer.requests import Requests
from reprise.restorer.room import Room, Timeouts
from reprise.restorer.saga import SagaRunner
from reprise.restorer.settings import Settings
from reprise.restorer.standby import Standbys
from reprise.restorer.starts import Starts
from reprise.restorer.taints import LeftTaints
from reprise.runtime import kube
from reprise.runtime.election import Election
from reprise.runtime.kv import Bucket
from reprise.runtime.service import Service


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("restorer", settings)
    api = await kube.connect()
    pods = kube.ProtectedPods(api)
    checkpoints = StoredCheckpoints(Repository(s3_store(StoreSettings())))
    facts = Bucket(service.bus, "nodes", NodeFacts, instead=NOT_KNOWN)
    cluster = KubernetesCluster(api, pods, service.bus, facts, checkpoints.criu)
    starts = Starts(service.bus)
    taints = KubernetesTaints(api)
    timeouts = Timeouts(settings.verify_timeout_s, settings.adopt_timeout_s, settings.stage_timeout_s)
    room = Room(service.bus, cluster, taints, checkpoints, starts, timeouts)
    sagas = SagaRunner(room)
    standbys = Standbys(service.bus, cluster, checkpoints)
    recorder = kube.EventRecorder(api, "restorer")
    handlers = Handlers(service.bus, pods, sagas, standbys, recorder)
    requests = Requests(service.bus, pods, checkpoints, recorder)
    forecast = Forecast(sagas.planning, pods.pods)
    ahead = Ahead(room, sagas.planning, sagas.sagas, pods.pods)
    service.app.add_route("/plans/{node}", forecast.answer)
    election = Election(service.bus, "leftovers", settings.pod_name)
    reconciler = Reconciler(sagas, handlers.attend, lambda: election.leading)
    leftovers = LeftOvers(service.bus, cluster, lambda: election.leading)
    left_taints = LeftTaints(service.bus, taints, lambda: election.leading)
    cordons = Cordons(
        service.bus, pods, cluster, KubernetesBudgets(api), requests, recorder, lambda: election.leading
    )  # fmt: skip
    service.part("pods", pods.run)
    service.part("starts", starts.run)
    service.part("election", election.run)
    service.part("requests", requests.run)
    service.part("cordons", cordons.run)
    service.part("leftovers", leftovers.run)
    service.part("reconciler", reconciler.run)
    service.part("taints", left_taints.run)
    service.bus.subscribe("restorer-images", CheckpointStored, handlers.on_stored)
    service.bus.subscribe("restorer-staged", CheckpointStaged, handlers.on_staged)
    service.bus.subscribe("restorer-damages", CheckpointFailed, handlers.on_failed)
    service.bus.subscribe("restorer-refusals", StandbyRefused, standbys.on_refused)
    # Given up halfway, because the API server was away for a minute, a pod would stand still or be gone for ever.
    service.bus.subscribe("restorer-failovers", FailoverDeclared, handlers.on_declared, concurrency=32, max_attempts=math.inf)
    service.bus.subscribe("restorer-suspicions", NodeSuspected, ahead.on_suspected, concurrency=32)
    service.bus.subscribe("restorer-notices", FailoverAbandoned, handlers.on_abandoned)
    service.bus.subscribe("restorer-delays", FailoverDelayed, handlers.on_delayed)
    service.health.ready_when("pods", lambda: pods.synced)
    service.on_stop(election.resign)
    await service.run_async()
