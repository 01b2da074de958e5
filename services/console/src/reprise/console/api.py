"""REST that reads. A page of rows is a list; the next page's address is in its `Link` header (RFC 8288)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Header, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from nats.errors import Error as NatsError
from pydantic import BaseModel
from reprise.console.export import lines
from reprise.console.filters import CursorText, Moment, Name, cursor
from reprise.console.ledger import KEY, Ledger, Table
from reprise.console.paging import Cursor
from reprise.console.ports import Annotations
from reprise.console.rows import (
    CheckpointRow,
    CheckpointState,
    EventRow,
    ExitRow,
    FailoverRow,
    FailoverState,
    OperationRow,
    RestoreRow,
    WorkloadRow,
)
from reprise.console.stream import Full, Tails, Wanted
from reprise.console.workloads import status
from reprise.contracts.events import BY_TYPE
from reprise.contracts.records import WrongAnnotation, WrongAnnotations
from starlette.background import BackgroundTask

Limit = Annotated[int, Query(ge=1, le=1000)]
Format = Annotated[
    Literal["json", "csv", "parquet"],
    Query(description="csv, parquet: every row that fits the filters, not only a page, at most 1 000 000"),
]
After = Annotated[CursorText, Query(alias="cursor", description="from the `Link` header of the page before")]
if TYPE_CHECKING:
    Type = str
else:
    Type = Literal["", *sorted(BY_TYPE)]
MOST_ROWS, BATCH, GROUP = 1_000_000, 1000, 20_000
PARQUET = "application/vnd.apache.parquet"

AWAY: dict[int | str, dict[str, Any]] = {
    401: {"description": "the token does not count; or there is none, and this console wants one"},
    403: {"description": "the token's owner may not read"},
    503: {"description": "the database, NATS or who vouches for tokens does not answer; nothing is lost meanwhile"},
}


def _paged(model: type[BaseModel]) -> dict[str, Any]:
    """What a list of rows has in common, for the OpenAPI document."""
    link = {"description": 'the next page: `<address>; rel="next"`; absent on the last one', "schema": {"type": "string"}}
    forms = {"text/csv": {"schema": {"type": "string"}}, PARQUET: {"schema": {"type": "string", "format": "binary"}}}
    return {
        "response_model": list[model],  # type: ignore[valid-type]
        "responses": {200: {"headers": {"Link": link}, "content": forms}, **AWAY},
    }


def router(ledger: Ledger, tails: Tails | None = None, annotations: Annotations | None = None) -> APIRouter:
    api = APIRouter(prefix="/api/v1")
    rows = Rows(ledger)

    @api.get("/events", **_paged(EventRow))
    async def events(
        request: Request, response: Response, type: Type = "", namespace: Name = "", workload: Name = "", node: Name = "",
        since: Moment = None, until: Moment = None, limit: Limit = 100, after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """Events, newest first. `since` is included, `until` is not."""
        filters = {"type": type, "namespace": namespace, "workload": workload, "node": node}
        return await rows.answer("events", EventRow, request, response, filters, Span(since, until), limit, after, format)

    @api.get("/checkpoints", **_paged(CheckpointRow))
    async def checkpoints(
        request: Request, response: Response, namespace: Name = "", kind: Name = "", workload: Name = "", container: Name = "",
        state: CheckpointState | Literal[""] = "", since: Moment = None, until: Moment = None, limit: Limit = 100,
        after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """Checkpoints with CRIU's statistics, newest first."""
        filters = {"namespace": namespace, "kind": kind, "workload": workload, "container": container, "state": state}
        return await rows.answer(
            "checkpoints", CheckpointRow, request, response, filters, Span(since, until), limit, after, format
        )

    @api.get("/failovers", **_paged(FailoverRow))
    async def failovers(
        request: Request, response: Response, namespace: Name = "", kind: Name = "", workload: Name = "", cause: Name = "",
        state: FailoverState | Literal[""] = "", since: Moment = None, until: Moment = None, limit: Limit = 100,
        after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """Failovers with the moment of each step, newest first."""
        filters = {"namespace": namespace, "kind": kind, "workload": workload, "cause": cause, "state": state}
        return await rows.answer("failovers", FailoverRow, request, response, filters, Span(since, until), limit, after, format)

    @api.get("/restores", **_paged(RestoreRow))
    async def restores(
        request: Request, response: Response, namespace: Name = "", kind: Name = "", workload: Name = "", node: Name = "",
        since: Moment = None, until: Moment = None, limit: Limit = 100, after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """Restores with CRIU's statistics, newest first."""
        filters = {"namespace": namespace, "kind": kind, "workload": workload, "node": node}
        return await rows.answer("restores", RestoreRow, request, response, filters, Span(since, until), limit, after, format)

    @api.get("/exits", **_paged(ExitRow))
    async def exits(
        request: Request, response: Response, namespace: Name = "", kind: Name = "", workload: Name = "", node: Name = "",
        since: Moment = None, until: Moment = None, limit: Limit = 100, after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """How protected containers ended, newest first: exit code, reason, the end of the log."""
        filters = {"namespace": namespace, "kind": kind, "workload": workload, "node": node}
        return await rows.answer("exits", ExitRow, request, response, filters, Span(since, until), limit, after, format)

    @api.get("/operations", **_paged(OperationRow))
    async def operations(
        request: Request, response: Response, namespace: Name = "", workload: Name = "", since: Moment = None,
        until: Moment = None, limit: Limit = 100, after: After = "", format: Format = "json",
    ) -> Any:  # fmt: skip
        """What people asked for, newest first."""
        filters = {"namespace": namespace, "workload": workload}
        return await rows.answer("operations", OperationRow, request, response, filters, Span(since, until), limit, after, format)

    @api.get("/workloads", responses=AWAY)
    async def workloads(namespace: Name = "", limit: Limit = 1000, gone: bool = False) -> list[WorkloadRow]:
        """Every protected container: health, recovery point, standby, expected recovery time, last failover.

        gone: those that were protected once, instead.
        """
        found = await ledger.workloads(namespace or None, limit, gone=gone)
        return [WorkloadRow.model_validate(status(row)) for row in found]

    if tails:
        _stream(api, tails)
    if annotations:
        _annotations(api, annotations)
    return api


def _annotations(api: APIRouter, annotations: Annotations) -> None:
    @api.get("/annotations", responses=AWAY)
    async def wrong(
        namespace: Name = "", kind: Name = "", workload: Name = "", limit: Limit = 1000
    ) -> list[WrongAnnotation]:  # fmt: skip
        """Annotations that have no effect now: nobody reads them where they are, or their value cannot be used.

        On whatever kind: a DaemonSet, Job, CronJob or ReplicaSet too. At most 500 are known.
        """
        listed = await annotations.wrong()
        if listed is None:
            raise HTTPException(503, "NATS does not answer", {"Retry-After": "2"})
        return of(listed, namespace, kind, workload)[:limit]


def of(listed: WrongAnnotations, namespace: str, kind: str = "", name: str = "") -> list[WrongAnnotation]:
    """Those on objects like that; empty: any."""
    wanted = {"namespace": namespace, "kind": kind, "name": name}
    return [each for each in listed.found if all(not want or want == getattr(each, field) for field, want in wanted.items())]


def _stream(api: APIRouter, tails: Tails) -> None:
    ok = {
        "description": "server-sent events, for as long as it is read",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }

    @api.get("/events/stream", response_class=StreamingResponse, responses={200: ok, **AWAY})
    async def stream(
        type: Type = "", namespace: Name = "", workload: Name = "", node: Name = "",
        last_event_id: Annotated[str, Header(pattern=r"^[0-9]{0,18}$")] = "",
    ) -> Response:  # fmt: skip
        """Events as they happen: each `data` is a CloudEvent, each `id` its sequence in the stream."""
        try:
            found = tails.open(Wanted(type, namespace, workload, node), int(last_event_id) if last_event_id else None)
        except Full as error:
            raise HTTPException(503, "too many streams are open", {"Retry-After": "10"}) from error
        except NatsError as error:
            raise HTTPException(503, "NATS does not answer; what happens meanwhile is not lost", {"Retry-After": "2"}) from error
        return StreamingResponse(
            found, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        )


@dataclass(frozen=True)
class Span:
    """since is included, until is not; either may be None."""

    since: datetime | None
    until: datetime | None


class Rows:
    """Pages of the ledger's tables."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def answer(
        self, table: Table, model: type[BaseModel], request: Request, response: Response, filters: dict[str, str], span: Span,
        limit: int, after: str, form: str,
    ) -> Any:  # fmt: skip
        known = {name: value for name, value in filters.items() if value}

        async def page(most: int, last: Cursor | None) -> list[dict[str, Any]]:
            return await self._ledger.query(table, known, most, since=span.since, until=span.until, after=last)

        start = cursor(after)
        if form == "csv":
            first = await page(BATCH, start)  # before the answer begins, so that an absent database is told as such
            named = {"Content-Disposition": f'attachment; filename="{table}.csv"'}
            text = _csv(list(model.model_fields), KEY[table], first, page)
            return StreamingResponse(text, media_type="text/csv", headers=named)
        if form == "parquet":
            named = {"Content-Disposition": f'attachment; filename="{table}.parquet"'}
            file = await _parquet(model, KEY[table], await page(BATCH, start), page)
            return StreamingResponse(
                iter(lambda: file.read(1 << 16), b""), media_type=PARQUET, headers=named, background=BackgroundTask(file.close)
            )
        found = await page(limit + 1, start)
        if len(found) > limit:
            last = found[limit - 1]
            following = request.url.include_query_params(cursor=str(Cursor(last["at"], last[KEY[table]])))
            response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        return found[:limit]


Found = list[dict[str, Any]]
Page = Callable[[int, Cursor | None], Awaitable[Found]]


async def _batches(key: str, found: Found, page: Page) -> AsyncIterator[Found]:
    """Each from a cursor: no transaction is held open for a slow reader."""
    told = 0
    while found and told < MOST_ROWS:
        yield found
        told += len(found)
        found = await page(BATCH, Cursor(found[-1]["at"], found[-1][key])) if len(found) == BATCH else []


async def _csv(names: list[str], key: str, found: Found, page: Page) -> AsyncIterator[str]:
    for line in lines(names, []):
        yield line
    async for batch in _batches(key, found, page):
        yield "".join(list(lines(names, batch))[1:])


async def _parquet(model: type[BaseModel], key: str, found: Found, page: Page) -> IO[bytes]:
    """Its footer names every row group, so the whole of it is written before any is sent; beside, not in memory."""
    from reprise.console.parquet import Sheet  # some tens of megabytes, for who asks for it

    file = TemporaryFile()  # noqa: SIM115 closed once it is sent
    sheet, group = Sheet(file, model), []
    async for batch in _batches(key, found, page):
        group += batch
        if len(group) >= GROUP:
            await asyncio.to_thread(sheet.write, group)
            group = []
    await asyncio.to_thread(sheet.write, group)
    sheet.close()
    file.seek(0)
    return file
