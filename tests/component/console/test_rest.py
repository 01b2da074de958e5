"""The console's REST API as other people's tools meet it: over HTTP, with an hour of events behind it."""

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Console
from pyarrow import parquet
from reprise.contracts import envelope
from world import World

pytestmark = pytest.mark.component

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "negative_data_rejection",
)  # fmt: skip


def leaf(told: Console, path: str, **query: Any) -> list[list[dict[str, Any]]]:
    """Every page, by the addresses that each gives."""
    pages, url = [], str(httpx.URL(f"{told.url}{path}", params=query))
    while url:
        answer = httpx.get(url)
        answer.raise_for_status()
        pages.append(answer.json())
        url = told.url + answer.links["next"]["url"] if "next" in answer.links else ""
    return pages


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("events", "id"),
        ("checkpoints", "checkpoint_id"),
        ("failovers", "failover_id"),
        ("restores", "container_id"),
        ("exits", "container_id"),
    ],
)
def test_pages_have_each_row_once_newest_first(told: Console, path: str, key: str) -> None:
    pages = leaf(told, f"/api/v1/{path}", limit=1 if path in ("failovers", "restores", "exits") else 400)
    rows = [row for page in pages for row in page]
    assert len(pages) > 2
    assert len({row[key] for row in rows}) == len(rows) == told.count(path)
    assert [(row["at"], row[key]) for row in rows] == sorted(((row["at"], row[key]) for row in rows), reverse=True)


def test_annotations_without_effect_are_listed_on_whatever_kind(told: Console) -> None:
    found = told.get("/api/v1/annotations").json()
    assert [(row["kind"], row["name"]) for row in found] == [("Deployment", "counter"), ("DaemonSet", "sensor")]
    assert [row["kind"] for row in told.get("/api/v1/annotations", namespace="factory").json()] == ["DaemonSet"]
    assert "reprise.dev/intervall: 5s" in told.get("/workloads/default/deployment/counter").text
    page = told.get("/").text
    assert "reprise.dev/mode: criu" in page and "on DaemonSet sensor" in page


def test_filters_are_by_name_type_and_time(told: Console) -> None:
    began = told.looked_at - timedelta(minutes=30)
    rows = told.get("/api/v1/events", type="checkpoint.stored", workload="counter", since=began.isoformat(), limit=1000).json()
    assert rows
    assert all((row["type"], row["workload"]) == ("checkpoint.stored", "counter") for row in rows)
    assert min(datetime.fromisoformat(row["at"]) for row in rows) >= began
    assert {row["state"] for row in told.get("/api/v1/checkpoints", state="failed").json()} == {"failed"}
    assert {row["node"] for row in told.get("/api/v1/events", node="n1", limit=1000).json()} == {"n1"}


def test_csv_has_every_row_not_only_a_page(told: Console) -> None:
    answer = told.get("/api/v1/events", format="csv", limit=1)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == told.count()
    assert json.loads(rows[0]["data"])["node"] == rows[0]["node"]


@pytest.mark.parametrize("query", ["cursor=x", "limit=0", "limit=1001", "type=node.eaten", "since=soon", "workload=%00"])
def test_what_cannot_be_asked_is_told(told: Console, query: str) -> None:
    answer = httpx.get(f"{told.url}/api/v1/events?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_failover_has_its_steps_and_its_trace(told: Console) -> None:
    (row,) = told.get("/api/v1/failovers", workload="counter", cause="node-loss").json()
    moments = [row[f"{step}_at"] for step in ("declared", "started", "fenced", "restored", "ended")]
    assert moments == sorted(moments)
    assert (row["node"], row["standby"], row["path"], len(row["trace_id"])) == ("n1", "n2", "shadow", 32)


def test_a_stream_that_was_cut_goes_on_where_it_was(blank: Console) -> None:
    """Two events: the second is asked for with the first one's id."""
    for seed in (21, 22):
        blank.tell(list(World(datetime.now(UTC) + timedelta(seconds=seed), seed=seed).notebook()))
    read = [_first(blank, after) for after in ("0", "1")]
    assert [number for number, _ in read] == [1, 2]
    assert {envelope.decode(data.encode())[1].TYPE for _, data in read} == {"checkpoint.due"}


def test_a_stream_has_only_what_is_asked_for(blank: Console) -> None:
    blank.tell([each for each in World(datetime.now(UTC)).ingest() if each[0].TYPE.startswith("failover.")])
    number, data = _first(blank, "0", type="failover.started", namespace="shop")
    assert json.loads(data)["type"] == "dev.reprise.v1.failover.started"
    assert number > 1


def _first(console: Console, after: str, **query: str) -> tuple[int, str]:
    """Number and data of the first event of a stream."""
    with httpx.stream(
        "GET", f"{console.url}/api/v1/events/stream", params=query, headers={"Last-Event-ID": after}, timeout=10
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = 0
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            if line.startswith("data: "):
                return number, line[6:]
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("table", ["events", "checkpoints", "failovers", "restores", "exits", "operations"])
def test_parquet_has_every_row_with_its_types(told: Console, table: str) -> None:
    answer = told.get(f"/api/v1/{table}", format="parquet", limit=1)
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    sheet = parquet.read_table(io.BytesIO(answer.content))
    assert sheet.num_rows == told.count(table)
    assert str(sheet.schema.field("at").type) == "timestamp[us, tz=UTC]"
    rows = told.get(f"/api/v1/{table}", limit=1000).json()
    for name in {"events": ("id", "type"), "checkpoints": ("checkpoint_id", "size_bytes", "frozen_time_us", "staged_warm")}.get(
        table, ()
    ):
        assert sheet.column(name).to_pylist()[: len(rows)] == [row[name] for row in rows]


def test_the_openapi_document_is_true(told: Console, tmp_path: Path) -> None:
    """schemathesis asks what the document allows and what it does not, and compares the answers with it."""
    program = str(Path(sys.executable).parent / "schemathesis")
    config = tmp_path / "schemathesis.toml"
    config.write_text("[generation]\nmax-examples = 40\n")
    command = [
        program, "--config-file", str(config), "run", f"{told.url}/api/v1/openapi.json",
        "--exclude-path", "/api/v1/events/stream", "--checks", ",".join(CHECKS),
        "--seed", "7", "--request-timeout", "20", "--no-color", "--suppress-health-check", "all",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
