"""What is protected on a cordoned node is moved by itself; and until it is, or cannot be, Kubernetes may not evict it.

A guard is a PodDisruptionBudget that allows no eviction: `kubectl drain` waits at it, and finds the pod gone once it has been
moved. What cannot be moved is checkpointed and then let go of, with the reason: a guard never holds a cordoned node for ever.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nats.errors import Error as NatsError
from reprise.contracts.errors import RepriseError
from reprise.contracts.events import CheckpointDue
from reprise.contracts.model import checkpoint_id, move_id
from reprise.restorer import decide
from reprise.restorer.model import Saga
from reprise.restorer.ports import Budgets, Cluster
from reprise.restorer.requests import Requests
from reprise.runtime.bus import Bus
from reprise.runtime.kube import EventRecorder, ProtectedPod, ProtectedPods
from reprise.runtime.kv import Bucket, key
from reprise.runtime.telemetry import log
from reprise.runtime.unreadable import UnreadableRecord

LOOK_S = 1.0
AGAIN_S = 60.0
"""After a move that did not succeed: what was missing may have come."""
STORED_S = 30.0


@dataclass
class Try:
    """Moves of one pod off its cordoned node. number: of the current one; again_at: when the next may begin."""

    number: int = 0
    again_at: float = 0.0
    let_go: bool = False


class Cordons:
    """leads: whether this replica is the one that looks."""

    def __init__(
        self,
        bus: Bus,
        pods: ProtectedPods,
        cluster: Cluster,
        budgets: Budgets,
        requests: Requests,
        recorder: EventRecorder,
        leads: Callable[[], bool],
    ) -> None:
        self._bus, self._pods, self._cluster, self._budgets = bus, pods, cluster, budgets
        self._requests, self._recorder, self._leads = requests, recorder, leads
        self._sagas = Bucket(bus, "failovers", Saga)
        self._tries: dict[str, Try] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if not (self._leads() and self._pods.synced):
                self._tries.clear()
                continue
            try:
                await self.look()
            except (RepriseError, NatsError, OSError, TimeoutError) as error:
                log().warning("cannot look after cordoned nodes, trying again", error=repr(error))

    async def look(self) -> None:
        """Guards are as they should be, and each protected pod of a cordoned node is being moved."""
        cordoned = await self._cluster.cordoned()
        here = [pod for pod in self._pods.pods.values() if pod.node in cordoned and not pod.deleting]
        for uid in self._tries.keys() - {pod.uid for pod in here}:
            del self._tries[uid]
        await asyncio.gather(*(self._off(pod) for pod in here))
        await self._guard(cordoned)

    async def _off(self, pod: ProtectedPod) -> None:
        attempt = self._tries.setdefault(pod.uid, Try())
        clock = asyncio.get_running_loop().time()
        why_not = decide.refusal(pod.workload, {pod.name: len(pod.containers)})
        if why_not:
            if not attempt.let_go:
                message = f"cordon of {pod.node}: pod {pod.name} not moved: {why_not}"
                await self._recorder.record(pod.workload, "Warning", "MoveRefused", message)
            await self._let_go(pod, attempt, why_not)
            return
        if not pod.containers[0].running or clock < attempt.again_at:
            return
        request = f"cordon-{pod.uid}-{attempt.number}"
        try:
            entry = await self._sagas.get(key(move_id(pod.workload, pod.containers[0].name, request)))
        except UnreadableRecord:
            return  # the other pods do not wait for it
        if entry is None:
            await self._requests.declare(pod, decide.Asked(request, "", f"its node {pod.node} is cordoned"))
        elif entry.value.step == "abandoned":
            stop = entry.value.attempt.stop
            never = stop is not None and stop.reason in ("OwnerNotSupported", "NotMovable")
            attempt.number, attempt.again_at = attempt.number + 1, float("inf") if never else clock + AGAIN_S
            await self._let_go(pod, attempt, entry.value.why)

    async def _let_go(self, pod: ProtectedPod, attempt: Try, why: str) -> None:
        """Its state is in the store first, if it can be got there; then it may be evicted."""
        if attempt.let_go:
            return
        attempt.let_go = True
        stored = await self._checkpoint(pod)
        if pod.workload.kind != "Deployment" or not await self._budgets.set(pod.workload, allows=True):
            return  # nothing holds it back
        state = f"its state is in the store ({stored})" if stored else "its newest state could not be stored"
        message = f"{pod.name} may be evicted from {pod.node} now: it cannot be moved: {why}; {state}; its successor starts cold"
        await self._recorder.record(pod.workload, "Warning", "GuardReleased", message)

    async def _checkpoint(self, pod: ProtectedPod) -> str:
        """The id of one that was taken now; empty if none was in time."""
        container = pod.containers[0]
        at = await self._requests.next_due(pod.workload, container.name)
        name = checkpoint_id(pod.uid, container.name, at)
        due = CheckpointDue(
            node=pod.node, workload=pod.workload, checkpoint_id=name, target=pod.target(container), trigger="drain", due_at=at,
            interval_s=pod.policy.interval_s, keep=pod.policy.keep,
        )  # fmt: skip
        await self._bus.publish(due, dedup_id=f"due-{name}")
        end = asyncio.get_running_loop().time() + STORED_S
        while asyncio.get_running_loop().time() < end:
            if await self._requests.is_stored(pod.workload, container.name, name):
                return name
            await asyncio.sleep(LOOK_S)
        return ""

    async def _guard(self, cordoned: frozenset[str]) -> None:
        """A guard for each protected Deployment that has a pod; what was let go of is held again once it is off that node."""
        pods = [pod for pod in self._pods.pods.values() if pod.workload.kind == "Deployment" and not pod.deleting]
        wanted = {pod.workload for pod in pods if pod.policy.guard}
        free = {pod.workload for pod in pods if pod.node in cordoned and (self._tries.get(pod.uid) or Try()).let_go}
        present = await self._budgets.guards()
        for workload in wanted - present.keys():
            await self._budgets.create(workload)
        for workload, allows in present.items():
            if workload not in wanted and workload not in free:
                await self._budgets.remove(workload)
            elif allows and workload not in free:
                await self._budgets.set(workload, allows=False)
