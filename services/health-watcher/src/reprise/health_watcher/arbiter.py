"""The elected arbiter: gives a node up by the rule in decide.py, and declares the failover of what ran there."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from kubernetes.aio import client
from nats.errors import Error as NatsError
from prometheus_client import Gauge
from reprise.contracts.events import FailoverDeclared, NodeLost, NodePostponed, NodeSuspected, node_subject
from reprise.contracts.model import failover_id
from reprise.contracts.records import Fence
from reprise.health_watcher.adapters.leases import KubernetesLeases, KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.brake import Brake
from reprise.health_watcher.decide import BLIND_AFTER_S, FIRST_REPEAT_S, is_vestige, judge, lost_after_s, repeat_after_s, sees
from reprise.health_watcher.fences import number
from reprise.health_watcher.model import LeaseView, NodeLease
from reprise.health_watcher.rules.brake import Whole
from reprise.runtime.election import Election
from reprise.runtime.kube import ProtectedPod, protected_on
from reprise.runtime.kv import Bucket, key
from reprise.runtime.nodefiles import boottime_s
from reprise.runtime.telemetry import about, log, span

LOST = Gauge("reprise_lost_nodes", "Nodes that are given up and have not returned, as this arbiter knows")
POSTPONED = Gauge("reprise_postponed_nodes", "Nodes that are lost and are not given up, because too much would be at once")
TICK_S = 0.1
SHOW_EVERY_S = 1.0
WITNESSES = 3
"""Of the kubelets of the nodes that renewed last: at least one of so many must answer."""
KUBELET_TIMEOUT_S = 1.0
NODES_EVERY_S = 10.0
GIVE_UP_S = 10.0
"""Reading what ran there, its fences and both leases; then it is tried again."""


@dataclass(frozen=True)
class Judged:
    """A node's lease as it was judged. revision, version: of KV and of its Kubernetes Lease; empty: it has none."""

    lease: NodeLease
    revision: int
    version: str


class NoKubeletAnswers(Exception):
    """Raised where a silent node's kubelet does not answer, and no living node's does either."""

    def __str__(self) -> str:
        return "no kubelet answers this pod: does a NetworkPolicy or a firewall keep it from their port?"


