"""Who stages a checkpoint where: its own node holds it already; the standby is asked, unless it is to be forgotten."""

from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.errors import WrongSubject
from reprise.contracts.events import CheckpointFailed, CheckpointStored, FailoverAbandoned, FailoverDeclared, ImageBuilt, Trigger
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.restorer.handlers import Handlers
from reprise.restorer.model import Attempt, Plan, Recovery, Saga, Stop
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


class Restorer:
    def __init__(self) -> None:
        self.server = MemoryServer()
        self.sent: list[str] = []
        self.told: list[str] = []
        self.messages: list[str] = []
        self.ran: list[Saga] = []
        self.rejected: list[str] = []
        bus = MemoryBus(self.server)
        self.recoveries = Bucket(bus, "recoveries", Recovery)
        pods = SimpleNamespace(pods={"u1": SimpleNamespace(deleting=False, node="n1", policy=SimpleNamespace(keep=3))})
        parts: Any = (bus, pods, self, self, self)
        self.handlers = Handlers(*parts)

    async def send(self, event: CheckpointStored, _pod: object) -> None:
        self.sent.append(event.checkpoint_id)

    async def run(self, saga: Saga) -> Saga:
        self.ran.append(saga)
        return saga.at("complete", attempt=Attempt(plan=Plan("rollback", "n1", "", "ck3")))

    async def reject(self, _workload: Workload, _container: str, checkpoints: tuple[str, ...]) -> None:
        self.rejected.extend(checkpoints)

    async def record(self, _workload: Workload, _type: str, reason: str, message: str) -> None:
        self.told.append(reason)
        self.messages.append(message)

    async def hears(self, trigger: Trigger = "interval") -> list[str]:
        """Of a checkpoint that was stored; which ones the standby is asked for."""
        await self.handlers.on_stored(
            CheckpointStored(
                node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger=trigger, manifest_key="k", size=1,
                sha256="", transfer_s=0.1, kubelet_s=0.1, stats=CriuStats(),
            )
        )  # fmt: skip
        assert not [event for event in self.server.events.values() if isinstance(event, ImageBuilt)]
        return self.sent


async def test_the_standby_is_sent_each_checkpoint_but_a_moves_last_one_which_is_on_its_way() -> None:
    assert await Restorer().hears() == ["ck1"]
    assert await Restorer().hears("move") == []


@pytest.mark.parametrize("noted", [Recovery(rejected=("ck1",)), Recovery(dead=("c1",))])
async def test_what_was_given_up_is_staged_nowhere(noted: Recovery) -> None:
    restorer = Restorer()
    await restorer.recoveries.put(container_key(WORKLOAD, "counter"), noted)
    assert await restorer.hears() == []


async def test_a_stored_checkpoint_that_is_damaged_is_not_restored_any_more() -> None:
    restorer = Restorer()
    for reason in ("CriuFailed", "DamagedObject"):
        failed = CheckpointFailed(
            node="n2", workload=WORKLOAD, checkpoint_id=f"ck-{reason}", target=TARGET, reason=reason, message="m", remedy="r"
        )
        await restorer.handlers.on_failed(failed)
    assert restorer.rejected == ["ck-DamagedObject"]


async def test_the_end_of_a_move_names_its_pod() -> None:
    """Who drains a node asks of each pod what became of it: of one that keeps its name only this tells."""
    restorer = Restorer()
    common: dict[str, Any] = {"node": "n1", "workload": WORKLOAD, "failover_id": "mv-1", "target": TARGET, "cause": "move"}
    await restorer.handlers.on_declared(FailoverDeclared(**common, detail=""))
    for outcome in ("cold", "step-aside"):
        ended = {"reason": "NoStandby", "message": "m", "remedy": "r", "outcome": outcome, "attempt": 1}
        await restorer.handlers.on_abandoned(FailoverAbandoned.model_validate(common | ended))
    assert restorer.told == ["Moved", "MoveFailed", "MoveFailed"]
    assert restorer.messages == [
        "mv-1: pod counter-1 moved from n1 to n1 with its memory (ck3)",
        "mv-1: pod counter-1 moved without its memory: NoStandby: m. r",
        "mv-1: pod counter-1 not moved, it runs on: NoStandby: m. r",
    ]


async def test_a_declaration_becomes_a_failover_with_what_its_node_rejected() -> None:
    restorer = Restorer()
    declared = FailoverDeclared(
        node="n1", workload=WORKLOAD, failover_id="rs-1", target=TARGET, cause="restore", detail="", wanted="ck2",
        rejected=("ck9",), fence_revision=7,
    )  # fmt: skip
    await restorer.handlers.on_declared(declared)
    (ran,) = restorer.ran
    assert (ran.rejected, ran.fence_revision, ran.wanted, ran.keep) == (("ck9",), 7, "ck2", 3)
    assert restorer.told == ["RollbackFailed"], "it goes on from another one than was asked for"


@pytest.mark.parametrize("target", [TARGET, TARGET.model_copy(update={"node": "n2"})])
async def test_a_failover_that_a_node_declares_of_another_nodes_pod_is_not_run(target: Target) -> None:
    """A node has the power of one node: the pod runs on n1, whatever n2 says of it."""
    restorer = Restorer()
    declared = FailoverDeclared(node="n2", workload=WORKLOAD, failover_id="f1", target=target, cause="crash", detail="")
    with pytest.raises(WrongSubject):
        await restorer.handlers.on_declared(declared)
    assert restorer.ran == []


@pytest.mark.parametrize("lost", [False, True])
async def test_a_move_from_an_older_checkpoint_than_its_last_one_is_not_told_as_one_that_lost_nothing(lost: bool) -> None:
    restorer = Restorer()
    stop = Stop("RestoreFailed", "ck9 did not come back on n2: bad size of /log", "-", poisoned=True) if lost else None
    ended = Attempt(plan=Plan("same-name", "n2", "", "ck3"), stop=stop, released=True)

    async def run(saga: Saga) -> Saga:
        return saga.at("complete", attempt=ended)

    restorer.run = run  # type: ignore[method-assign]
    await restorer.handlers.on_declared(
        FailoverDeclared(node="n1", workload=WORKLOAD, failover_id="mv-1", target=TARGET, cause="move", detail="asked for")
    )
    assert restorer.told == ["MoveLostWork" if lost else "Moved"]
    assert ("bad size of /log" in restorer.messages[0] and "lost" in restorer.messages[0]) == lost
