"""The fence of a failed pod: who may run its containers. Taken before anything is started elsewhere (I1)."""

import asyncio

from pydantic import BaseModel
from reprise.contracts.records import Fence, next_number
from reprise.restorer import decide
from reprise.restorer.model import Saga, Stop
from reprise.runtime.bus import Bus
from reprise.runtime.kv import Bucket, key

SETTLED_S = 3.0
"""Of a NATS without replicas: only after so long its leases are of now, whatever it was set back to."""


class Given(BaseModel):
    """Of a node's lease, what counts here. taken: the arbiter took it away; None: an older version's agent wrote it."""

    taken: bool | None = None


class Fences:
    """Changed by compare-and-set only."""

    def __init__(self, bus: Bus) -> None:
        self._bus, self._bucket = bus, Bucket(bus, "fences", Fence)
        self._leases = Bucket(bus, "leases", Given)

    async def take(self, saga: Saga) -> Stop | None:
        """None once it is this failover's."""
        name = key(saga.target.pod_uid)
        if saga.cause == "node-loss" and (stop := await self._returned(saga)):
            return stop
        while True:
            entry = await self._bucket.get(name)
            held, revision = (entry.value, entry.revision) if entry else (None, 0)
            number = held.named(revision) if held else 0
            mine = Fence(
                pod_uid=saga.target.pod_uid, holder="restorer", failover_id=saga.failover_id, number=next_number(number)
            )  # fmt: skip
            if stop := decide.may_take(held, number, saga):
                return stop
            if held and held.holder == "restorer":
                return None
            if await (self._bucket.update(name, mine, revision) if revision else self._bucket.create(name, mine)):
                return None

    async def let_go(self, saga: Saga) -> int:
        """The old instance may run again, if its node returns. Returns the fence's number that this failover knows."""
        name = key(saga.target.pod_uid)
        while True:
            entry = await self._bucket.get(name)
            if entry is None or entry.value.failover_id != saga.failover_id:
                return saga.fence_revision
            number = entry.value.named(entry.revision)
            if entry.value.holder == "nobody":
                return number
            free = Fence(
                pod_uid=saga.target.pod_uid, holder="nobody", failover_id=saga.failover_id, number=next_number(number)
            )  # fmt: skip
            if await self._bucket.update(name, free, entry.revision) is not None:
                return free.number

    async def _returned(self, saga: Saga) -> Stop | None:
        """Whether the node holds its lease again, whatever the fence says: NATS may have been set back to before the node wrote
        that. A node that runs renews each second; in a NATS that has just come up it has, after a while.
        """
        if self._bus.storage.replicas == 1:
            await asyncio.sleep(max(0.0, SETTLED_S - self._bus.connected_s))
        entry = await self._leases.get(key("node", saga.target.node))
        if entry is None or entry.value.taken is not False:
            return None
        message = "the node came back first and holds its lease"
        return Stop("NodeReturned", message, "nothing: it is tried again if the node is lost again", "step-aside", later=True)

    async def renewed(self, node: str, since: int) -> bool:
        """Whether the node has renewed its lease; since: its revision(). False too if the arbiter has taken it away."""
        entry = await self._leases.get(key("node", node))
        return entry is not None and entry.revision != since and entry.value.taken is not True

    async def revision(self, node: str) -> int:
        """Of the node's lease; 0: it has none."""
        entry = await self._leases.get(key("node", node))
        return entry.revision if entry else 0

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
