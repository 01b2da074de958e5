"""The world of a restorer in memory, for tests of its failovers: cluster, nodes, store and NATS outlive each replica."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from reprise.contracts.events import Event
from reprise.contracts.model import Target, Workload, checkpoint_id, elsewhere_id, failover_id
from reprise.contracts.records import Fence, HoldRecord, StartRecord
from reprise.restorer.model import Good, Need, NodeView, PodView, Recovery, Saga
from reprise.restorer.room import Room, Timeouts
from reprise.restorer.saga import SagaRunner
from reprise.restorer.starts import Starts
from reprise.restorer.testing import BLANK, OWNER, MemoryCluster, MemoryNodes, MemoryStore
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
OLD = PodView("u1", "counter-1", False, "counter:1", "c1", "ReplicaSet", OWNER, wanted=1)
N1 = NodeView("n1", ready=False, schedulable=True, architecture="amd64", protected_pods=1)
N2 = NodeView("n2", ready=True, schedulable=True, architecture="amd64", protected_pods=0)
GOOD = tuple(Good(f"ck{n}", Need(), container_id="c0", pod_uid="u1") for n in (3, 2, 1))


AT = datetime(2026, 1, 1, tzinfo=UTC)
LAST = checkpoint_id("u1", "counter", AT)
"""The last checkpoint of what is moved."""


class Killed(BaseException):
    """kill -9: nothing in the service may catch it."""


CAUSES = {
    "in-place": "crash", "shadow": "node-loss", "move": "move", "restore": "restore",
    "stateful": "node-loss", "stateful move": "move", "bare": "node-loss", "bare move": "move",
    "elsewhere": "crash", "stateful elsewhere": "hang",
}  # fmt: skip
OWNERS = {"stateful": ("StatefulSet", "counter"), "bare": ("", "")}
"""Of the pod; else it is a ReplicaSet's."""


class World:
    """Everything that outlives a restorer."""

    def __init__(self, path: str) -> None:
        self.server, self.cause = MemoryServer(), CAUSES[path]
        self.store = MemoryStore(GOOD)
        self.cluster = MemoryCluster(self.store, (N1, N2), self.server)
        self.target = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")
        kind, name = OWNERS.get(path.split(maxsplit=1)[0], ("ReplicaSet", OWNER))
        old = self.cluster.add(replace(OLD, owner_kind=kind, owner_name=name, node="n1"), "n1")
        self.cluster.slots["n1"] = ["ck3", "ck2"]
        self.nodes = MemoryNodes(self.server, self.cluster, "counter-1")
        self.wanted = "ck2" if path == "restore" else ""
        self.elsewhere = path.endswith("elsewhere")
        """It was restored from ck3 in place, and ended again."""
        if self.cause in ("move", "restore"):
            old.came_of = "running"
        self.restarts = path == "in-place"
        self.calls: list[str] = []
        self.cut_at = -1

    async def _on_call(self, when: str, what: str) -> None:
        self.calls.append(f"{when} {what}")
        if len(self.calls) - 1 == self.cut_at:
            raise Killed(self.calls[-1])
        await self.nodes.act()

    async def begin(self) -> None:
        """What has happened before anybody declared anything."""
        starts = Bucket(MemoryBus(self.server), "starts", StartRecord)
        if await starts.get("c1") is None:
            await starts.put("c1", StartRecord(container_id="c1", pod_uid="u1", container="counter", outcome="blank"))
        if self.elsewhere and not self.calls:
            self.nodes.holds_back = name = elsewhere_id(self.target)
            await Bucket(MemoryBus(self.server), "holds", HoldRecord).put(name, HoldRecord(failover_id=name, state="begun"))
        if self.restarts:
            self.restarts = False
            await self.cluster.start("counter-1", "counter")  # the kubelet's own restart needs none of us

    def saga(self, **fields: object) -> Saga:
        name = failover_id(self.target, node_lost=self.cause == "node-loss")
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(fields.pop("judged", 0)))  # type: ignore[call-overload]
        if self.elsewhere:
            name, fields = elsewhere_id(self.target), fields | {"elsewhere": True, "restored_from": "ck3"}
        asked = {"failover_id": name, "target": self.target, "cause": self.cause, "declared_at": at, "wanted": self.wanted}
        return Saga.model_validate({"workload": WORKLOAD} | asked | fields)

    @contextlib.asynccontextmanager
    async def runner(self) -> AsyncIterator[SagaRunner]:
        self.store.on_call = self.cluster.on_call = self._on_call
        starts = Starts(MemoryBus(self.server))
        following = asyncio.create_task(starts.run())
        bus = MemoryBus(self.server, self._on_call)
        try:
            yield SagaRunner(
                Room(bus, self.cluster, self.cluster, self.store, starts, Timeouts(verify_s=0.3, adopt_s=5, stage_s=0.1))
            )
        finally:
            following.cancel()

    async def run(self, cuts: tuple[int, ...] = (), **fields: object) -> Saga:
        """Deliver the declaration until it is settled; each replica is killed at its cut, counted in its own calls."""
        await self.begin()
        for cut in (*cuts, -1):
            self.calls, self.cut_at = [], cut
            async with self.runner() as runner:
                with contextlib.suppress(Killed):
                    return await runner.run(self.saga(**dict(fields)))
        raise AssertionError("unreachable")

    async def fence(self) -> Fence | None:
        """Without its number, which is another in each history."""
        entry = await Bucket(MemoryBus(self.server), "fences", Fence).get("u1")
        return entry.value.model_copy(update={"number": 0}) if entry else None

    async def recovery(self) -> Recovery:
        entry = await Bucket(MemoryBus(self.server), "recoveries", Recovery).get(container_key(WORKLOAD, "counter"))
        assert entry
        return entry.value

    def told(self) -> list[str]:
        return [event.TYPE for event in self.server.events.values()]

    def last(self, kind: str) -> Event:
        return [event for event in self.server.events.values() if kind == event.TYPE][-1]


