"""Rows as CSV (RFC 4180), pure: a line of names, then a line each. Nested values are JSON."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")


def lines(names: list[str], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield _line(names)
    for row in rows:
        yield _line([_cell(row.get(name)) for name in names])


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"  # a spreadsheet would run it, and its text may be anybody's
    return value.isoformat() if hasattr(value, "isoformat") else value


def _line(cells: list[Any]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow(cells)
    return out.getvalue()
