"""The fence of a failed pod: who may run its containers. Taken before anything is started elsewhere (I1)."""

from reprise.contracts.records import Fence
from reprise.restorer import decide
from reprise.restorer.model import Saga, Stop
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key


class Fences:
    """Changed by compare-and-set only."""

    def __init__(self, bus: Bus) -> None:
        self._bucket = Bucket(bus, "fences", Fence)

    async def take(self, saga: Saga) -> Stop | None:
        """None once it is this failover's."""
        name = key(saga.target.pod_uid)
        mine = Fence(pod_uid=saga.target.pod_uid, holder="restorer", failover_id=saga.failover_id)
        while True:
            entry = await self._bucket.get(name)
            held, revision = (entry.value, entry.revision) if entry else (None, 0)
            if stop := decide.may_take(held, revision, saga):
                return stop
            if held and held.holder == "restorer":
                return None
            if await (self._bucket.update(name, mine, revision) if revision else self._bucket.create(name, mine)):
                return None

    async def let_go(self, saga: Saga) -> int:
        """The old instance may run again, if its node returns. Returns the fence's revision that this failover knows."""
        name = key(saga.target.pod_uid)
        while True:
            entry = await self._bucket.get(name)
            if entry is None or entry.value.failover_id != saga.failover_id:
                return saga.fence_revision
            if entry.value.holder == "nobody":
                return entry.revision
            free = Fence(pod_uid=saga.target.pod_uid, holder="nobody", failover_id=saga.failover_id)
            revision = await self._bucket.update(name, free, entry.revision)
            if revision is not None:
                return revision

    async def others(self, saga: Saga) -> str:
        """Another failover that has the pod's fence; empty if none."""
        entry = await self._bucket.get(key(saga.target.pod_uid))
        other = entry is not None and entry.value.holder == "restorer" and entry.value.failover_id != saga.failover_id
        return entry.value.failover_id if entry and other else ""

    async def ours(self, saga: Saga) -> Stop | None:
        """Whether it still is this failover's."""
        entry = await self._bucket.get(key(saga.target.pod_uid))
        if entry and (entry.value.holder, entry.value.failover_id) == ("restorer", saga.failover_id):
            return None
        return Stop("FenceLost", "somebody else wrote the pod's fence", "nothing", "hand-over")
