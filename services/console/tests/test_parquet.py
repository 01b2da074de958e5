"""Rows as Parquet: what a reader gets back is what was told, typed."""

import io
from datetime import UTC, datetime

from pyarrow import parquet
from reprise.console.parquet import Sheet, schema
from reprise.console.rows import CheckpointRow, EventRow

NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)


def test_types_are_the_models() -> None:
    told = schema(CheckpointRow)
    types = {name: str(told.field(name).type) for name in ("at", "state", "size_bytes", "kubelet_s", "staged_warm", "trace_id")}
    assert types == {
        "at": "timestamp[us, tz=UTC]", "state": "string", "size_bytes": "int64", "kubelet_s": "double", "staged_warm": "bool",
        "trace_id": "string",
    }  # fmt: skip


def test_rows_come_back_as_they_were_and_nested_values_as_json() -> None:
    row = dict.fromkeys(EventRow.model_fields, "x") | {"at": NOON, "data": {"why": "é"}, "trace_id": None}
    file = io.BytesIO()
    sheet = Sheet(file, EventRow)
    sheet.write([row])
    sheet.write([])
    sheet.close()
    assert parquet.read_table(io.BytesIO(file.getvalue())).to_pylist() == [row | {"data": '{"why":"\\u00e9"}'}]
