"""The composition root of health-watcher."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointStored,
    CheckpointTaken,
    FailoverAbandoned,
    FailoverCompleted,
    FailoverHolding,
    FailoverStarted,
)
from reprise.contracts.records import Fence, HoldRecord
from reprise.health_watcher.adapters.exits import ExitFiles
from reprise.health_watcher.adapters.facts import Facts
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.adapters.lookup import KubernetesPods
from reprise.health_watcher.adapters.restore_files import RestoreFiles
from reprise.health_watcher.adapters.watchdog import Watchdog
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.arbiter import Arbiter
from reprise.health_watcher.births import Births
from reprise.health_watcher.deaths import Deaths
from reprise.health_watcher.dumps import Dumps
from reprise.health_watcher.gates import Gates
from reprise.health_watcher.handlers import Handlers
from reprise.health_watcher.hangs import Hangs
from reprise.health_watcher.holds import Holds
from reprise.health_watcher.isolation import Isolation
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.origins import Origins
from reprise.health_watcher.restores import Restores
from reprise.health_watcher.settings import Settings
from reprise.runtime import kube
from reprise.runtime.cri import Cri, RunningContainer
from reprise.runtime.election import Election
from reprise.runtime.freezer import CgroupFreezer
from reprise.runtime.kv import Bucket
from reprise.runtime.service import Service


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("health-watcher", settings)
    api = await kube.connect()
    pods = kube.ProtectedPods(api, settings.node_name)
    cri, freezer, announcer = Cri(settings.cri_socket), CgroupFreezer(settings.cgroup_root), Announcer(service.bus)
    kv, leases = KvLeases(service.bus), KubernetesLeases(api, settings.namespace)
    deaths = Deaths(cri, pods, announcer, ExitFiles(settings.exits_dir))
    lease = NodeLease(node=settings.node_name, host_ip=settings.host_ip, boot_id=boot_id(), renewals=0, can_freeze=False)
    fences = Bucket(service.bus, "fences", Fence)
    records, state_dir = Bucket(service.bus, "holds", HoldRecord), Path(settings.state_dir)
    isolation = Isolation(lease, kv, leases, fences, records, freezer, cri, pods, KubernetesPods(api), announcer, state_dir)
    deaths.on_started = isolation.on_started
    origins = Origins(cri)
    births = Births(origins, freezer, Path(settings.state_dir), settings.hold_blank_s, isolation.froze)
    watchdog = Watchdog(settings.watchdog_device, settings.watchdog_timeout_s, lambda: isolation.safe)
    watchdog.arm()
    isolation.watchdog_s = lambda: watchdog.armed_s
    gates = Gates(api, pods, origins)

    async def on_listed(containers: Iterable[RunningContainer]) -> None:
        await births.listed(containers)
        await gates.listed(containers)

    deaths.on_listed, deaths.on_died, deaths.expected_ends = on_listed, births.died, births.superseded
    deaths.on_ended = gates.ended
    election = Election(service.bus, "arbiter", settings.pod_name)
    arbiter = Arbiter(election, kv, leases, fences, api, announcer, settings.kubelet_port, settings.node_name)
    for name, part in (
        ("pods", pods.run),
        ("container-exits", deaths.watch),
        ("container-events", deaths.follow),
        ("container-listing", deaths.sweep),
        ("liveness", Hangs(cri, pods, freezer, deaths).run),
        ("dumps", Dumps(freezer, pods).run),
        ("lease", isolation.renew_for_ever),
        ("facts", Facts(service.bus, settings.node_name).run),
        ("guard", isolation.guard),
        ("births", births.run),
        ("restores", Restores(settings.node_name, RestoreFiles(settings.restores_dir), cri, pods, announcer).run),
        ("gates", gates.run),
        ("watchdog", watchdog.run),
        ("election", election.run),
        ("leases", arbiter.follow),
        ("kubernetes-leases", arbiter.follow_kubernetes),
        ("arbiter", arbiter.run),
    ):
        service.part(name, part)
    handlers = Handlers(cri, freezer, isolation, births)
    service.bus.subscribe(f"watcher-{settings.node_name}", FailoverStarted, handlers.on_failover_started, node=settings.node_name)
    decided = (CheckpointStored, FailoverStarted, FailoverAbandoned, FailoverCompleted)
    service.bus.subscribe(f"births-{settings.node_name}", decided, births.on_event, node=settings.node_name)
    service.bus.subscribe(f"gates-{settings.node_name}", FailoverAbandoned, gates.on_abandoned, node=settings.node_name)
    told = (FailoverHolding, CheckpointTaken, CheckpointFailed)
    holds = Holds(service.bus, records, isolation)
    service.bus.subscribe(f"watcher-holds-{settings.node_name}", told, holds.on_event, node=settings.node_name)
    service.health.ready_when("pods", lambda: pods.synced)
    service.health.ready_when("lease", lambda: isolation.holds_lease)
    service.on_stop(election.resign)
    service.on_stop(watchdog.stop)
    await service.run_async()


def boot_id() -> str:
    """Differs after each boot of the node."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
