"""A container that does not survive its checkpoints is left alone, and its owner is told what to do (I6)."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reprise.contracts.events import CheckpointFailed, CheckpointPaused, CheckpointStored
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.contracts.records import Newest
from reprise.runtime.kv import Bucket, container_key
from reprise.runtime.testing import MemoryBus, MemoryServer
from reprise.scheduler.decide import HARMED_AT_MOST, counted, paused
from reprise.scheduler.handlers import Handlers
from reprise.scheduler.model import Harm

NONE = Harm(pod_uid="u1", container="c")
WORKLOAD = Workload(namespace="default", name="large")
TARGET = Target(node="n1", pod="large-1", pod_uid="u1", container="c", container_id="c1")


@given(st.lists(st.sampled_from(["", "UnhealthyAfter", "UnhealthyBefore", "CriuFailed"]), max_size=12))
def test_only_harm_in_a_row_counts(outcomes: list[str]) -> None:
    harm, in_a_row = NONE, 0
    for number, reason in enumerate(outcomes):
        harm = counted(harm, f"ck{number:03}", reason)
        in_a_row = 0 if not reason else in_a_row + (reason == "UnhealthyAfter")
        assert paused(harm) == (in_a_row >= HARMED_AT_MOST)


def test_an_outcome_that_is_told_twice_counts_once() -> None:
    once = counted(NONE, "ck1", "UnhealthyAfter")
    assert counted(once, "ck1", "UnhealthyAfter") == once
    assert not paused(once)


def test_a_container_that_was_replaced_meanwhile_was_not_harmed_by_its_checkpoint() -> None:
    """A crash replaces it, or a restore; a checkpoint that was under way then says nothing."""
    assert counted(NONE, "ck1", "OtherContainer").in_a_row == 0


class Told:
    def __init__(self) -> None:
        self.messages: list[str] = []

    async def record(self, workload: Workload, type_: str, reason: str, message: str) -> None:
        self.messages.append(f"{type_} {reason}: {message}")


def failed(name: str, reason: str = "UnhealthyAfter") -> CheckpointFailed:
    return CheckpointFailed(
        node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, reason=reason, message="m", remedy="r"
    )


def stored(name: str) -> CheckpointStored:
    return CheckpointStored(
        at=datetime(2026, 1, 1, tzinfo=UTC), node="n1", workload=WORKLOAD, checkpoint_id=name, target=TARGET, trigger="interval",
        manifest_key="k", size=1, sha256="0", transfer_s=0, kubelet_s=0, stats=CriuStats(),
    )  # fmt: skip


@pytest.mark.parametrize("good_between", [False, True])
async def test_the_third_harm_in_a_row_pauses_it_and_says_what_to_do(good_between: bool) -> None:
    server, told = MemoryServer(), Told()
    bus = MemoryBus(server)
    handlers = Handlers(bus, Bucket(bus, "harms", Harm), Bucket(bus, "newest", Newest), told)  # type: ignore[arg-type]
    await handlers.on_outcome(failed("ck1"))
    await handlers.on_outcome(failed("ck2"))
    if good_between:
        await handlers.on_outcome(stored("ck3"))
    await handlers.on_outcome(failed("ck4"))
    paused_events = [event for event in server.events.values() if isinstance(event, CheckpointPaused)]
    assert bool(paused_events) is bool(told.messages) is not good_between
    if paused_events:
        assert "failureThreshold" in paused_events[0].remedy
        assert "periodSeconds" in told.messages[0]
        assert "of the last one: m" in paused_events[0].message, "the reason is what was seen, not what may be guessed of it"


async def test_the_newest_stored_checkpoint_is_noted_whatever_the_order_of_messages() -> None:
    bus = MemoryBus(MemoryServer())
    newest = Bucket(bus, "newest", Newest)
    handlers = Handlers(bus, Bucket(bus, "harms", Harm), newest, Told())  # type: ignore[arg-type]
    for name in ("ck2", "ck1", "ck3", "ck3", "ck2"):
        await handlers.on_outcome(stored(name))
    entry = await newest.get(container_key(WORKLOAD, TARGET.container))
    assert entry
    assert entry.value.checkpoint_id == "ck3"
