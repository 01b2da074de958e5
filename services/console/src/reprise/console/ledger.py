"""PostgreSQL: migrations, the projection's writes, and the queries of the REST API."""

from importlib import resources
from typing import Any, Literal

from psycopg import AsyncConnection, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from reprise.console.projection import event_id, rows_of
from reprise.console.upsert import upsert
from reprise.contracts.events import Event

MIGRATION_LOCK = 0x5245_5052
Table = Literal["events", "checkpoints", "failovers"]
WORKLOADS = resources.files("reprise.console").joinpath("sql/queries/workloads.sql").read_text().encode()
ORDER: dict[Table, str] = {"events": "at", "checkpoints": "checkpoint_id", "failovers": "declared_at"}


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
        files = sorted(
            (f for f in resources.files("reprise.console").joinpath("sql").iterdir() if f.name.endswith(".sql")),
            key=lambda f: f.name,
        )
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

    async def record(self, event: Event) -> None:
        """Store the event and its projection in one transaction."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "insert into events (id, type, at, node, namespace, kind, workload, data) "
                "values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
                (event_id(event), event.TYPE, event.at, event.node, event.workload.namespace, event.workload.kind,
                 event.workload.name, Jsonb(event.model_dump(mode="json"))),
            )  # fmt: skip
            for row in rows_of(event):
                statement = upsert(row)
                await connection.execute(statement, list(row.columns.values()))

    async def query(self, table: Table, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
        """Newest first; filters: column to value."""
        where = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder()) for name in filters]
        clause = sql.SQL(" where ") + sql.SQL(" and ").join(where) if where else sql.SQL("")
        statement = sql.SQL("select * from {}{} order by {} desc nulls last limit {}").format(
            sql.Identifier(table), clause, sql.Identifier(ORDER[table]), sql.Literal(limit)
        )
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(statement, list(filters.values()))
            return await cursor.fetchall()

    async def workloads(self, namespace: str | None, limit: int) -> list[dict[str, Any]]:
        """Each protected container with its newest checkpoint, standby and failover, as workloads.sql joins them."""
        async with self._pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            await cursor.execute(WORKLOADS, {"namespace": namespace, "limit": limit})
            return await cursor.fetchall()