@dataclass
class End:
    """What must be the same however often it was interrupted."""

    saga: Saga
    serving: list[str]
    told: list[str]
    pods: set[str]
    fence: Fence | None
    resumes: list[str]
    """What agents are still told of next pods."""


async def end_of(world: World, saga: Saga) -> End:
    resumes = [name for name, row in world.server.buckets.get("resumes", {}).items() if not row.deleted]
    assert not world.cluster.off, "the scheduler is kept off a node for good"
    serving, told = world.cluster.serving(), sorted(world.server.events)
    return End(saga, serving, told, set(world.cluster.pods), await world.fence(), resumes)


Prepare = Callable[[World], None]


def nothing(_world: World) -> None: ...


def poisoned(world: World) -> None:
    world.store.poison = frozenset({"ck3"})


def hopeless(world: World) -> None:
    world.store.poison = frozenset({"ck3", "ck2", "ck1", LAST})


def never_checkpointed(world: World) -> None:
    world.store.good_ones, world.cluster.slots = (), {}


def it_never_serves(world: World) -> None:
    world.store.mute = frozenset({"ck3", LAST})


def its_node_cannot_hold_it(world: World) -> None:
    world.nodes.unheld = "CannotHold"


def it_gets_nowhere(world: World) -> None:
    world.nodes.away = frozenset({"n1", "n2"})


def what_is_wanted_is_poisoned(world: World) -> None:
    world.store.poison = frozenset({"ck2"})


def what_is_wanted_is_gone(world: World) -> None:
    world.wanted = "ck0"


def no_standby(world: World) -> None:
    world.cluster.listed = (N1,)


def deleted(world: World) -> None:
    world.cluster.change("counter-1", deleting=True)


def the_controller_is_faster(world: World) -> None:
    """A StatefulSet's next pod was put back on the node that it is to leave, then on one that nobody meant."""
    world.cluster.listed = (N1, N2, replace(N2, name="n3", protected_pods=7))
    world.cluster.scheduled = ["n1", "n3"]


def its_pod_would_not_be_accepted(world: World) -> None:
    world.cluster.refuses = "Forbidden: no such service account"


def the_other_node_gets_nothing(world: World) -> None:
    the_controller_is_faster(world)
    world.nodes.away = frozenset({"n3"})


