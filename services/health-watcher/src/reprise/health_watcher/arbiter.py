"""The elected arbiter: gives a node up by the rule in decide.py, and declares the failover of what ran there."""

import asyncio
import contextlib
import time

from kubernetes.aio import client
from prometheus_client import Gauge
from reprise.contracts.events import FailoverDeclared, NodeLost, node_subject
from reprise.contracts.model import failover_id
from reprise.contracts.records import Fence
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.decide import BLIND_AFTER_S, judge, repeat_after_s, sees
from reprise.health_watcher.fences import number
from reprise.health_watcher.model import LeaseView, NodeLease
from reprise.runtime.election import Election
from reprise.runtime.kube import ProtectedPod, protected_on
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import about, log, span

LOST = Gauge("reprise_lost_nodes", "Nodes that are given up and have not returned, as this arbiter knows")
TICK_S = 0.25
KUBELET_TIMEOUT_S = 1.0


class Arbiter:
    """Every agent follows the leases, so that a new leader knows at once; only the leader judges."""

    def __init__(
        self,
        election: Election,
        kv: KvLeases,
        kubernetes: KubernetesLeases,
        fences: Bucket[Fence],
        api: client.ApiClient,
        announcer: Announcer,
        kubelet_port: int,
        own_node: str,
    ) -> None:
        self._election, self._kv, self._kubernetes = election, kv, kubernetes
        self._fences = fences
        self._api, self._announcer, self._kubelet_port = api, announcer, kubelet_port
        self._leases: dict[str, NodeLease] = {}
        self._seen_at: dict[str, float] = {}
        self._versions: dict[str, str] = {}
        self._own_node = own_node
        self._checked_at = self._own_seen_at = float("-inf")
        self._lost: dict[str, tuple[float, int]] = {}
        """Nodes that are given up: when each is judged again, and how often it was."""
        self._revisions: dict[str, int] = {}
        LOST.set_function(lambda: len(self._lost) if election.leading else 0)

    async def follow(self) -> None:
        """Every renewal by KV, as it comes; our own node's is among them, so silence means that the watch is dead."""
        async for change in self._kv.bucket.watch(BLIND_AFTER_S):
            if change.value is None:
                continue
            node = change.value.node
            self._leases[node] = change.value
            if self._revisions.get(node) != change.revision:  # a watch that starts over repeats what was known
                self._revisions[node] = change.revision
                self._sighting(node)
                if node == self._own_node and change.value.sent_at_s <= time.monotonic():  # else it is of an earlier boot
                    self._own_seen_at = change.value.sent_at_s  # not when it came: it may have waited while we stood still

    async def follow_kubernetes(self) -> None:
        """Renewals by Kubernetes Lease; a listing that fails makes the arbiter blind, and it judges nobody."""
        while True:
            with contextlib.suppress(Exception):
                began = time.monotonic()
                versions = await self._kubernetes.versions()
                self._checked_at = began
                for node, version in versions.items():
                    if self._versions.get(node) != version:
                        self._versions[node] = version
                        self._sighting(node)
            await asyncio.sleep(1.0)

    def _sighting(self, node: str) -> None:
        self._seen_at[node] = time.monotonic()
        if node in self._lost:
            log().info("node returned", lost_node=node)
            del self._lost[node]

    async def run(self) -> None:
        while True:
            if self._election.leading and self._sees():
                for node in list(self._leases):
                    if time.monotonic() >= self._lost.get(node, (0.0, 0))[0]:
                        await self._judge(node)
            await asyncio.sleep(TICK_S)

    def _sees(self) -> bool:
        """Both ways of renewal are in view: who does not see its own node's renewal cannot say that another's is missing."""
        now = time.monotonic()
        return sees(now - self._own_seen_at, now - self._checked_at)

    async def _judge(self, node: str) -> None:
        lease = self._leases[node]
        silent_s = time.monotonic() - self._seen_at[node]
        verdict = judge(_view(lease, silent_s))
        if verdict.verdict == "ask-kubelet":
            reachable = await self._kubelet_answers(lease.host_ip)
            silent_s = time.monotonic() - self._seen_at[node]
            verdict = judge(_view(lease, silent_s, reachable=reachable))
        if verdict.verdict == "lost" and self._election.leading and self._sees():
            await self._give_up(node, verdict.why, silent_s)

    async def _kubelet_answers(self, host_ip: str) -> bool:
        try:
            async with asyncio.timeout(KUBELET_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host_ip, self._kubelet_port)
            writer.close()
            return True
        except (OSError, TimeoutError):
            return False

    async def _give_up(self, node: str, why: str, silent_s: float) -> None:
        """First the fences are read, then both leases: who thawed meanwhile is seen, and who will thaw later is stopped."""
        pods = await protected_on(self._api, node)
        revisions = {pod.uid: await number(self._fences, pod.uid) for pod in pods}
        if not await self._still_silent(node):
            return
        lease, repeats = self._leases[node], self._lost.get(node, (0.0, -1))[1] + 1
        self._lost[node] = (time.monotonic() + repeat_after_s(repeats), repeats)
        if not repeats:
            log().warning("node lost", lost_node=node, why=why, pods=len(pods))
            lost = NodeLost(node=node, workload=node_subject(node), detail=why)
            self._announcer.announce(lost, f"lost-{node}-{lease.boot_id}-{lease.renewals}")
        for pod in pods:
            if not pod.deleting:
                self._declare(pod, why, silent_s, revisions[pod.uid], f"{lease.renewals}-{repeats}")

    async def _still_silent(self, node: str) -> bool:
        """Read at the source: a renewal may be on its way to us."""
        entry = await self._kv.bucket.get(key("node", node))
        versions = await self._kubernetes.versions()
        renewed = (entry is not None and entry.revision != self._revisions.get(node)) or (
            versions.get(node) != self._versions.get(node)
        )
        if renewed:
            self._sighting(node)
        return not renewed

    def _declare(self, pod: ProtectedPod, why: str, silent_s: float, fence_revision: int, judgement: str) -> None:
        for container in pod.containers:
            target = pod.target(container)
            name = failover_id(target, node_lost=True)
            declared = FailoverDeclared(
                node=target.node, workload=pod.workload, failover_id=name, target=target, cause="node-loss", detail=why,
                noticed_after_s=silent_s, armed=pod.condition[0] == "True", fence_revision=fence_revision,
            )  # fmt: skip
            with span("failover.declared", root=True, ago_s=silent_s, attributes=about(declared)):
                self._announcer.announce(declared, f"declared-{name}-node-{judgement}")


def _view(lease: NodeLease, silent_s: float, *, reachable: bool | None = None) -> LeaseView:
    return LeaseView(lease.node, silent_s, lease.can_freeze, reachable, lease.freeze_s, lease.watchdog_s)
