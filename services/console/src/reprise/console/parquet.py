"""Rows as Parquet: column types from the row's model, times as UTC timestamps, nested values as JSON text."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import IO, Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

TYPES: dict[Any, pa.DataType] = {
    str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), datetime: pa.timestamp("us", "UTC"),
}  # fmt: skip


def schema(model: type[BaseModel]) -> pa.Schema:
    return pa.schema([pa.field(name, _type(field.annotation)) for name, field in model.model_fields.items()])


class Sheet:
    """A file that is being written; each write() is a row group."""

    def __init__(self, file: IO[bytes], model: type[BaseModel]) -> None:
        self._schema = schema(model)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        told = list(rows)
        columns = {name: [_cell(row.get(name)) for row in told] for name in self._schema.names}
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _type(annotation: Any) -> pa.DataType:
    parts = [part for part in get_args(annotation) if part is not type(None)] or [annotation]
    if get_origin(annotation) is Literal or isinstance(parts[0], str) or get_origin(parts[0]) is Literal:
        return pa.string()
    return TYPES.get(parts[0], pa.string())


def _cell(value: Any) -> Any:
    return json.dumps(value, separators=(",", ":"), default=str) if isinstance(value, dict | list) else value
