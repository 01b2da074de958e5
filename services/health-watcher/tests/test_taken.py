"""A lease that the arbiter took away: the node freezes, and asks, before it takes it anew, whatever its clock says."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.aio import client
from playing import play, running_node, runs
from reprise.health_watcher.adapters.leases import ARBITER, KubernetesLeases, KvLeases
from reprise.health_watcher.model import NodeLease
from reprise.health_watcher.ports import LeaseTaken
from reprise.health_watcher.testing import MemoryNode
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

LEASE = NodeLease(node="n1", host_ip="", boot_id="b", renewals=1, can_freeze=True)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryNode:
    return running_node(tmp_path, monkeypatch)


def leases(node: MemoryNode) -> Bucket[NodeLease]:
    return Bucket(MemoryBus(node.server), "leases", NodeLease)


async def take(node: MemoryNode) -> None:
    entry = await leases(node).get("node.n1")
    assert entry
    assert await KvLeases(MemoryBus(node.server)).take(entry.value, entry.revision)


def test_a_node_whose_lease_was_taken_away_freezes_then_takes_it_anew_and_asks(node: MemoryNode) -> None:
    """As after a pause that its clock did not see."""

    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        await take(node)
        node.told.clear()
        await runs(agent, 3)
        assert node.told == ["freeze c1: wait", "thaw c1: restore"]
        entry = await leases(node).get("node.n1")
        assert entry and not entry.value.taken
        assert entry.value.generation == 1

    play(scene())


def test_a_lease_that_was_taken_away_is_not_taken_anew_while_something_runs(node: MemoryNode) -> None:
    async def scene() -> None:
        agent = node.agent()
        await runs(agent, 3)
        await take(node)
        node.fails = "Device or resource busy"
        await runs(agent, 5)
        entry = await leases(node).get("node.n1")
        assert entry and entry.value.taken
        assert not agent.lease.safe(all_frozen=agent.reconciler.all_frozen), "a watchdog resets it"

    play(scene())


def test_the_next_agent_is_refused_as_well_if_this_one_is_killed_before_it_froze(node: MemoryNode) -> None:
    async def scene() -> None:
        await runs(node.agent(), 3)
        await take(node)
        node.told.clear()
        await runs(node.agent(), 3)
        assert node.told == ["freeze c1: wait", "thaw c1: restore"]

    play(scene())


def test_what_a_failover_starts_elsewhere_stays_frozen(node: MemoryNode) -> None:
    async def scene() -> None:
        from reprise.contracts.records import Fence

        agent = node.agent()
        await runs(agent, 3)
        await take(node)
        await Bucket(MemoryBus(node.server), "fences", Fence).put(
            "u1", Fence(pod_uid="u1", holder="restorer", failover_id="fo-1")
        )
        await runs(agent, 5)
        assert node.stands()
        assert node.verdict() == "refuse"

    play(scene())


class TestKv:
    async def test_what_was_judged_is_not_taken_away_once_it_was_renewed(self) -> None:
        server = MemoryServer()
        mine, arbiters = KvLeases(MemoryBus(server)), KvLeases(MemoryBus(server))
        await mine.renew(LEASE)
        entry = await arbiters.bucket.get("node.n1")
        assert entry
        await mine.renew(LEASE)
        assert await arbiters.take(entry.value, entry.revision) is None

    async def test_of_two_who_take_it_away_the_second_finds_it_taken(self) -> None:
        server = MemoryServer()
        one, two = KvLeases(MemoryBus(server)), KvLeases(MemoryBus(server))
        await one.renew(LEASE)
        revision = await one.take(LEASE, 1)
        assert revision
        assert await two.take(LEASE.model_copy(update={"taken": True}), revision) == revision
        assert await two.take(LEASE, 1) is None, "it was judged before"

    async def test_a_renewal_whose_answer_was_lost_is_no_refusal(self) -> None:
        server, cut = MemoryServer(), [False]

        async def on_call(when: str, what: str) -> None:
            if cut[0] and when == "after":
                raise TimeoutError

        mine = KvLeases(MemoryBus(server, on_call))
        await mine.renew(LEASE)
        cut[0] = True
        with pytest.raises(TimeoutError):
            await mine.renew(LEASE)
        cut[0] = False
        await mine.renew(LEASE)

    async def test_nats_without_its_data_refuses_nobody_and_a_lease_removed_with_its_node_is_refused_once(self) -> None:
        server = MemoryServer()
        mine = KvLeases(MemoryBus(server))
        await mine.renew(LEASE)
        server.buckets["leases"].clear()
        await mine.renew(LEASE)
        await mine.bucket.delete("node.n1")
        with pytest.raises(LeaseTaken):
            await mine.renew(LEASE)
        await mine.renew(LEASE.model_copy(update={"generation": 1}))

    async def test_an_agent_from_before_overwrites_it_and_is_seen_to_have_returned(self) -> None:
        """Nobody starts anything then by what was judged before: its pods' fences are written since, if it froze."""
        server = MemoryServer()
        arbiters = KvLeases(MemoryBus(server))
        await arbiters.bucket.put("node.n1", LEASE)
        revision = await arbiters.take(LEASE, 1)
        await arbiters.bucket.put("node.n1", NodeLease.model_validate(LEASE.model_dump(exclude={"taken", "generation"})))
        assert await arbiters.take(LEASE.model_copy(update={"taken": True}), revision or 0) is None


