"""Who stages a checkpoint where: its own node did before it told of it, or is asked to; the standby always is."""

from types import SimpleNamespace
from typing import Any

import pytest
from reprise.contracts.events import CheckpointStored, ImageBuilt, Trigger
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.restorer.handlers import Handlers
from reprise.restorer.model import Good, Need, Recovery
from reprise.restorer.testing import MemoryStore
from reprise.runtime.kv import Bucket
from reprise.runtime.testing import MemoryBus, MemoryServer

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


class Restorer:
    def __init__(self, live_id: str) -> None:
        self.server, self.sent = MemoryServer(), []
        bus = MemoryBus(self.server)
        self.recoveries = Bucket(bus, "recoveries", Recovery)
        pods = SimpleNamespace(pods={"u1": SimpleNamespace(live_id=live_id, deleting=False)})
        parts: Any = (bus, pods, MemoryStore((Good("ck1", Need()),)), SimpleNamespace(recoveries=self.recoveries), self, None)
        self.handlers = Handlers(*parts)

    async def send(self, event: CheckpointStored, _pod: object) -> None:
        self.sent.append(event.checkpoint_id)

    async def hears(self, live_id: str, trigger: Trigger = "interval") -> list[str]:
        """Of a checkpoint that its node holds under this live id; the references that its own node is asked to stage."""
        await self.handlers.on_stored(
            CheckpointStored(
                node="n1", workload=WORKLOAD, checkpoint_id="ck1", target=TARGET, trigger=trigger, manifest_key="k", size=1,
                sha256="", transfer_s=0.1, kubelet_s=0.1, stats=CriuStats(), live_id=live_id,
            )
        )  # fmt: skip
        return [event.reference for event in self.server.events.values() if isinstance(event, ImageBuilt)]


@pytest.mark.parametrize(
    ("told", "named", "asked"),
    [
        ("u1", "u1", []),
        ("", "u1", ["localhost:5797/default/u1/counter:live"]),
        ("u1", "fo-1", ["localhost:5797/default/fo-1/counter:live"]),
    ],
    ids=["its node holds it", "it does not", "it does under a name that was given up since"],
)
async def test_its_own_node_is_asked_for_what_it_does_not_hold_and_the_standby_always(
    told: str, named: str, asked: list[str]
) -> None:
    restorer = Restorer(named)
    assert await restorer.hears(told) == asked
    assert restorer.sent == ["ck1"]


async def test_an_armings_last_one_is_held_by_the_name_that_its_pod_is_to_go_by() -> None:
    assert await Restorer("u1").hears("fo-1", "arm") == []
    assert await Restorer("u1").hears("", "arm") == ["localhost:5797/default/u1/counter:live"]


async def test_what_was_given_up_is_staged_nowhere() -> None:
    restorer = Restorer("u1")
    await restorer.recoveries.put("u1.counter", Recovery(void=("ck1",)))
    assert await restorer.hears("") == []
    assert restorer.sent == []