class Arbiter:
    """Every replica follows the leases, so that a new leader knows at once; only the leader judges.

    own: what this replica writes beside the nodes' leases to see that it sees them: of the node that it runs on, which may have
    no agent. clock: seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        election: Election,
        kv: KvLeases,
        kubernetes: KubernetesLeases,
        fences: Bucket[Fence],
        api: client.ApiClient,
        announcer: Announcer,
        kubelet_port: int,
        own: NodeLease,
        brake: Brake,
        clock: Callable[[], float] = boottime_s,
    ) -> None:
        self._election, self._kv, self._kubernetes = election, kv, kubernetes
        self._fences, self._brake = fences, brake
        self._api, self._announcer, self._kubelet_port = api, announcer, kubelet_port
        self._leases: dict[str, NodeLease] = {}
        self._seen_at: dict[str, float] = {}
        self._versions: dict[str, str] = {}
        self._own, self._clock = own, clock
        self._checked_at = self._own_seen_at = float("-inf")
        self._lost: dict[str, tuple[float, int]] = {}
        """Nodes that are given up: when each is judged again, and how often it was."""
        self._revisions: dict[str, int] = {}
        self._nodes: frozenset[str] | None = None
        """Those that the API server has; None: not known yet."""
        self._suspected: dict[str, int] = {}
        """Nodes that are silent, by their last renewal."""
        self._postponed: dict[str, float] = {}
        """Nodes that the brake holds back: when each is judged again."""
        self._forced: frozenset[str] = frozenset()
        """Nodes that somebody wants to be given up all the same."""
        self._forced_by: str | None = None
        """The newest such request; None: not read yet, and what was asked for before is not ours to do."""
        LOST.set_function(lambda: len(self._lost) if election.leading else 0)
        POSTPONED.set_function(lambda: len(self._postponed) if election.leading else 0)

    async def show(self) -> None:
        """Write our own record for ever, into the bucket that the nodes renew in: as far as it is seen, theirs would be."""
        name, renewals = self._own_key, 0
        while True:
            began, renewals = self._clock(), renewals + 1
            with contextlib.suppress(NatsError, OSError, TimeoutError):
                await self._kv.bucket.put(name, self._own.model_copy(update={"renewals": renewals, "sent_at_s": began}))
            await asyncio.sleep(max(0.0, SHOW_EVERY_S - (self._clock() - began)))

    @property
    def _own_key(self) -> str:
        """One for each node, not for each pod: nobody would remove those of pods that are gone."""
        return key("arbiter", self._own.node)

    async def follow(self) -> None:
        """Every renewal by KV, as it comes; our own record is among them, so silence means that the watch is dead."""
        async for change in self._kv.bucket.watch(BLIND_AFTER_S):
            if change.value is None:
                self._forget(change.key)
                continue
            if change.key == self._own_key:
                self._see_own(change.value)
                continue
            node = change.value.node
            if change.key != key("node", node):
                continue  # a node tells of itself only; or another arbiter's own record
            self._leases[node] = change.value
            if self._revisions.get(node) != change.revision:  # a watch that starts over repeats what was known
                self._revisions[node] = change.revision
                if change.value.taken:  # by this arbiter, or by one before it, which may not have declared anything yet
                    self._seen_at.setdefault(node, self._clock())
                    continue
                self._sighting(node)

    def _see_own(self, record: NodeLease) -> None:
        """Counts from when it was sent, not from when it came: it may have waited while we stood still. Another replica on this
        node has the same clock, an earlier boot has not.
        """
        if record.boot_id == self._own.boot_id and record.sent_at_s <= self._clock():
            self._own_seen_at = max(self._own_seen_at, record.sent_at_s)

    async def follow_kubernetes(self) -> None:
        """Renewals by Kubernetes Lease; a listing that fails makes the arbiter blind, and it judges nobody."""
        while True:
            with contextlib.suppress(Exception):
                began = self._clock()
                versions = await self._kubernetes.versions()
                self._checked_at = began
                for node, version in versions.items():
                    if self._versions.get(node) != version:
                        self._versions[node] = version
                        self._sighting(node)
                self._note_force(self._kubernetes.forced_by)
            await asyncio.sleep(1.0)

    async def follow_nodes(self) -> None:
        """Which Nodes there are; the leader removes the leases of those that are not any more."""
        while True:
            with contextlib.suppress(Exception):  # what was known stays
                self._nodes = await self._kubernetes.nodes()
                for node in [node for node in self._leases if self._is_vestige(node)]:
                    await self._remove_lease(node)
            await asyncio.sleep(NODES_EVERY_S)

    def _is_vestige(self, node: str) -> bool:
        silent_s = self._clock() - self._seen_at[node]
        return self._election.leading and self.sees() and is_vestige(silent_s, there=self._exists(node))

    async def _remove_lease(self, node: str) -> None:
        """Only as it was when it was seen last."""
        await self._kubernetes.remove(node)
        if await self._kv.bucket.remove(key("node", node), self._revisions[node]):
            log().info("lease removed: there is no such node any more", lost_node=node)
            self._forget(key("node", node))

    def _forget(self, name: str) -> None:
        """name: the key of a lease that was removed."""
        for node in [node for node in self._leases if key("node", node) == name]:
            for known in (self._leases, self._seen_at, self._versions, self._revisions):
                known.pop(node, None)
            for judged in (self._lost, self._suspected, self._postponed):
                judged.pop(node, None)

    def _exists(self, node: str) -> bool:
        return self._nodes is None or node in self._nodes

    def _note_force(self, asked: str) -> None:
        """Of `reprise failover --force`: what is held back now is given up; what is lost later is judged by the rule again."""
        if self._forced_by is not None and asked not in ("", self._forced_by):
            log().warning("somebody overrides the brake", request=asked, nodes=sorted(self._postponed))
            self._forced |= self._postponed.keys()
            self._postponed = dict.fromkeys(self._postponed, 0.0)
        self._forced_by = asked

    def _sighting(self, node: str) -> None:
        self._seen_at[node] = self._clock()
        self._forced -= {node}
        self._postponed.pop(node, None)
        if node in self._lost:
            log().info("node returned", lost_node=node)
            del self._lost[node]

    async def run(self) -> None:
        """Each node by itself: one whose kubelet is asked, for a second, keeps no other waiting."""
        judging: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                judging = {node: task for node, task in judging.items() if not task.done()}
                if self.sees():
                    due = [node for node in self._leases if node not in judging and self._is_due(node)]
                    judging |= {node: asyncio.create_task(self._judge_alone(node)) for node in due}
                await asyncio.sleep(TICK_S)
        finally:
            for task in judging.values():
                task.cancel()

    def _is_due(self, node: str) -> bool:
        """Whether it is to be judged now. What the API server has no Node for any more runs nothing that is anybody's."""
        now = self._clock()
        if not self._exists(node) or now < max(self._lost.get(node, (0.0, 0))[0], self._postponed.get(node, 0.0)):
            return False
        if not self._is_silent(node):
            return False
        lease, silent_s = self._leases[node], now - self._seen_at[node]
        lost_after = lost_after_s(lease.freeze_s, lease.watchdog_s)
        if self._suspected.get(node) != lease.renewals and silent_s < lost_after:
            return True
        # Who does not lead only says what it suspects: the leader may have died with the node.
        return self._election.leading and silent_s >= lost_after - KUBELET_TIMEOUT_S

    def _is_silent(self, node: str) -> bool:
        """Whether it is lost, or may be in a moment."""
        lease = self._leases.get(node)
        return lease is not None and judge(_view(lease, self._clock() - self._seen_at[node])).verdict != "alive"

    async def _judge_alone(self, node: str) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await self._judge(node)
        except Exception as error:
            log().warning("a node could not be judged, trying again", lost_node=node, error=repr(error))
            await asyncio.sleep(1.0)

    def sees(self) -> bool:
        """Both ways of renewal are in view: who does not see its own record cannot say that a node's renewal is missing."""
        now = self._clock()
        return sees(now - self._own_seen_at, now - self._checked_at)

    async def _judge(self, node: str) -> None:
        lease = self._leases[node]
        judged = Judged(lease, self._revisions[node], self._versions.get(node, ""))
        silent_s = self._clock() - self._seen_at[node]
        verdict = judge(_view(lease, silent_s))
        if verdict.verdict == "ask-kubelet":
            reachable = await self._kubelet_answers(lease.host_ip)
            if not reachable and not await self._others_answer(node):
                raise NoKubeletAnswers
            silent_s = self._clock() - self._seen_at[node]
            verdict = judge(_view(lease, silent_s, reachable=reachable))
        if verdict.verdict == "suspected" and self.sees():
            self._suspect(lease, verdict.why)
        if verdict.verdict == "lost" and self._election.leading and self.sees():
            await self._give_up(judged, verdict.why, silent_s)

    def _suspect(self, lease: NodeLease, why: str) -> None:
        """Once, whoever says so. Not if most of the nodes look like that: then it is the network, or us, and making anything
        ready is a storm.
        """
        self._suspected[lease.node] = lease.renewals
        if 2 * sum(map(self._is_silent, self._leases)) > len(self._leases):
            return
        suspected = NodeSuspected(node=lease.node, workload=node_subject(lease.node), detail=why)
        self._announcer.announce(suspected, f"suspected-{lease.node}-{lease.boot_id}-{lease.renewals}")

    async def _others_answer(self, node: str) -> bool:
        """Whether a kubelet that is well would be heard here: a NetworkPolicy, or another port, would make each look dead, and an
        agent that is dead on a living node would be a lost node. Our own node's is asked only if no other node renews: no
        NetworkPolicy is in the way there.
        """
        own, now = self._own.node, self._clock()
        renew = [other for other in self._leases if other not in (node, own) and now - self._seen_at[other] < BLIND_AFTER_S]
        asked = sorted(renew, key=self._seen_at.__getitem__)[-WITNESSES:] or [own] * (own in self._leases)
        return any(await asyncio.gather(*(self._kubelet_answers(self._leases[other].host_ip) for other in asked)))

    async def _kubelet_answers(self, host_ip: str) -> bool:
        try:
            async with asyncio.timeout(KUBELET_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host_ip, self._kubelet_port)
            writer.close()
            return True
        except (OSError, TimeoutError):
            return False

    async def _give_up(self, judged: Judged, why: str, silent_s: float) -> None:
        """First the fences are read, then the lease is taken away: who thawed meanwhile has renewed before, which is seen; who
        will thaw later is stopped.
        """
        lease, node = judged.lease, judged.lease.node
        pods = await protected_on(self._api, node)
        if held_back := await self._held_back(node, len(pods)):
            self._postpone(node, f"{why}. {held_back}")
            return
        revisions = {pod.uid: await number(self._fences, pod.uid) for pod in pods}
        if not await self._take_away(judged):
            self._sighting(node)  # its renewal is on its way to us
            return
        self._forced -= {node}
        self._postponed.pop(node, None)
        repeats = self._lost.get(node, (0.0, -1))[1] + 1
        self._lost[node] = (self._clock() + repeat_after_s(repeats), repeats)
        if not repeats:
            log().warning("node lost", lost_node=node, why=why, pods=len(pods))
            lost = NodeLost(node=node, workload=node_subject(node), detail=why)
            self._announcer.announce(lost, f"lost-{node}-{lease.boot_id}-{lease.renewals}")
        for pod in pods:
            if not pod.deleting:
                self._declare(pod, why, silent_s, revisions[pod.uid], f"{lease.renewals}-{repeats}")

    async def _held_back(self, node: str, pods: int) -> str:
        async def whole() -> Whole:
            return Whole(sum(map(self._exists, self._leases)), len(await protected_on(self._api)))

        return await self._brake.enter(node, pods, whole, self._is_silent, self._nodes, forced=node in self._forced)

    def _postpone(self, node: str, why: str) -> None:
        told, lease = node in self._postponed, self._leases[node]
        self._postponed[node] = self._clock() + FIRST_REPEAT_S
        if not told:
            detail = f"{why}. `kubectl reprise failover --force` overrides that"
            log().error("a lost node is not given up: too much would be failed over at once", lost_node=node, why=why)
            postponed = NodePostponed(node=node, workload=node_subject(node), detail=detail)
            self._announcer.announce(postponed, f"postponed-{node}-{lease.boot_id}-{lease.renewals}")

    async def _take_away(self, judged: Judged) -> bool:
        """By both ways: from now on a renewal by either is refused, until the node has frozen what it runs. False: it renewed."""
        revision = await self._kv.take(judged.lease, judged.revision)
        if revision is None or not await self._kubernetes.take(judged.lease, judged.version):
            return False
        self._revisions[judged.lease.node] = revision
        self._leases[judged.lease.node] = judged.lease.model_copy(update={"taken": True})
        return True

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
