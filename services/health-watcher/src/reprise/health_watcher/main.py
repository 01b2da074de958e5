"""The composition root of health-watcher, the node's agent. The arbiter's is arbiter_main.py."""

import asyncio
import math
from pathlib import Path

from reprise.contracts.events import (
    CheckpointFailed,
    CheckpointStaged,
    CheckpointTaken,
    FailoverAbandoned,
    FailoverHolding,
    FailoverReleased,
    FailoverStarted,
)
from reprise.health_watcher.adapters.exits import ExitFiles
from reprise.health_watcher.adapters.facts import Facts
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.adapters.logs import LogFiles
from reprise.health_watcher.adapters.lookup import KubernetesPods
from reprise.health_watcher.adapters.watchdog import Watchdog
from reprise.health_watcher.agent import Agent, Outside
from reprise.health_watcher.checkups import Checkups
from reprise.health_watcher.dumps import Dumps
from reprise.health_watcher.graces import Graces
from reprise.health_watcher.hangs import Hangs
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.settings import Settings
from reprise.runtime import checkup, kube
from reprise.runtime.cri import Cri, find_socket
from reprise.runtime.freezer import CgroupFreezer
from reprise.runtime.nodefiles import boot_id
from reprise.runtime.service import Service
from reprise.runtime.stateapi import Accesses


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service, node = Service("health-watcher", settings), settings.node_name
    api = await kube.connect()
    pods, kv, leases = kube.ProtectedPods(api, node), KvLeases(service.bus), KubernetesLeases(api, settings.namespace)
    cri, freezer = Cri(find_socket(settings.cri_socket)), CgroupFreezer(settings.cgroup_root)
    told = NodeLease(node=node, host_ip=settings.host_ip, boot_id=boot_id(), renewals=0, can_freeze=False)
    watchdog = Watchdog(settings.watchdog_device, settings.watchdog_timeout_s)
    watchdog.arm()
    agent = Agent(
        Outside(
            lease=told,
            bus=service.bus,
            kv=kv,
            kubernetes=leases,
            lookup=KubernetesPods(api),
            pods=pods,
            runtime=cri,
            freezer=freezer,
            watchdog=watchdog,
            exits=ExitFiles(settings.exits_dir),
            logs=LogFiles(settings.logs_dir),
            recorder=kube.EventRecorder(api, "health-watcher"),
            api=api,
            accesses=Accesses(api),
            run_dir=Path(settings.run_dir),
            state_dir=Path(settings.state_dir),
        )
    )
    graces = Graces(agent.ledger)
    checkups = Checkups(cri, pods, freezer, agent.verdicts, graces, agent.hung)
    service.bus.answer(checkup.subject(node), checkups.answer)
    for name, part in (
        ("pods", pods.run),
        ("state-disk", agent.disk.run),
        ("node-file", agent.lease.write_for_ever),
        ("lease", agent.lease.renew_for_ever),
        ("reconciler", agent.reconciler.run),
        ("fences", agent.fences.run),
        ("resumes", agent.resumes.run),
        ("holds", agent.holds.run),
        ("containers", agent.containers.run),
        ("container-exits", agent.containers.watch),
        ("container-events", agent.containers.follow),
        ("container-listing", agent.containers.sweep),
        ("starts", agent.starts.run),
        ("handing", agent.handing.run),
        ("liveness", Hangs(cri, pods, freezer, agent.hung, agent.declarations, agent.leaving, agent.starts, graces).run),
        ("graces", graces.run),
        ("dumps", Dumps(freezer, pods, agent.marks, agent.reconciler).run),
        ("facts", Facts(service.bus, node).run),
        ("gates", agent.gates.run),
        ("watchdog", lambda: watchdog.run(lambda: agent.lease.safe(all_frozen=agent.reconciler.all_frozen))),
    ):
        service.part(name, part)
    holding = (FailoverHolding, CheckpointTaken, CheckpointFailed)
    service.bus.subscribe(f"watcher-{node}", FailoverStarted, agent.handlers.on_started, node=node)
    service.bus.subscribe(f"watcher-staged-{node}", CheckpointStaged, agent.handlers.on_staged, node=node)
    # Given up, what was restored would stand still for ever.
    service.bus.subscribe(
        f"watcher-released-{node}", FailoverReleased, agent.handlers.on_released, node=node, max_attempts=math.inf
    )
    service.bus.subscribe(f"watcher-cold-{node}", FailoverAbandoned, agent.handlers.on_abandoned, node=node)
    service.bus.subscribe(f"watcher-holds-{node}", holding, agent.holds.on_event, node=node)
    service.health.ready_when("pods", lambda: pods.synced)
    service.health.ready_when("lease", lambda: agent.lease.held)
    service.on_stop(watchdog.stop)
    await service.run_async()
