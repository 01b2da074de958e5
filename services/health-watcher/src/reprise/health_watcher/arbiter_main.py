"""The composition root of the arbiter: of this package, and a Deployment of its own, so that no node's agents have its rights."""

import asyncio

from reprise.contracts.records import Fence
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.arbiter import Arbiter
from reprise.health_watcher.brake import Account, Brake
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.settings import ArbiterSettings
from reprise.runtime import kube
from reprise.runtime.election import Election
from reprise.runtime.kv import Bucket
from reprise.runtime.nodefiles import boot_id
from reprise.runtime.service import Service


def run() -> None:
    """The console script."""
    asyncio.run(main(ArbiterSettings()))


async def main(settings: ArbiterSettings) -> None:
    service = Service("arbiter", settings)
    api = await kube.connect()
    own = NodeLease(node=settings.node_name, host_ip="", boot_id=boot_id(), renewals=0, can_freeze=False)
    election = Election(service.bus, "arbiter", settings.pod_name)
    arbiter = Arbiter(
        election,
        KvLeases(service.bus),
        KubernetesLeases(api, settings.namespace),
        Bucket(service.bus, "fences", Fence),
        api,
        Announcer(service.bus),
        settings.kubelet_port,
        own,
        Brake(Bucket(service.bus, "brake", Account), settings.brake_share, settings.brake_window_s),
    )
    election.only_while(arbiter.sees)
    for name, part in (
        ("election", election.run),
        ("own-record", arbiter.show),
        ("leases", arbiter.follow),
        ("kubernetes-leases", arbiter.follow_kubernetes),
        ("cluster-nodes", arbiter.follow_nodes),
        ("arbiter", arbiter.run),
    ):
        service.part(name, part)
    service.health.ready_when("view", arbiter.sees)
    service.on_stop(election.resign)
    await service.run_async()
