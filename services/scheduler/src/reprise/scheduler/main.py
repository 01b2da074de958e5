"""The composition root of scheduler."""

import asyncio

from reprise.contracts.events import CheckpointFailed, CheckpointStored
from reprise.contracts.records import Newest, WrongAnnotations
from reprise.runtime import kube
from reprise.runtime.election import Election
from reprise.runtime.kv import Bucket
from reprise.runtime.service import Service
from reprise.scheduler.adapters.conditions import KubernetesConditions
from reprise.scheduler.adapters.things import KubernetesThings
from reprise.scheduler.advice import Advice
from reprise.scheduler.handlers import Handlers
from reprise.scheduler.listing import Listing
from reprise.scheduler.misplaced import Misplaced
from reprise.scheduler.model import UNHARMED, Harm
from reprise.scheduler.owners import Owners
from reprise.scheduler.protection import FOLLOWED
from reprise.scheduler.settings import Settings
from reprise.scheduler.timers import Timers


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("scheduler", settings)
    api = await kube.connect()
    pods = kube.ProtectedPods(api)
    election = Election(service.bus, "scheduler", settings.pod_name)
    harms = Bucket(service.bus, "harms", Harm, instead=UNHARMED)
    timers = Timers(service.bus, pods, election, harms, settings.settle_s)
    recorder = kube.EventRecorder(api, "scheduler")
    outcomes = Handlers(service.bus, harms, Bucket(service.bus, "newest", Newest, instead=Newest(checkpoint_id="")), recorder)
    service.part("pods", pods.run)
    service.part("election", election.run)
    service.part("timers", timers.run)
    service.part("advice", Advice(pods, recorder).run)
    misplaced = Misplaced(KubernetesThings(api), lambda: election.leading)
    service.part("misplaced", misplaced.run)
    wrong = Bucket(service.bus, "annotations", WrongAnnotations)
    service.part("listing", Listing(pods, misplaced, wrong, lambda: election.leading).run)
    owners = Owners(pods, election, KubernetesConditions(api), recorder)
    service.part("owners", owners.run)
    service.bus.observe("scheduler-owners", FOLLOWED, owners.see)
    service.bus.subscribe("scheduler-outcomes", (CheckpointFailed, CheckpointStored), outcomes.on_outcome, concurrency=1)
    service.health.ready_when("pods", lambda: pods.synced)
    service.on_stop(election.resign)
    await service.run_async()
