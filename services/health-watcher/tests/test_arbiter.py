"""Many nodes at once, before the real arbiter on virtual time: no loss waits for another's, and a storm is braked."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from reprise.contracts.annotations import Policy
from reprise.contracts.events import Event, FailoverDeclared, NodeLost, NodePostponed, NodeSuspected
from reprise.contracts.model import Workload
from reprise.contracts.records import Fence
from reprise.health_watcher import arbiter
from reprise.health_watcher.adapters.leases import KvLeases
from reprise.health_watcher.announce import Announcer
from reprise.health_watcher.brake import Account, Brake
from reprise.health_watcher.decide import BLIND_AFTER_S, LEAD_S, lost_after_s
from reprise.health_watcher.model import NodeLease
from reprise.runtime import election
from reprise.runtime.election import Election, longest_gap_s
from reprise.runtime.kube import ProtectedContainer, ProtectedPod
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer
from virtual import VirtualLoop

OWN = "n0"
LEADS = SimpleNamespace(leading=True)


def clock() -> float:
    return 1000.0 + asyncio.get_running_loop().time()


class Cluster:
    """Nodes that renew until they are cut; one protected pod on each that is asked for."""

    def __init__(self, nodes: int, *, protected: tuple[str, ...] = ()) -> None:
        self.server, self.forced_by, self.asked = MemoryServer(), "", 0
        self.there = {f"n{number}" for number in range(nodes)}
        self.names = sorted(self.there)
        self.protected, self.cut, self.removed = protected, dict[str, float](), set[str]()
        self.silent_kubelets = set[str]()

    def events(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.server.events.values() if isinstance(event, kind)]

    def given_up(self) -> set[str]:
        return {event.node for event in self.events(NodeLost)}

    def arbiter(self, node: str = OWN, leads: Any = LEADS) -> arbiter.Arbiter:
        bus, here = MemoryBus(self.server), cast(Any, self)
        brake = Brake(Bucket(bus, "brake", Account), 0.5, 60.0, clock)
        own = NodeLease(node=node, host_ip="", boot_id="b", renewals=0, can_freeze=False)
        judge = arbiter.Arbiter(
            leads, KvLeases(bus), here, Bucket(bus, "fences", Fence), here, Announcer(bus), 0, own, brake, clock
        )  # fmt: skip
        judge._kubelet_answers = self.answers  # type: ignore[method-assign]
        return judge

    async def answers(self, host_ip: str) -> bool:
        """A node that is gone does not even refuse."""
        self.asked += 1
        if host_ip not in self.silent_kubelets and asyncio.get_running_loop().time() < self.cut.get(host_ip, float("inf")):
            return True
        await asyncio.sleep(arbiter.KUBELET_TIMEOUT_S)
        return False

    async def renewals(self) -> None:
        bucket, count = Bucket(MemoryBus(self.server), "leases", NodeLease), 0
        while True:
            count += 1
            now = asyncio.get_running_loop().time()
            for name in self.names:
                if now < self.cut.get(name, float("inf")):
                    lease = NodeLease(node=name, host_ip=name, boot_id="b", renewals=count, can_freeze=True, sent_at_s=clock())
                    await bucket.put(f"node.{name}", lease)
            await asyncio.sleep(1.0)

    # The API server.
    async def versions(self) -> dict[str, str]:
        return {}

    async def take(self, lease: NodeLease, version: str) -> bool:
        return True

    async def nodes(self) -> frozenset[str]:
        return frozenset(self.there)

    async def remove(self, node: str) -> None:
        self.removed.add(node)

    def pods(self, node: str = "") -> list[ProtectedPod]:
        def pod(name: str) -> ProtectedPod:
            workload = Workload(namespace="default", name=f"app-{name}")
            containers = (ProtectedContainer("app", "app:1", container_id="c", running=True),)
            return ProtectedPod(workload, Policy(mode="criu"), "default", f"app-{name}", f"u-{name}", name, "", "", "Running",
                                False, containers)  # fmt: skip

        return [pod(name) for name in self.protected if node in ("", name)]


def begin(judge: arbiter.Arbiter) -> asyncio.Future[Any]:
    """All parts of it; cancelled, it is killed."""
    return asyncio.gather(judge.show(), judge.follow(), judge.follow_kubernetes(), judge.follow_nodes(), judge.run())


def play(cluster: Cluster, scene: Callable[[], Awaitable[None]], *, alone: bool = True) -> None:
    """alone: with one arbiter, which leads; else the scene begins those that there are."""

    async def whole() -> None:
        tasks = [asyncio.ensure_future(cluster.renewals()), *([begin(cluster.arbiter())] if alone else [])]
        await scene()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = VirtualLoop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(arbiter, "protected_on", _protected_on)
            patch.setattr(election, "boottime_s", clock)
            loop.run_until_complete(whole())
    finally:
        loop.close()
        structlog.reset_defaults()


async def _protected_on(api: Any, node: str = "") -> list[ProtectedPod]:
    return cast(Cluster, api).pods(node)


async def until(what: Callable[[], object], within_s: float) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not what():
        assert loop.time() - began < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.05)
    return loop.time() - began


def test_sixty_vanished_nodes_keep_no_real_loss_waiting() -> None:
    """They were judged one after another, a second each."""
    cluster = Cluster(140, protected=("n139",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = dict.fromkeys((f"n{number}" for number in range(1, 61)), 5.0)
        await asyncio.sleep(20)
        cluster.cut["n139"] = 25.0
        await until(lambda: cluster.events(FailoverDeclared), lost_after_s(0.0) + 3)

    play(cluster, scene)


def test_a_lease_of_a_node_that_was_deleted_is_removed_and_is_not_judged() -> None:
    cluster = Cluster(4, protected=("n3",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.there -= {"n1", "n2"}
        await asyncio.sleep(10)
        cluster.cut = {"n1": 15.0, "n2": 15.0}
        await until(lambda: not cluster.server.buckets["leases"]["node.n1"].deleted, 1)
        await until(lambda: cluster.server.buckets["leases"]["node.n1"].deleted, 90)
        assert cluster.removed == {"n1", "n2"}
        assert cluster.given_up() == set()
        cluster.cut["n3"] = 0.0
        await until(lambda: cluster.events(FailoverDeclared), lost_after_s(0.0) + 3)

    play(cluster, scene)


def test_a_lease_of_a_deleted_node_that_is_still_renewed_stays() -> None:
    cluster = Cluster(3)

    async def scene() -> None:
        cluster.there -= {"n1"}
        await asyncio.sleep(120)
        assert not cluster.server.buckets["leases"]["node.n1"].deleted
        assert not cluster.removed

    play(cluster, scene)


def test_beyond_half_of_the_nodes_the_arbiter_waits_and_says_so_until_somebody_forces_it() -> None:
    cluster = Cluster(6, protected=("n1", "n2", "n3", "n4"))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = dict.fromkeys(("n1", "n2", "n3", "n4"), 5.0)
        await asyncio.sleep(30)
        # Three of six nodes would be half; three of four protected pods are not.
        assert len(cluster.given_up()) == 2
        assert len(cluster.events(FailoverDeclared)) >= 2
        told = cluster.events(NodePostponed)
        assert {event.node for event in told} == cluster.cut.keys() - cluster.given_up()
        assert len(told) == 2, "once for each"
        assert "3 of 4 protected pods" in told[0].detail
        assert "reprise failover --force" in told[0].detail
        await asyncio.sleep(300)
        assert len(cluster.given_up()) == 2, "what is still lost counts for ever"
        cluster.forced_by = "request-1"
        await until(lambda: cluster.given_up() == cluster.cut.keys(), 5)
        cluster.cut["n5"] = 0.0
        await asyncio.sleep(20)
        assert "n5" not in cluster.given_up(), "forced is only what was held back then"

    play(cluster, scene)


def test_one_of_two_nodes_is_given_up_with_all_that_is_protected() -> None:
    cluster = Cluster(2, protected=("n1",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = {"n1": 5.0}
        await until(lambda: cluster.events(FailoverDeclared), lost_after_s(0.0) + 3)

    play(cluster, scene)


def test_an_arbiter_that_takes_over_knows_what_the_one_before_gave_up() -> None:
    cluster = Cluster(4, protected=("n1", "n2", "n3"))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = {"n1": 5.0}
        await until(cluster.given_up, 15)

    async def taken_over() -> None:
        cluster.cut |= {"n2": 3.0, "n3": 3.0}
        await asyncio.sleep(60)
        assert cluster.given_up() == {"n1"}, "each of the others would be the second of three protected pods"

    play(cluster, scene)
    play(cluster, taken_over)


def test_a_node_that_returned_counts_until_the_window_is_over() -> None:
    cluster = Cluster(2, protected=("n1",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = {"n1": 5.0}
        await until(cluster.given_up, 15)
        cluster.cut = {}
        await asyncio.sleep(2)
        bucket = Bucket(MemoryBus(cluster.server), "brake", Account)
        entry = await bucket.get("given-up")
        assert entry and entry.value.nodes == {"n1": 1}
        cluster.cut = {"n1": 0.0}
        await until(lambda: len(cluster.events(NodeLost)) == 2, 15)

    play(cluster, scene)


def test_a_request_from_before_this_arbiter_began_forces_nothing() -> None:
    cluster = Cluster(3, protected=("n1", "n2"))
    cluster.forced_by = "request-of-yesterday"

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = dict.fromkeys(("n1", "n2"), 5.0)
        await asyncio.sleep(40)
        assert len(cluster.given_up()) == 1

    play(cluster, scene)


def test_a_node_is_suspected_before_it_is_lost_so_that_nothing_waits_for_its_kubelet_then() -> None:
    cluster = Cluster(3, protected=("n1",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut, silent_from = {"n1": 5.5}, 5.0
        await until(lambda: cluster.events(NodeSuspected), lost_after_s(0.0) - LEAD_S + arbiter.KUBELET_TIMEOUT_S + 0.5)
        assert not cluster.events(NodeLost), "suspected is not lost"
        await until(lambda: cluster.events(FailoverDeclared), 5)
        loop = asyncio.get_running_loop()
        assert loop.time() - silent_from >= lost_after_s(0.0), "not sooner than it may be given up"
        assert loop.time() - silent_from < lost_after_s(0.0) + 0.6
        assert len(cluster.events(NodeSuspected)) == 1

    play(cluster, scene)


def test_a_node_that_renews_in_time_is_suspected_and_is_not_lost() -> None:
    cluster = Cluster(3, protected=("n1",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = {"n1": 5.0}
        await until(lambda: cluster.events(NodeSuspected), 6)
        cluster.cut = {}
        await asyncio.sleep(20)
        assert not cluster.events(NodeLost)

    play(cluster, scene)


def test_who_does_not_lead_suspects_too_and_gives_nothing_up() -> None:
    """The arbiter that led may have died with the node."""
    cluster = Cluster(3, protected=("n1",))
    asked = []

    async def scene() -> None:
        begin(cluster.arbiter(leads=SimpleNamespace(leading=False)))
        await asyncio.sleep(5)
        cluster.cut = {"n1": 5.5}
        await until(lambda: cluster.events(NodeSuspected), 5)
        await asyncio.sleep(2)
        asked.append(cluster.asked)
        await asyncio.sleep(60)
        asked.append(cluster.asked)
        assert not cluster.events(NodeLost)

    play(cluster, scene, alone=False)
    assert asked[0] == asked[1], "a node that stays lost is not asked for ever by everybody"


def test_if_most_nodes_look_lost_none_is_suspected() -> None:
    cluster = Cluster(5, protected=("n1", "n2", "n3"))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = dict.fromkeys(("n1", "n2", "n3"), 5.0)
        await asyncio.sleep(20)
        assert not cluster.events(NodeSuspected)
        assert cluster.events(NodeLost)

    play(cluster, scene)


def test_a_lease_that_nobody_can_read_keeps_no_loss_waiting_nor_that_of_its_own_node() -> None:
    """One such value ended the watch, and with it the arbiter, for ever."""
    cluster = Cluster(6, protected=("n1", "n2", "n3", "n4"))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut = {"n2": 5.0, "n3": 5.0}
        await asyncio.sleep(0.5)
        cluster.server.poison("leases", "node.n2")
        cluster.server.poison("leases", "poison")
        await until(lambda: cluster.given_up() == {"n2", "n3"}, lost_after_s(0.0) + 5)

    play(cluster, scene)


def test_a_node_tells_of_itself_only() -> None:
    """Under its own key another one's lease counts for nothing."""
    cluster = Cluster(6, protected=("n2",))

    async def scene() -> None:
        await asyncio.sleep(5)
        cluster.cut["n2"] = 5.0
        bucket = Bucket(MemoryBus(cluster.server), "leases", NodeLease)

        async def pretend() -> None:
            for count in range(1000, 1100):
                lease = NodeLease(node="n2", host_ip="n2", boot_id="b", renewals=count, can_freeze=True, sent_at_s=clock())
                await bucket.put("node.n3", lease)
                await asyncio.sleep(0.5)

        pretending = asyncio.create_task(pretend())
        await until(lambda: "n2" in cluster.given_up(), lost_after_s(0.0) + 5)
        pretending.cancel()

    play(cluster, scene)


