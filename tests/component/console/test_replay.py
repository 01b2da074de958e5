"""The ledger is a projection: it can be lost, and comes back from the stream the same; and it forgets by the day."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from conftest import console, free_port, nats_server, wait
from reprise.console.ledger import Ledger, cutoff
from reprise.console.writer import Writer
from reprise.contracts.events import NodeLost, node_subject
from world import World

pytestmark = pytest.mark.component

TABLES = ("events", "checkpoints", "failovers", "exits", "workloads", "nodes")


def content(dsn: str) -> dict[str, list[Any]]:
    with psycopg.connect(dsn) as connection:
        return {table: sorted(map(str, connection.execute(f"select * from {table}".encode()).fetchall())) for table in TABLES}


def test_dropping_the_database_under_it_and_replaying_gives_the_same_tables(
    tmp_path: Path, database: Callable[[str], str]
) -> None:
    dsn, port = database("dropped"), free_port()
    world = World(datetime.now(UTC))
    events = [*world.ingest(), *world.broker(), *world.plc()]
    with nats_server(tmp_path, port), console(tmp_path, dsn, port) as running:
        running.tell(events)
        before = content(dsn)
        assert all(before[table] for table in TABLES if table != "nodes")
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")
        running.tell(list(world.notebook()))  # whatever comes next tells the console that its tables are gone
        wait(lambda: running.count() == len(events) + 1, 90)
        after = content(dsn)
    assert [row for row in after["events"] if "notebook" not in row] == before["events"]
    for table in ("checkpoints", "failovers", "workloads"):
        assert [row for row in after[table] if "notebook" not in row] == before[table], table
    assert after["nodes"] == before["nodes"]


def test_a_ledger_that_was_made_anew_while_the_console_was_down_is_filled(tmp_path: Path, database: Callable[[str], str]) -> None:
    port, events = free_port(), list(World(datetime.now(UTC)).ingest())
    with nats_server(tmp_path, port):
        with console(tmp_path, database("first"), port) as running:
            running.tell(events)
            before = content(running.dsn)
        with console(tmp_path, database("second"), port) as again:
            wait(lambda: again.count() == len(events), 90)
            assert content(again.dsn) == before


async def test_one_event_that_the_database_refuses_keeps_no_other_from_it(database: Callable[[str], str]) -> None:
    ledger, now = Ledger(database("refused")), datetime.now(UTC)
    await ledger.open()
    writer = Writer(ledger, ledger.migrate)
    told = ["fine", "text with a \0, which PostgreSQL has not", "fine too"]
    events = [NodeLost(node="n1", workload=node_subject("n1"), at=now, detail=detail) for detail in told]
    waiting = [asyncio.create_task(writer.write(event, "")) for event in events]
    run = asyncio.create_task(writer.run())
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    run.cancel()
    kept = await ledger.query("events", {}, 10)
    await ledger.close()
    assert [isinstance(outcome, psycopg.Error) for outcome in outcomes] == [False, True, False]
    assert {row["data"]["detail"] for row in kept} == {"fine", "fine too"}


async def test_whole_days_are_forgotten_and_what_can_be_restored_is_kept(database: Callable[[str], str]) -> None:
    ledger, now = Ledger(database("days")), datetime.now(UTC)
    await ledger.open()
    await ledger.migrate()
    for days in (0, 1, 5, 6, 40):
        await ledger.record(NodeLost(node="n1", workload=node_subject("n1"), at=now - timedelta(days=days), detail=str(days)))
    long_ago = list(World(now - timedelta(days=9)).plc())
    for event, trace in long_ago[-60:]:
        await ledger.record(event, trace)
    await ledger.forget(cutoff(now, 5))
    await ledger.forget(cutoff(now, 5))
    kept = await ledger.query("events", {}, 1000)
    assert {row["data"]["detail"] for row in kept} == {"0", "1", "5"}
    checkpoints = await ledger.query("checkpoints", {}, 1000)
    assert checkpoints and {row["state"] for row in checkpoints} == {"stored"}
    await ledger.record(NodeLost(node="n1", workload=node_subject("n1"), at=now - timedelta(days=6), detail="late"))
    assert (await ledger.query("events", {}, 1000))[-1]["data"]["detail"] == "late"
    await ledger.close()
