"""The composition root of scheduler."""

import asyncio

from reprise.runtime import kube
from reprise.runtime.election import Election
from reprise.runtime.service import Service
from reprise.scheduler.advice import Advice
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
    timers = Timers(service.bus, pods, election, settings.settle_s)
    service.part("pods", pods.run)
    service.part("election", election.run)
    service.part("timers", timers.run)
    service.part("advice", Advice(pods, kube.EventRecorder(api, "scheduler")).run)
    service.health.ready_when("pods", lambda: pods.synced)
    service.on_stop(election.resign)
    await service.run_async()