class Api:
    """Of coordination.k8s.io: one Lease."""

    def __init__(self) -> None:
        self.spec: dict[str, Any] | None = None
        self.version = 0

    def _object(self) -> Any:
        assert self.spec is not None
        spec = SimpleNamespace(
            holder_identity=self.spec.get("holderIdentity"), lease_transitions=self.spec.get("leaseTransitions")
        )
        return SimpleNamespace(metadata=SimpleNamespace(name="reprise-node-n1", resource_version=str(self.version)), spec=spec)

    async def read_namespaced_lease(self, name: str, namespace: str, **_: Any) -> Any:
        if self.spec is None:
            raise client.ApiException(status=404)
        return self._object()

    async def patch_namespaced_lease(self, name: str, namespace: str, body: dict[str, Any], **_: Any) -> Any:
        if self.spec is None:
            raise client.ApiException(status=404)
        if body["metadata"].get("resourceVersion", str(self.version)) != str(self.version):
            raise client.ApiException(status=409)
        self.spec, self.version = self.spec | body["spec"], self.version + 1
        return self._object()

    async def create_namespaced_lease(self, namespace: str, body: dict[str, Any], **_: Any) -> Any:
        if self.spec is not None:
            raise client.ApiException(status=409)
        self.spec, self.version = body["spec"], self.version + 1
        return self._object()

    async def list_namespaced_lease(self, namespace: str, **_: Any) -> Any:
        return SimpleNamespace(items=[self._object()] if self.spec is not None else [])


class TestKubernetes:
    @pytest.fixture
    def api(self) -> Api:
        return Api()

    def of(self, api: Api) -> KubernetesLeases:
        found = KubernetesLeases(client.ApiClient(), "reprise-system")
        found._api = api
        return found

    async def test_it_is_renewed_until_it_is_taken_away_and_taken_anew_by_the_next_generation(self, api: Api) -> None:
        mine, arbiters = self.of(api), self.of(api)
        await mine.renew(LEASE)
        await mine.renew(LEASE)
        assert await arbiters.versions() == {"n1": "2"}
        assert await arbiters.take(LEASE, "2")
        assert await arbiters.versions() == {}, "that is no renewal"
        assert await arbiters.take(LEASE, "2"), "also by who judges it again"
        with pytest.raises(LeaseTaken):
            await mine.renew(LEASE)
        await mine.renew(LEASE.model_copy(update={"generation": 1}))
        assert api.spec and api.spec["holderIdentity"] == "b"

    async def test_a_node_that_never_renewed_there_is_refused_there_too(self, api: Api) -> None:
        mine, arbiters = self.of(api), self.of(api)
        assert await arbiters.take(LEASE, "")
        with pytest.raises(LeaseTaken):
            await mine.renew(LEASE)

    async def test_it_is_taken_away_again_from_a_node_that_renewed_by_kv_only_since(self, api: Api) -> None:
        mine, arbiters, again = self.of(api), self.of(api), LEASE.model_copy(update={"generation": 1})
        assert await arbiters.take(LEASE, "")
        assert await arbiters.take(again, "")
        with pytest.raises(LeaseTaken):
            await mine.renew(again)

    async def test_what_was_renewed_since_it_was_judged_is_not_taken_away(self, api: Api) -> None:
        mine, arbiters = self.of(api), self.of(api)
        await mine.renew(LEASE)
        await mine.renew(LEASE)
        assert not await arbiters.take(LEASE, "1")
        assert not await arbiters.take(LEASE, "")

    async def test_the_merge_patch_of_an_agent_from_before_takes_it_back(self, api: Api) -> None:
        arbiters = self.of(api)
        assert await arbiters.take(LEASE, "")
        await api.patch_namespaced_lease("", "", {"metadata": {}, "spec": {"holderIdentity": "b"}})
        assert await arbiters.versions() == {"n1": "2"}
        assert api.spec and api.spec["holderIdentity"] != ARBITER


def test_a_pause_that_the_clock_saw_freezes_before_anything_is_renewed_or_asked(node: MemoryNode) -> None:
    async def scene() -> None:
        jump = 0.0
        agent = node.agent(lambda: 1000.0 + asyncio.get_running_loop().time() + jump)
        await runs(agent, 3)
        node.told.clear()
        node.cut, jump = True, 60.0
        await runs(agent, 0.3)
        assert node.told == ["freeze c1: wait"]

    play(scene())
