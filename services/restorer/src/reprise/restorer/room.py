"""What every step of a failover works with: the ports, the records in KV, and one look at what is so now."""

from collections.abc import Callable
from dataclasses import dataclass

from reprise.contracts.model import Workload
from reprise.contracts.records import NOTHING_WANTED, ResumeRecord, RollbackRecord
from reprise.restorer import decide
from reprise.restorer.fences import Fences
from reprise.restorer.model import Recovery, Saga, Standby, Stop
from reprise.restorer.moving import LastCheckpoint
from reprise.restorer.ports import Checkpoints, Cluster, Taints
from reprise.restorer.starts import Starts
from reprise.restorer.tell import Tell
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, container_key, key

POLL_S = 0.02
"""Of what costs nobody anything: a record in memory, or one of NATS."""
LIFE_S = 0.05
"""Of what asks the API server and the restored process itself."""
LOOK_S = 1.0
"""How often the world is looked at again while something is waited for."""


class Abandon(Exception):
    """The attempt cannot go on; carries the reason to tell."""

    def __init__(self, stop: Stop) -> None:
        super().__init__(stop.message)
        self.stop = stop


@dataclass(frozen=True)
class Timeouts:
    """In seconds."""

    verify_s: float = 90.0
    adopt_s: float = 30.0
    stage_s: float = 20.0
    prepare_s: float = 600.0


class Room:
    """One for each replica."""

    def __init__(
        self, bus: Bus, cluster: Cluster, taints: Taints, checkpoints: Checkpoints, starts: Starts, timeouts: Timeouts
    ) -> None:
        self.bus, self.cluster, self.taints, self.checkpoints, self.starts = bus, cluster, taints, checkpoints, starts
        self.timeouts = timeouts
        self.tell, self.fences, self.last = Tell(bus), Fences(bus), LastCheckpoint(bus, checkpoints)
        self.standbys = Bucket(bus, "standby", Standby, instead=Standby())
        self.recoveries = Bucket(bus, "recoveries", Recovery, instead=Recovery())
        self.wanted = Bucket(bus, "wanted", RollbackRecord, instead=NOTHING_WANTED)
        self.resumes = Bucket(bus, "resumes", ResumeRecord)

    async def sight(self, saga: Saga) -> Stop | None:
        """Whether what is so now still lets this failover act."""
        pod = await self.cluster.pod(saga.workload.namespace, saga.target.pod, saga.target.container)
        if saga.unfenced and saga.planned and (stop := decide.changed(saga.target, pod)):
            return stop
        if saga.moves and not saga.unfenced and (stop := await self.fences.ours(saga)):
            return stop
        acts = saga.cause not in ("crash", "hang") or saga.elsewhere
        return decide.may_go_on(saga.target, pod, acts=acts, fenced_by=await self.fences.others(saga))

    async def take_fence(self, saga: Saga) -> Stop | None:
        """None once this failover has its pod. NATS decides; then it is written on the pod too: NATS can be set back, by a power
        loss or a restored disk, and the node would be told that nobody has its pod.
        """
        if stop := await self.fences.take(saga):
            return stop
        holder = await self.cluster.fence(saga.target, saga.workload.namespace, saga.failover_id)
        if holder != saga.failover_id:
            return Stop("OtherFailover", f"failover {holder} has the pod", "nothing", "hand-over")
        return await self.fences.ours(saga)

    async def let_go(self, saga: Saga) -> int:
        """The old instance may run again, if its node returns. Returns the fence's number that this failover knows."""
        if saga.moves:
            await self.cluster.unfence(saga.target, saga.workload.namespace, saga.failover_id)
        return await self.fences.let_go(saga)

    async def look(self, saga: Saga) -> None:
        """Raises Abandon."""
        if stop := await self.sight(saga):
            raise Abandon(stop)

    async def standby(self, pod_uid: str, container: str) -> Standby:
        """pod_uid: whose checkpoints."""
        entry = await self.standbys.get(key(pod_uid, container))
        return entry.value if entry else Standby()

    async def recovery(self, saga: Saga) -> Recovery:
        entry = await self.recoveries.get(container_key(saga.workload, saga.target.container))
        return entry.value if entry else Recovery()

    async def note(self, workload: Workload, container: str, change: Callable[[Recovery], Recovery]) -> None:
        """Change what is not to be restored any more; another failover of it may do so at once."""
        name = container_key(workload, container)
        while True:
            entry = await self.recoveries.get(name)
            before = entry.value if entry else Recovery()
            after = change(before)
            if after == before:
                return
            if await (self.recoveries.update(name, after, entry.revision) if entry else self.recoveries.create(name, after)):
                return
