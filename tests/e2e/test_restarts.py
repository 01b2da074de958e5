"""Reprise's own services are killed, or start while what they need is absent: they finish what they find."""

import asyncio
import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from reprise_lab import counter, faults, nats
from reprise_lab.paths import NODES
from reprise_lab.shell import kill, kubectl, poll
from reprise_lab.witness import Witness

pytestmark = pytest.mark.e2e


class KillAtStep(threading.Thread):
    """Follows the sagas in KV and kills these processes the moment one that began later is about to do `step`."""

    def __init__(self, step: str, namespace: str, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self._step, self._namespace, self._pids = step, namespace, pids
        self.following, self.killed = threading.Event(), threading.Event()

    def run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        client = await nats.connect()
        watcher = await (await client.jetstream().key_value("failovers")).watchall()
        self.following.set()
        async for entry in watcher:
            if entry is None or not entry.value:
                continue
            saga = json.loads(entry.value)
            ours = saga["workload"]["namespace"] == self._namespace and saga["cause"] == "node-loss"
            if ours and saga["step"] == self._step:
                for pid in self._pids:
                    kill(pid, signal.SIGKILL)
                self.killed.set()
                break
        await client.close()


@pytest.fixture
def restorers_anew() -> Iterator[None]:
    """Pods that were killed again and again wait for their kubelet's back-off; a cut node is Ready only later."""
    yield
    kubectl("-n", "reprise-system", "delete", "pods", "-l", "app.kubernetes.io/name=restorer", "--grace-period=1")
    counter.wait_reprise()
    kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=90s")


@pytest.mark.alone
@pytest.mark.parametrize("step", ["release", "adopt"])
def test_a_restorer_killed_in_a_move_finishes_it_when_it_is_back(
    protected_counter: Witness, restorers_anew: None, step: str
) -> None:
    """Every replica is killed: whoever is started next finds the record and goes on from there, once."""
    namespace = protected_counter.namespace
    before = protected_counter.last()
    killer = KillAtStep(step, namespace, faults.service_pids("restorer"))
    killer.start()
    assert killer.following.wait(10)
    faults.cut("n1", "all")
    cut_at = time.monotonic()
    try:
        after = protected_counter.wait(before.run, cut_at + 0.3, 60)
        row = counter.wait_failover(namespace, "node-loss", seconds=60)
    finally:
        faults.heal("n1")
    assert killer.killed.is_set(), "the restorer was not killed: the test proved nothing"
    assert (row["state"], row["path"]) == ("completed", "shadow"), row
    assert after.address != before.address
    poll(60, lambda: [p["status"].get("podIP") for p in counter.pods(namespace)] == [after.address], "one pod to be left", 0.5)
    assert protected_counter.runs(cut_at) == {before.run}, "a blank instance answered"


@pytest.mark.alone
def test_a_killed_scheduler_neither_misses_nor_doubles_a_checkpoint(namespace: str) -> None:
    """Every replica is killed and later replaced. One checkpoint makes up for the missed slots, and no slot is emitted twice."""
    interval_s = 8.0
    counter.deploy(namespace, annotations={"reprise.dev/interval": f"{interval_s:.0f}s"})
    counter.wait_protected(namespace)
    time.sleep(interval_s / 2)
    faults.kill_service("scheduler")
    time.sleep(interval_s)
    kubectl("-n", "reprise-system", "delete", "pods", "-l", "app.kubernetes.io/name=scheduler", "--wait=false")
    replaced = time.time()

    def due() -> list[float]:
        rows = counter.console(f"checkpoints?namespace={namespace}&limit=100")
        return sorted(datetime.fromisoformat(row["due_at"]).timestamp() for row in rows if row["trigger"] == "interval")

    poll(60, lambda: sum(at > replaced for at in due()) >= 2, "two to have come due since", 1)
    slots = [round((at - due()[0]) / interval_s, 2) for at in due()]
    assert all(slot.is_integer() for slot in slots), slots
    assert all(1 <= later - slot <= 4 for slot, later in itertools.pairwise(slots)), slots


def restarts() -> dict[str, int]:
    text = kubectl("-n", "reprise-system", "get", "pods", "-l", "app.kubernetes.io/part-of=reprise", "-o", "json")
    return {
        pod["metadata"]["name"]: sum(s["restartCount"] for s in pod["status"].get("containerStatuses", []))
        for pod in json.loads(text)["items"]
    }


@pytest.mark.alone
def test_an_update_of_the_agents_goes_node_by_node_and_nobody_stands_still_for_it(protected_counter: Witness) -> None:
    """Under load: checkpoints go on. An agent that is away freezes nobody, and the next one renews before it would."""
    agents = ("health-watcher", "checkpointer", "transfer")
    last = counter.console(f"checkpoints?namespace={protected_counter.namespace}&limit=1")[0]["checkpoint_id"]
    began = time.monotonic()
    for name in agents:
        kubectl("-n", "reprise-system", "rollout", "restart", f"daemonset/{name}")
    most = 0
    while not all(json.loads(kubectl("-n", "reprise-system", "get", f"daemonset/{name}", "-o", "json"))["status"].get(
        "updatedNumberScheduled") == len(NODES) for name in agents):  # fmt: skip
        away = json.loads(kubectl("-n", "reprise-system", "get", "daemonset/health-watcher", "-o", "json"))["status"]
        most = max(most, away.get("numberUnavailable", 0))
        assert time.monotonic() - began < 180, "the update does not get on"
    for name in agents:
        kubectl("-n", "reprise-system", "rollout", "status", f"daemonset/{name}", "--timeout=120s")
    assert most <= 1
    counter.wait_checkpoint(protected_counter.namespace, after=last, seconds=60)
    assert len(protected_counter.runs(began)) == 1
    assert protected_counter.longest_silence_s(began) < 3.0, "it stood still for longer than a checkpoint takes here"


@pytest.mark.alone
def test_services_that_start_while_nats_and_the_store_are_absent_wait_and_then_work(protected_counter: Witness) -> None:
    namespace = protected_counter.namespace
    for server in ("nats", "minio"):
        kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=0")
    try:
        kubectl("-n", "reprise-system", "delete", "pods", "-l", "app.kubernetes.io/part-of=reprise", "--grace-period=1")
        time.sleep(15)
        assert set(restarts().values()) == {0}, "a service ended because something that it needs is absent"
        assert time.monotonic() - protected_counter.last().at < 1, "the workload was harmed"
    finally:
        for server in ("nats", "minio"):
            kubectl("-n", "reprise-system", "scale", f"deployment/{server}", "--replicas=1")
    counter.deploy_reprise()
    last = counter.console(f"checkpoints?namespace={namespace}&limit=1")[0]["checkpoint_id"]
    counter.wait_checkpoint(namespace, after=last, seconds=60)
    assert set(restarts().values()) == {0}
    assert len(restarts()) >= 3 + 3 * len(NODES)
