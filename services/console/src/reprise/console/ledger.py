"""PostgreSQL: migrations, the projection's writes, retention, and the queries of the REST API and the pages."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from importlib import resources
from typing import Any, Literal

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from reprise.console.paging import Cursor
from reprise.console.projection import event_id, rows_of
from reprise.console.upsert import upsert
from reprise.contracts.events import Event
from reprise.contracts.model import Workload
from reprise.runtime.kube import ProtectedPod

MIGRATION_LOCK = 0x5245_5052
Table = Literal["events", "checkpoints", "failovers", "restores", "exits", "operations"]
KEY: dict[Table, str] = {
    "events": "id", "checkpoints": "checkpoint_id", "failovers": "failover_id", "restores": "container_id",
    "exits": "container_id", "operations": "operation_id",
}  # fmt: skip
SQL = resources.files("reprise.console").joinpath("sql")


def named(name: str) -> bytes:
    return SQL.joinpath(f"queries/{name}.sql").read_text().encode()


WORKLOADS, HISTORY, ATTEMPTS, PROTECTED = named("workloads"), named("history"), named("attempts"), named("protected")
SETTLE_S = 30.0
"""Who was heard of within it is not called gone: what the cluster tells may be that much behind."""


class Ledger:
    """All access to the database. Raises psycopg.OperationalError or PoolTimeout while it is away."""

    def __init__(self, conninfo: str) -> None:
        self._pool: AsyncConnectionPool[AsyncConnection[Any]] = AsyncConnectionPool(
            conninfo, min_size=1, max_size=8, open=False, timeout=5, check=AsyncConnectionPool.check_connection
        )
        self.migrated = False

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def migrate(self) -> None:
        """Apply each numbered .sql file once, in one transaction, one process at a time."""
        files = sorted((f for f in SQL.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
        async with self._pool.connection() as connection:
            await connection.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            await connection.execute(
                "create table if not exists schema_migrations (name text primary key, applied_at timestamptz default now())"
            )
            done = {row[0] for row in await (await connection.execute("select name from schema_migrations")).fetchall()}
            for file in files:
                if file.name not in done:
                    await connection.execute(file.read_text().encode())
                    await connection.execute("insert into schema_migrations (name) values (%s)", (file.name,))
        self.migrated = True

    async def replay_wanted(self) -> bool:
        """Whether a migration asked for the stream to be read again, and that has not begun."""
        return bool(await self._rows(b"select 1 from replay where wanted", {}))

    async def replay_begun(self) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("update replay set wanted = false")

    async def record(self, event: Event, trace_id: str = "") -> None:
        """Store the event and its projection in one transaction. trace_id: empty if it came with none."""
        await self.record_all([(event, trace_id)])

    async def record_all(self, traced: list[tuple[Event, str]]) -> None:
        """All of them in one transaction, or none."""
        try:
            await self._record(traced)
        except psycopg.errors.CheckViolation:  # one is the first of its day
            async with self._pool.connection() as connection:
                await connection.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
                for day in {event.at.astimezone(UTC).date() for event, _ in traced}:
                    await connection.execute("select events_partition(%s)", (datetime.combine(day, time(), UTC),))
            await self._record(traced)

    async def _record(self, traced: list[tuple[Event, str]]) -> None:
        """A pipeline: one way to the server and back, however many there are."""
        async with self._pool.connection() as connection, connection.pipeline(), connection.cursor() as cursor:
            for event, trace_id in traced:
                await cursor.execute(
                    "insert into events (id, type, at, node, namespace, kind, workload, data, trace_id) "
                    "values (%s, %s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
                    (event_id(event), event.TYPE, event.at, event.node, event.workload.namespace, event.workload.kind,
                     event.workload.name, Jsonb(event.model_dump(mode="json")), trace_id or None),
                )  # fmt: skip
                for row in rows_of(event, trace_id):
                    await cursor.execute(upsert(row).encode(), list(row.columns.values()))

    async def forget(self, before: datetime) -> None:
        """Retention: whole days of events, what can no longer be restored, and workloads that nothing was heard of since."""
        oldest_day = f"events_{before.astimezone(UTC):%Y%m%d}"
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "select inhrelid::regclass::text from pg_inherits where inhparent = 'events'::regclass"
            )
            for (name,) in await found.fetchall():
                if name < oldest_day:
                    await connection.execute(sql.SQL("drop table {}").format(sql.Identifier(name)))
            await connection.execute("delete from checkpoints where at < %s and state <> 'stored'", (before,))
            await connection.execute("delete from failovers where at < %s", (before,))
            await connection.execute("delete from restores where at < %s", (before,))
            await connection.execute("delete from exits where at < %s", (before,))
            await connection.execute("delete from operations where at < %s", (before,))
            await connection.execute("delete from workloads where coalesce(seen_at, due_at, refused_at) < %s", (before,))

    async def query(
        self,
        table: Table,
        filters: dict[str, str],
        limit: int,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        after: Cursor | None = None,
    ) -> list[dict[str, Any]]:
        """Newest first. filters: column to value. since is included, until is not. after: the last row of the page before."""
        key = sql.Identifier(KEY[table])
        where = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in filters.items()]
        if since:
            where.append(sql.SQL("at >= {}").format(sql.Literal(since)))
        if until:
            where.append(sql.SQL("at < {}").format(sql.Literal(until)))
        if after:
            where.append(sql.SQL("(at, {}) < ({}, {})").format(key, sql.Literal(after.at), sql.Literal(after.key)))
        statement = sql.SQL("select * from {}{} order by at desc, {} desc limit {}").format(
            sql.Identifier(table),
            sql.SQL(" where ") + sql.SQL(" and ").join(where) if where else sql.SQL(""),
            key,
            sql.Literal(limit),
        )
        return await self._rows(statement, None)

    async def workloads(self, namespace: str | None, limit: int, *, gone: bool = False) -> list[dict[str, Any]]:
        """Each protected container with its newest checkpoint, standby and failover, as workloads.sql joins them.

        gone: those that were protected once, instead.
        """
        values = {"namespace": namespace, "kind": None, "workload": None, "limit": limit, "gone": gone}
        return await self._rows(WORKLOADS, values)

    async def workload(self, namespace: str, kind: str, name: str) -> list[dict[str, Any]]:
        """The same, of one workload's containers; of those that are gone too."""
        values = {"namespace": namespace, "kind": kind, "workload": name, "limit": 100, "gone": None}
        return await self._rows(WORKLOADS, values)

    async def protected(self, told: dict[Workload, tuple[str, ...]], pods: Iterable[ProtectedPod] = ()) -> None:
        """All that the cluster says is protected: what else the ledger lists is gone, since now; what came back is not.

        told: the containers that each one's policy names; empty if it names none. pods: those that there are.
        """
        instances: defaultdict[Workload, list[dict[str, str]]] = defaultdict(list)
        for pod in sorted(pods, key=lambda each: each.name):
            if not pod.deleting and pod.phase not in ("Succeeded", "Failed"):
                instances[pod.workload].append({"name": pod.name, "node": pod.node})
        rows = [
            {"namespace": each.namespace, "kind": each.kind, "name": each.name, "containers": list(names) or None,
             "pods": instances[each]}
            for each, names in told.items()
        ]  # fmt: skip
        async with self._pool.connection() as connection:
            await connection.execute(PROTECTED, {"protected": Jsonb(rows), "settle_s": SETTLE_S})

    async def history(self, container: dict[str, Any], since: datetime, until: datetime, bins: int) -> list[dict[str, Any]]:
        """What its checkpoints were like, in this many equal spans of time; a span without any has no row.

        container: namespace, kind, workload, container.
        """
        step_s = (until - since).total_seconds() / bins
        return await self._rows(HISTORY, _of(container) | {"since": since, "until": until, "step_s": step_s})

    async def attempts(self, container: dict[str, Any], before: datetime, limit: int) -> list[dict[str, Any]]:
        """Its newest checkpoints that were begun before this moment, of any outcome."""
        return await self._rows(ATTEMPTS, _of(container) | {"before": before, "limit": limit})

    async def failover_events(self, failover_id: str) -> list[dict[str, Any]]:
        """In the order in which they happened."""
        return await self._rows(
            b"select * from events where data ->> 'failover_id' = %(id)s and type like 'failover.%%' order by at, id limit 100",
            {"id": failover_id},
        )

    async def nodes(self) -> list[dict[str, Any]]:
        return await self._rows(b"select * from nodes order by node", {})

    async def namespaces(self) -> list[str]:
        rows = await self._rows(b"select distinct namespace from workloads order by namespace limit 500", {})
        return [row["namespace"] for row in rows]

    async def _rows(self, statement: bytes | sql.Composed, values: dict[str, Any] | None) -> list[dict[str, Any]]:
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(statement, values)
            return await cursor.fetchall()


def _of(container: dict[str, Any]) -> dict[str, Any]:
    return {name: container[name] for name in ("namespace", "kind", "workload", "container")}


def cutoff(now: datetime, days: int) -> datetime:
    """The first moment of the oldest day that is kept."""
    return (now.astimezone(UTC) - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)
