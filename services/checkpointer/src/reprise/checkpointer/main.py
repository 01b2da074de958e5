"""The composition root of checkpointer."""

import asyncio
import os

from reprise.checkpointer.adapters.kubelet import HttpsKubelet
from reprise.checkpointer.adapters.pressure import CpuPressure
from reprise.checkpointer.adapters.slots import StateSlots
from reprise.checkpointer.dumping import Dumping
from reprise.checkpointer.handlers import Handlers
from reprise.checkpointer.pace import MOST_WAITING
from reprise.checkpointer.settings import Settings
from reprise.checkpointer.states import States
from reprise.checkpointer.turns import Turns
from reprise.contracts.events import CheckpointDue
from reprise.runtime import kube
from reprise.runtime.freezer import CgroupFreezer
from reprise.runtime.nodefiles import NodeFiles
from reprise.runtime.service import Service
from reprise.runtime.stateapi import Accesses


def run() -> None:
    """The console script."""
    asyncio.run(main(Settings()))


async def main(settings: Settings) -> None:
    service = Service("checkpointer", settings)
    api = await kube.connect()
    pods = kube.ProtectedPods(api, settings.node_name)
    kubelet = HttpsKubelet(
        settings.host_ip,
        settings.kubelet_port,
        settings.kubelet_ca,
        settings.token_file,
        settings.kubelet_timeout_s,
    )
    files, freezer = NodeFiles(settings.run_dir), CgroupFreezer(settings.cgroup_root)
    dumping = Dumping(kubelet, files, freezer, settings.kubelet_timeout_s)
    states = States(Accesses(api, settings.state_timeout_s), StateSlots(settings.slots_dir), files, freezer)
    turns = Turns(CpuPressure().read, os.cpu_count() or 1)
    handlers = Handlers(service.bus, pods, dumping, states, kube.EventRecorder(api, "checkpointer"), turns)
    service.part("pods", pods.run)
    service.bus.subscribe(
        f"checkpointer-{settings.node_name}",
        CheckpointDue,
        handlers.on_due,
        node=settings.node_name,
        concurrency=2 * MOST_WAITING,
    )
    service.health.ready_when("pods", lambda: pods.synced)
    service.on_stop(turns.close)
    await service.run_async()
