"""The read-only REST API."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, HTTPException, Query
from psycopg_pool import PoolTimeout
from reprise.console.ledger import Ledger, Table
from reprise.console.workloads import status

Limit = Annotated[int, Query(ge=1, le=1000)]


def router(ledger: Ledger) -> APIRouter:
    api = APIRouter(prefix="/api/v1")

    async def read(table: Table, limit: int, **filters: str | None) -> list[dict[str, Any]]:
        with away():
            return await ledger.query(table, {k: v for k, v in filters.items() if v}, limit)

    @api.get("/events")
    async def events(
        namespace: str | None = None, workload: str | None = None, type: str | None = None, limit: Limit = 100
    ) -> list[dict[str, Any]]:
        """Events, newest first."""
        return await read("events", limit, namespace=namespace, workload=workload, type=type)

    @api.get("/checkpoints")
    async def checkpoints(
        namespace: str | None = None, workload: str | None = None, state: str | None = None, limit: Limit = 100
    ) -> list[dict[str, Any]]:
        """Checkpoints with CRIU's statistics, newest first."""
        return await read("checkpoints", limit, namespace=namespace, workload=workload, state=state)

    @api.get("/failovers")
    async def failovers(namespace: str | None = None, workload: str | None = None, limit: Limit = 100) -> list[dict[str, Any]]:
        """Failovers, newest first."""
        return await read("failovers", limit, namespace=namespace, workload=workload)

    @api.get("/workloads")
    async def workloads(namespace: str | None = None, limit: Limit = 1000) -> list[dict[str, Any]]:
        """Every protected container: health, recovery point, standby, expected recovery time, last failover."""
        with away():
            return [status(row) for row in await ledger.workloads(namespace or None, limit)]

    return api


@contextlib.contextmanager
def away() -> Iterator[None]:
    """A database that does not answer is told as such."""
    try:
        yield
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise HTTPException(503, "the database does not answer; events wait in the stream meanwhile") from error
