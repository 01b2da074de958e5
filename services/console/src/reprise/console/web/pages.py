"""The pages' addresses: load, look at it, render."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from reprise.console.api import of
from reprise.console.asking import KINDS, Part
from reprise.console.filters import CursorText, FormMoment, Moment, Name, cursor, form_moment
from reprise.console.ledger import Ledger
from reprise.console.paging import Cursor
from reprise.console.ports import Annotations, Planner
from reprise.console.web import charts, whatif
from reprise.console.web.rendering import Pages, static_response
from reprise.console.web.story import Story, fault_at, tell
from reprise.console.workloads import STALE_INTERVALS, status
from reprise.contracts.events import BY_TYPE
from reprise.contracts.humane import seconds, size
from reprise.contracts.records import WrongAnnotation
from reprise.contracts.words import CAUSE, FAILOVER, ORDER, outcome

MOST_WORKLOADS = 1000
RANGES = {
    "15m": timedelta(minutes=15), "1h": timedelta(hours=1), "6h": timedelta(hours=6), "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}  # fmt: skip
RANGE_WORDS = {"15m": "15 min", "1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
CHECKPOINTS, FAILOVERS, EVENTS, OPERATIONS, EXITS = 20, 20, 100, 5, 5
END_S = 5.0
"""A container's end and its failover's fault are told by the same node, some moments apart."""


def router(
    ledger: Ledger, pages: Pages, planner: Planner | None = None, annotations: Annotations | None = None
) -> APIRouter:  # fmt: skip
    web = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    views = Views(ledger, planner, annotations)

    @web.get("/")
    async def overview(request: Request, namespace: Name = "", q: Name = "", health: Name = "", gone: bool = False) -> Response:
        return pages.render("overview.html", request, **await views.overview(namespace, q, health, gone))

    @web.get("/workloads/{namespace}/{kind}/{name}")
    async def workload(
        request: Request,
        namespace: Part,
        kind: Part,
        name: Part,
        container: Name = "",
        range: Name = "1h",
        until: Moment = None,
        before: CursorText = "",
    ) -> Response:
        found = await views.workload(namespace, kind, name, container, range, until, before)
        return pages.render("workload.html", request, **found)

    @web.get("/failovers/{failover_id}")
    async def failover(request: Request, failover_id: Part) -> Response:
        return pages.render("failover.html", request, **await views.failover(failover_id))

    @web.get("/nodes")
    async def nodes(request: Request) -> Response:
        return pages.render("nodes.html", request, **await views.nodes())

    @web.get("/nodes/{name}")
    async def node(request: Request, name: Part) -> Response:
        return pages.render("node.html", request, **await views.node(name))

    @web.get("/events")
    async def events(
        request: Request, type: Name = "", namespace: Name = "", workload: Name = "", node: Name = "", since: FormMoment = "",
        until: FormMoment = "", before: CursorText = "",
    ) -> Response:  # fmt: skip
        asked = {"type": type, "namespace": namespace, "workload": workload, "node": node}
        return pages.render("events.html", request, **await views.events(asked, form_moment(since), form_moment(until), before))

    return web


def statics() -> APIRouter:
    """What a page is drawn with: for anybody."""
    web = APIRouter(include_in_schema=False)

    @web.get("/static/{name}")
    async def static(name: str) -> Response:
        try:
            return static_response(name)
        except KeyError as error:
            raise HTTPException(404) from error

    return web


class Views:
    """What each page's template is given."""

    def __init__(self, ledger: Ledger, planner: Planner | None = None, annotations: Annotations | None = None) -> None:
        self._ledger, self._planner, self._annotations = ledger, planner, annotations

    async def statuses(self, *, gone: bool = False) -> list[dict[str, Any]]:
        return [status(row) for row in await self._ledger.workloads(None, MOST_WORKLOADS, gone=gone)]

    async def overview(self, namespace: str, q: str, health: str, gone: bool) -> dict[str, Any]:
        here, absent = await self.statuses(), await self.statuses(gone=True)
        every = absent if gone else here
        rows = [
            row for row in every
            if (not namespace or row["namespace"] == namespace)
            and q.lower() in f"{row['namespace']}/{row['workload']}/{row['container']}".lower()
            and (not health or (row["health"] == "ok") == (health == "ok"))
        ]  # fmt: skip
        rows.sort(key=lambda row: (ORDER.index(row["health"]), row["namespace"], row["workload"], row["container"]))
        failovers = [row for row in await self._ledger.query("failovers", {}, 50) if row["cause"] != "arm"][:6]
        return {
            "nav": "workloads", "rows": rows, "every": every, "failovers": failovers, "namespace": namespace, "q": q,
            "health": health, "namespaces": sorted({row["namespace"] for row in every}), "most": MOST_WORKLOADS,
            "wrong": [] if gone else await self._wrong(namespace),
            "gone": gone, "absent": len(absent), "nodes": node_list(here, await self._ledger.nodes()),
        }  # fmt: skip

    async def workload(
        self, namespace: str, kind: str, name: str, container: str, span: str, until: datetime | None, before: str
    ) -> dict[str, Any]:
        containers = [status(row) for row in await self._ledger.workload(namespace, KINDS.get(kind, kind), name)]
        now = next((row for row in containers if row["container"] == container), containers[0] if containers else None)
        if now is None:
            raise HTTPException(404, f"nothing is known of {kind} {name} in {namespace}")
        span = span if span in RANGES else "1h"
        end = until or datetime.now(UTC)
        window = charts.Window(end - RANGES[span], end)
        rows = await self._ledger.history(now, window.since, window.until, window.bins)
        failovers = await self._ledger.query("failovers", _who(now), FAILOVERS)
        newest = next((row for row in failovers if row["cause"] != "arm"), None)
        told = whatif.fate(now, _gone(node_list(containers, await self._ledger.nodes())))
        return {
            "wrong": await self._wrong(namespace, now["kind"], name),
            "nav": "workloads", "row": now, "containers": containers, "fate": told, "what_if": whatif.sentence(told),
            "failover": newest, "story": await self._story(newest) if newest else None,
            "failovers": [(row, fault_at(row)) for row in failovers],
            **history(now, window, rows, failovers), "span": span, "ranges": RANGE_WORDS, "until": until,
            "earlier": (end - RANGES[span]).isoformat(timespec="seconds"),
            "later": _later(until, RANGES[span]),
            "operations": await self._ledger.query("operations", _who(now), OPERATIONS),
            "exits": await self._ledger.query("exits", _who(now) | {"container": now["container"]}, EXITS),
            **await self._checkpoints(now, before),
        }  # fmt: skip

    async def _checkpoints(self, who: dict[str, Any], before: str) -> dict[str, Any]:
        after = cursor(before)
        rows = await self._ledger.query("checkpoints", _who(who) | {"container": who["container"]}, CHECKPOINTS + 1, after=after)
        page = rows[:CHECKPOINTS]
        older = str(Cursor(page[-1]["at"], page[-1]["checkpoint_id"])) if len(rows) > CHECKPOINTS else ""
        return {"checkpoints": page, "older": older, "before": before}

    async def nodes(self) -> dict[str, Any]:
        every = node_list(await self.statuses(), await self._ledger.nodes())
        lost = _gone(every)
        return {"nav": "nodes", "nodes": [(row, [whatif.fate(each, lost) for each in row["runs"]]) for row in every]}

    async def node(self, name: str) -> dict[str, Any]:
        every = node_list(await self.statuses(), await self._ledger.nodes())
        found = next((row for row in every if row["name"] == name), None)
        if found is None:
            raise HTTPException(404, f"no event has told of a node {name}")
        plans = await self._planner.plans(name) if self._planner and found["runs"] else None
        fates = [whatif.decided(whatif.fate(row, _gone(every)), plans or ()) for row in found["runs"]]
        fates.sort(key=lambda told: ("bad warn ok".index(told.tone), told.workload["namespace"], told.workload["workload"]))
        asked = await self._ledger.query("operations", {"namespace": "-", "workload": name}, OPERATIONS)
        return {"nav": "nodes", "node": found, "fates": fates, "operations": asked, "planned": plans is not None}

    async def events(self, asked: dict[str, str], since: datetime | None, until: datetime | None, before: str) -> dict[str, Any]:
        filters = {name: value for name, value in asked.items() if value}
        rows = await self._ledger.query("events", filters, EVENTS + 1, since=since, until=until, after=cursor(before))
        page = rows[:EVENTS]
        older = str(Cursor(page[-1]["at"], page[-1]["id"])) if len(rows) > EVENTS else ""
        moments = {"since": since.isoformat() if since else "", "until": until.isoformat() if until else ""}
        return {
            "nav": "events", **asked, "since": since, "until": until, "before": before, "older": older, "rows": page,
            "asked": asked | moments, "filtered": bool(filters or since or until or before), "types": sorted(BY_TYPE),
            "namespaces": sorted({*await self._ledger.namespaces(), *([asked["namespace"]] if asked["namespace"] else [])}),
        }  # fmt: skip

    async def failover(self, failover_id: str) -> dict[str, Any]:
        found = await self._ledger.query("failovers", {"failover_id": failover_id}, 1)
        if not found:
            raise HTTPException(404, f"no failover {failover_id} is in the ledger")
        events = await self._ledger.failover_events(failover_id)
        return {"nav": "workloads", "row": found[0], "story": await self._story(found[0]), "events": events}

    async def _wrong(self, namespace: str, kind: str = "", name: str = "") -> list[WrongAnnotation]:
        """Annotations that have no effect; none while nobody tells."""
        listed = await self._annotations.wrong() if self._annotations else None
        return of(listed, namespace, kind, name) if listed else []

    async def _story(self, row: dict[str, Any]) -> Story:
        attempts = await self._ledger.attempts(row, row["declared_at"] or row["at"], 12) if row["container"] else []
        if row["checkpoint_id"] and all(c["checkpoint_id"] != row["checkpoint_id"] for c in attempts):
            attempts += await self._ledger.query("checkpoints", {"checkpoint_id": row["checkpoint_id"]}, 1)
        return tell(row, attempts, datetime.now(UTC), await self._restore(row), await self._end(row))

    async def _restore(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """What CRIU said of it: the container's last restore between the fault and the end."""
        ended = row["restored_at"] or row["ended_at"]
        if not (row["container"] and ended):
            return None
        who = _who(row) | {"container": row["container"]}
        found = await self._ledger.query("restores", who, 1, since=fault_at(row), until=ended)
        return found[0] if found else None

    async def _end(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """How the container ended of which it was declared."""
        if not (row["container"] and row["declared_at"]) or row["cause"] == "node-loss":
            return None
        who = _who(row) | {"container": row["container"]}
        near = timedelta(seconds=END_S)
        found = await self._ledger.query("exits", who, 1, since=fault_at(row) - near, until=row["declared_at"] + near)
        return found[0] if found else None


def workload_address(row: dict[str, Any]) -> str:
    """Of its page."""
    return "/workloads/" + "/".join(quote(each, safe="") for each in (row["namespace"], row["kind"].lower(), row["workload"]))


def _who(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in ("namespace", "kind", "workload")}


def _later(until: datetime | None, span: timedelta) -> str:
    """The next window, or an empty one for the one that ends now."""
    return (until + span).isoformat(timespec="seconds") if until and until + span < datetime.now(UTC) else ""


def history(
    who: dict[str, Any], window: charts.Window, rows: list[dict[str, Any]], failovers: list[dict[str, Any]]
) -> dict[str, Any]:
    """The timeline and the charts of a window."""
    gap_s = max(STALE_INTERVALS * (who["interval_s"] or 0), 2.5 * window.step_s)
    drawn = (
        charts.chart("Pause", rows, "pause_s", window, seconds, gap_s),
        charts.chart("Size", rows, "size_bytes", window, size, gap_s),
        charts.chart("New in each", rows, "new_bytes", window, size, gap_s),
    )
    return {
        "window": window, "ticks": charts.ticks(rows, window),
        "marks": charts.marks(failovers, window, lambda state: FAILOVER[state].tone, _mark),
        "charts": [chart for chart in drawn if chart],
        "good": sum(row["good"] for row in rows), "failed": sum(row["failed"] for row in rows),
    }  # fmt: skip


def _mark(row: dict[str, Any]) -> str:
    took = f" after {seconds((row['noticed_after_s'] or 0) + row['total_s'])}" if row["total_s"] is not None else ""
    return f"{CAUSE.get(row['cause'] or '', 'fault')}: {outcome(row).text}{took}"


def node_list(statuses: list[dict[str, Any]], nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every node that was heard of: state, what runs there, what it stands by for."""
    known = {row["node"]: row for row in nodes}
    names = known.keys() | {row["node"] for row in statuses if row["node"]}
    names |= {row["standby"]["node"] for row in statuses if row["standby"]}
    told = []
    for name in sorted(names):
        row = known.get(name)
        gone = bool(row and row["changed_at"] and row["change"] != "node.returned" and _newer(row["changed_at"], row["seen_at"]))
        told.append({
            "name": name, "gone": gone,
            "change": row["change"] if row and gone else "", "detail": row["detail"] if row and gone else "",
            "changed_at": row["changed_at"] if row else None, "seen_at": row["seen_at"] if row else None,
            "unguarded": row["guard_detail"] if row and row["guarded"] is False else "",
            "runs": [s for s in statuses if s["node"] == name],
            "stands_by": [s for s in statuses if s["standby"] and s["standby"]["node"] == name and s["node"] != name],
        })  # fmt: skip
    return told


def _gone(nodes: list[dict[str, Any]]) -> frozenset[str]:
    return frozenset(row["name"] for row in nodes if row["gone"])


def _newer(moment: datetime, than: datetime | None) -> bool:
    return than is None or moment > than