def test_a_node_whose_agent_is_dead_does_not_make_the_arbiter_on_it_blind() -> None:
    cluster = Cluster(6, protected=("n1",))
    cluster.cut = {OWN: 0.0, "n1": 5.0}

    async def scene() -> None:
        await until(lambda: cluster.events(FailoverDeclared), 5 + lost_after_s(0.0) + 3)

    play(cluster, scene)


@pytest.mark.parametrize("written", ["not at all", "by an earlier boot"])
def test_an_arbiter_that_does_not_see_its_own_record_judges_nobody(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewals may be missing because nothing gets through to it."""
    cluster = Cluster(6, protected=("n1",))

    async def show(judge: arbiter.Arbiter) -> None:
        bucket = Bucket(MemoryBus(cluster.server), "leases", NodeLease)
        while True:
            record = NodeLease(node=OWN, host_ip="", boot_id="before", renewals=0, can_freeze=False, sent_at_s=clock())
            if written == "by an earlier boot":
                await bucket.put(f"arbiter.{OWN}", record)
            await asyncio.sleep(1)

    monkeypatch.setattr(arbiter.Arbiter, "show", show)

    async def scene() -> None:
        cluster.cut = {"n1": 5.0}
        await asyncio.sleep(60)
        assert not cluster.given_up()
        assert not cluster.events(NodeSuspected)

    play(cluster, scene)


def test_where_no_kubelet_answers_the_arbiter_no_node_is_given_up() -> None:
    """A NetworkPolicy keeps it from all but its own node's: a living node with a dead agent would be taken for a lost one."""
    cluster = Cluster(6, protected=("n1",))
    cluster.silent_kubelets = set(cluster.names) - {OWN}

    async def scene() -> None:
        cluster.cut = {"n1": 5.0}
        await asyncio.sleep(60)
        assert not cluster.given_up()
        cluster.silent_kubelets = {"n1", "n2"}
        await until(cluster.given_up, 30)

    play(cluster, scene)


def candidate(cluster: Cluster, node: str) -> tuple[Election, arbiter.Arbiter]:
    leads = Election(MemoryBus(cluster.server), "arbiter", node)
    judge = cluster.arbiter(node, leads)
    leads.only_while(judge.sees)
    return leads, judge


@pytest.mark.parametrize("later_s", [tenth / 10 for tenth in range(10)])
def test_a_node_that_is_lost_together_with_the_arbiter_is_given_up_by_the_next_one(later_s: float) -> None:
    """Whenever in its second that is: little later than if the arbiter were elsewhere."""
    cluster = Cluster(3, protected=("n1",))

    def replica(node: str) -> asyncio.Future[Any]:
        leads, judge = candidate(cluster, node)
        return asyncio.gather(leads.run(), begin(judge))

    async def scene() -> None:
        leader = replica("n1")
        await asyncio.sleep(3.3)
        replica("n2")
        await asyncio.sleep(6 + later_s)
        loop = asyncio.get_running_loop()
        cluster.cut, off_at = {"n1": loop.time()}, loop.time()
        leader.cancel()
        await until(lambda: cluster.events(FailoverDeclared), 10)
        assert loop.time() - off_at <= longest_gap_s() + arbiter.KUBELET_TIMEOUT_S + 0.5

    play(cluster, scene, alone=False)


def test_a_leader_that_is_blind_lets_another_replica_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its node is cut off from the API server only: by NATS it could lead for ever, and judge nobody."""
    cluster = Cluster(4, protected=("n3",))

    async def scene() -> None:
        cut_off = False
        versions = cluster.versions

        async def listed() -> dict[str, str]:
            if cut_off:
                raise TimeoutError
            return await versions()

        (first, blind), (second, judge) = candidate(cluster, "n1"), candidate(cluster, "n2")
        beginning = asyncio.gather(first.run(), begin(blind))
        await asyncio.sleep(3)
        beginning_too = asyncio.gather(second.run(), begin(judge))
        await asyncio.sleep(3)
        assert (first.leading, second.leading) == (True, False)
        monkeypatch.setattr(blind, "_kubernetes", SimpleNamespace(versions=listed, nodes=cluster.nodes))
        cut_off, cluster.cut = True, {"n3": asyncio.get_running_loop().time()}
        await until(lambda: second.leading, BLIND_AFTER_S + longest_gap_s() + 1)
        assert not first.leading
        await until(cluster.given_up, 5)
        assert not beginning.done()
        assert not beginning_too.done()

    play(cluster, scene, alone=False)
