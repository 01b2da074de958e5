"""A node in memory, behind the ports, for tests: its runtime, its freezer, its pods, NATS, and the files on a real folder.

The kernel's part is the freezer's two flags: a container stands still if itself or its pod is frozen.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from reprise.contracts.annotations import Policy
from reprise.contracts.events import Event
from reprise.contracts.model import Target, Workload
from reprise.contracts.state import StateApi
from reprise.health_watcher.adapters.disk import Disk
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.agent import Agent, Outside
from reprise.health_watcher.model import Exit, NodeLease
from reprise.runtime.cri import ContainerEvent, RunningContainer, Status
from reprise.runtime.kube import AnyPod, ProtectedContainer, ProtectedPod
from reprise.runtime.nodefiles import NodeFiles, StartFile
from reprise.runtime.stateapi import Access
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")


class MemoryPods:
    """Implements what the agent asks of kube.ProtectedPods."""

    def __init__(self) -> None:
        self.pods: dict[str, ProtectedPod] = {}
        self.everything: dict[str, AnyPod] = {}
        self.synced = True
        self._callbacks: list[Callable[[], None]] = []

    def on_any(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def add(
        self, uid: str = "u1", name: str = "counter-1", *, containers: tuple[str, ...] = ("counter",), protected: bool = True,
        annotations: dict[str, str] | None = None, workload: Workload = WORKLOAD, absent_at_s: float = float("-inf"),
        restart_policy: str = "Always", gated: bool = False,
    ) -> None:  # fmt: skip
        self.everything[uid] = AnyPod(
            workload.namespace, name, uid, workload, False, restart_policy, annotations or {}, containers, absent_at_s, uid
        )
        if protected:
            them = tuple(ProtectedContainer(c, f"{c}:1", running=True) for c in containers)
            self.pods[uid] = ProtectedPod(
                workload, Policy(mode="criu"), workload.namespace, name, uid, "n1", "10.0.0.1", "", "Running", False, them,
                restart_policy=restart_policy, gated=gated,
            )  # fmt: skip
        self._tell()

    def delete(self, uid: str) -> None:
        """It is to be deleted."""
        self.everything[uid] = replace(self.everything[uid], deleting=True)
        if uid in self.pods:
            self.pods[uid] = replace(self.pods[uid], deleting=True)
        self._tell()

    def remove(self, uid: str) -> None:
        self.everything.pop(uid, None)
        self.pods.pop(uid, None)
        self._tell()

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()


class MemoryNode:
    """folder: for what is on the node's disk and in its /run. told: what was done to containers, in order. cut: neither NATS nor
    the API server is within reach. away: no lease is taken, and NATS is out of reach.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.server, self.pods = folder, MemoryServer(), MemoryPods()
        self.files = NodeFiles(folder / "run")
        self.containers: dict[str, RunningContainer] = {}
        self.statuses: dict[str, Status] = {}
        self.frozen: set[str] = set()
        self.frozen_pods: set[str] = set()
        self.told: list[str] = []
        self.exits: asyncio.Queue[Exit] = asyncio.Queue()
        self.cut = self.away = False
        self.limited = self.fails = ""
        self.armed_s = 0.0
        self.wants = True
        self.fenced = ""
        """The failover that the pod itself says has it."""
        self.kills = True
        self.disk_wait_s = 10.0

    def agent(self, clock: Callable[[], float] | None = None) -> Agent:
        """One that has just started."""

        async def on_call(_when: str, _what: str) -> None:
            if self.cut or self.away:
                raise TimeoutError

        bus = cast(Any, MemoryBus(self.server, on_call))
        lease = NodeLease(node="n1", host_ip="", boot_id="b", renewals=0, can_freeze=False)
        here = cast(Any, self)
        outside = Outside(
            lease=lease, bus=bus, kv=KvLeases(bus), kubernetes=here, lookup=here, pods=here.pods, runtime=here, freezer=here,
            watchdog=here, exits=here, logs=here, recorder=here, api=here, accesses=here,
            run_dir=self.folder / "run", state_dir=self.folder / "state",
            clock=clock or (lambda: 1000.0 + asyncio.get_running_loop().time()), disk=Disk(self.disk_wait_s),
        )  # fmt: skip
        return Agent(outside)

    # What happens on it.
    def start(
        self, container_id: str = "c1", uid: str = "u1", name: str = "counter", *, outcome: str = "blank",
        checkpoint_id: str = "", frozen: bool = False, attempt: int = 0, reason: str = "", at: datetime | None = None,
        at_s: float = 0.0,
    ) -> RunningContainer:  # fmt: skip
        """The engine started a container; at, at_s: by the wall clock and by CLOCK_BOOTTIME, when."""
        pod = self.pods.everything.get(uid)
        made = RunningContainer(
            container_id, "s", "default", pod.name if pod else "gone", uid, name, "counter:1", "", attempt, "running",
            len(self.containers) + len(self.statuses) + 1,
        )  # fmt: skip
        self.containers[container_id] = made
        if frozen:
            self.frozen.add(container_id)
        file = StartFile(
            container_id=container_id, namespace="default", pod=made.pod, pod_uid=uid, container=name, outcome=cast(Any, outcome),
            checkpoint_id=checkpoint_id, frozen=frozen, took_s=0.1, reason=reason, at=at.isoformat() if at else "", at_s=at_s,
        )  # fmt: skip
        self.files._write(self.files.root / "starts" / f"{container_id}.json", file)
        return made

    def end(
        self, container_id: str = "c1", code: int = 1, *, lived_s: float = 60.0, at_s: float | None = None, reason: str = ""
    ) -> None:
        """Its process ends, and the runtime knows."""
        finished = time.time() if at_s is None else at_s
        self.containers[container_id] = replace(self.containers[container_id], state="exited")
        reason = reason or ("Completed" if code == 0 else "Error")
        self.statuses[container_id] = Status(
            "exited", code, reason, int((finished - lived_s) * 1e9), int(finished * 1e9), f"/var/log/pods/{container_id}"
        )
        self.frozen.discard(container_id)

    def stands(self, container_id: str = "c1") -> bool:
        return container_id in self.frozen or self.containers[container_id].pod_uid in self.frozen_pods

    def announced(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.server.events.values() if isinstance(event, kind)]

    def target(self, container_id: str = "c1") -> Target:
        c = self.containers[container_id]
        return Target(node="n1", pod=c.pod, pod_uid=c.pod_uid, container=c.name, container_id=container_id)

    def verdict(self, uid: str = "u1", name: str = "counter") -> str:
        """What the engine reads: `none`: no file. `unprotected`: not listed."""
        file = self.files.read_pod(uid)
        if file is None:
            return "none"
        return file.containers[name].verdict if name in file.containers else "unprotected"

    def slot(
        self, checkpoint_id: str, *, uid: str = "u1", pod: str = "counter-1", name: str = "counter", live: str = "live"
    ) -> None:
        """A checkpoint lies on the node."""
        folder = self.folder / "state/slots/default" / uid / name
        (folder / checkpoint_id).mkdir(parents=True, exist_ok=True)
        body = f'{{"version": 1, "namespace": "default", "pod": "{pod}", "container": "{name}"}}'
        (folder / checkpoint_id / "slot.json").write_text(body)
        if live:
            (folder / live).unlink(missing_ok=True)
            (folder / live).symlink_to(checkpoint_id)

    # The container runtime.
    async def list_containers(self, state: str | None = None) -> list[RunningContainer]:
        return [c for c in self.containers.values() if state in (None, c.state)]

    async def events(self) -> AsyncIterator[ContainerEvent]:
        """None are streamed."""
        await asyncio.Event().wait()
        yield ContainerEvent("", "started")

    async def status(self, container_id: str) -> Status:
        return self.statuses.get(container_id, Status("running", 0, "", 0, 0, ""))

    async def stop_container(self, container_id: str, grace_s: int = 0) -> None:
        self.told.append(f"stop {container_id}")

    async def remove_container(self, container_id: str) -> None:
        self.told.append(f"remove {container_id}")
        self.containers.pop(container_id, None)

    async def follow(self) -> AsyncIterator[Exit]:
        while True:
            yield await self.exits.get()

    # The freezer.
    def limitation(self) -> str:
        return self.limited

    def freeze(self, container_id: str) -> bool:
        if self.fails:
            raise OSError(self.fails)
        if container_id not in self.containers:
            return False
        self.told.append(f"freeze {container_id}: {self.verdict(self.containers[container_id].pod_uid)}")
        self.frozen_pods.add(self.containers[container_id].pod_uid)
        return True

    def thaw(self, container_id: str) -> None:
        uid = self.containers[container_id].pod_uid
        self.told.append(f"thaw {container_id}: {self.verdict(uid)}")
        self.frozen.discard(container_id)
        self.frozen_pods.discard(uid)

    def thaw_alone(self, container_id: str) -> None:
        self.told.append(f"thaw {container_id} alone")
        self.frozen.discard(container_id)

    def waiting_tracers(self, container_id: str) -> frozenset[int]:
        return frozenset()

    def runs(self, container_id: str) -> bool:
        found = self.containers.get(container_id)
        return found is not None and found.state == "running" and not self.stands(container_id)

    def is_frozen(self, container_id: str) -> bool:
        return container_id in self.containers and self.stands(container_id)

    def is_gone(self, container_id: str) -> bool:
        return container_id not in self.containers or self.containers[container_id].state == "exited"

    def thaw_pod(self, pod_uid: str) -> None:
        self.told.append(f"thaw pod {pod_uid}")
        self.frozen_pods.discard(pod_uid)

    def kill(self, container_id: str) -> None:
        if not self.kills:
            raise OSError("no process can be seen")
        self.told.append(f"kill {container_id}")

    # The API server.
    async def renew(self, lease: NodeLease) -> None:
        if self.cut or self.away:
            raise TimeoutError

    async def wanted(self, namespace: str, name: str, uid: str) -> bool:
        if self.cut:
            raise TimeoutError
        pod = self.pods.everything.get(uid)
        return self.wants and pod is not None and not pod.deleting

    async def fenced_by(self, namespace: str, name: str, uid: str) -> str:
        if self.cut:
            raise TimeoutError
        return self.fenced

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        self.told.append(f"{type_} {reason}: {message}")

    # The programs' own API.
    async def of(self, api: StateApi, namespace: str, ip: str) -> Access:
        return Access(f"{api.scheme}://{ip}:{api.port}{api.path}", max_bytes=api.max_bytes, timeout_s=2)

    # Logs.
    def tail(self, log_path: str) -> str:
        return "its last line" if log_path else ""