CASES: list[tuple[str, Prepare, str, list[str]]] = [
    ("in-place", nothing, "complete", ["ck3"]),
    ("in-place", poisoned, "complete", ["ck2"]),
    ("in-place", hopeless, "abandoned", [BLANK]),
    ("in-place", never_checkpointed, "abandoned", [BLANK]),
    ("in-place", it_never_serves, "abandoned", ["ck3"]),
    ("shadow", nothing, "complete", ["ck3"]),
    ("shadow", poisoned, "complete", ["ck2"]),
    ("shadow", hopeless, "abandoned", []),
    ("shadow", it_never_serves, "complete", ["ck3"]),
    ("shadow", never_checkpointed, "abandoned", []),
    ("shadow", it_gets_nowhere, "wait", []),
    ("shadow", no_standby, "wait", []),
    ("shadow", deleted, "abandoned", []),
    ("move", nothing, "complete", [LAST]),
    ("move", hopeless, "abandoned", ["running"]),
    ("move", it_never_serves, "complete", [LAST]),
    ("move", it_gets_nowhere, "abandoned", ["running"]),
    ("move", its_node_cannot_hold_it, "abandoned", ["running"]),
    ("move", no_standby, "abandoned", ["running"]),
    ("move", deleted, "abandoned", ["running"]),
    ("restore", nothing, "complete", ["ck2"]),
    ("restore", what_is_wanted_is_poisoned, "complete", ["ck3"]),
    ("restore", hopeless, "abandoned", [BLANK]),
    ("restore", it_gets_nowhere, "abandoned", ["running"]),
    ("restore", what_is_wanted_is_gone, "abandoned", ["running"]),
    ("restore", deleted, "abandoned", ["running"]),
    ("stateful", nothing, "complete", ["ck3"]),
    ("stateful", the_controller_is_faster, "complete", ["ck3"]),
    ("stateful", the_other_node_gets_nothing, "abandoned", [BLANK]),
    ("stateful", poisoned, "complete", ["ck2"]),
    ("stateful", hopeless, "abandoned", [BLANK]),
    ("stateful", it_never_serves, "complete", ["ck3"]),
    ("stateful", never_checkpointed, "abandoned", []),
    ("stateful", it_gets_nowhere, "wait", []),
    ("stateful", no_standby, "wait", []),
    ("stateful", deleted, "abandoned", []),
    ("stateful move", nothing, "complete", [LAST]),
    ("stateful move", the_controller_is_faster, "complete", [LAST]),
    ("stateful move", poisoned, "complete", [LAST]),
    ("stateful move", hopeless, "abandoned", [BLANK]),
    ("stateful move", it_gets_nowhere, "abandoned", ["running"]),
    ("stateful move", its_node_cannot_hold_it, "abandoned", ["running"]),
    ("bare", nothing, "complete", ["ck3"]),
    ("shadow", its_pod_would_not_be_accepted, "wait", []),
    ("move", its_pod_would_not_be_accepted, "abandoned", ["running"]),
    ("bare", its_pod_would_not_be_accepted, "wait", []),
    ("bare move", its_pod_would_not_be_accepted, "abandoned", ["running"]),
    ("bare", hopeless, "abandoned", [BLANK]),
    ("bare", deleted, "abandoned", []),
    ("bare move", nothing, "complete", [LAST]),
    ("elsewhere", nothing, "complete", ["ck2"]),
    ("elsewhere", hopeless, "abandoned", [BLANK]),
    ("elsewhere", never_checkpointed, "abandoned", [BLANK]),
    ("elsewhere", no_standby, "complete", ["ck3"]),
    ("elsewhere", it_gets_nowhere, "complete", ["ck3"]),
    ("elsewhere", its_pod_would_not_be_accepted, "complete", ["ck3"]),
    ("elsewhere", deleted, "abandoned", []),
    ("stateful elsewhere", nothing, "complete", ["ck2"]),
    ("stateful elsewhere", no_standby, "complete", ["ck3"]),
]
NAMES = [f"{path}, {prepare.__name__}" for path, prepare, *_ in CASES]
