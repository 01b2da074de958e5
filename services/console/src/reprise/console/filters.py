"""What a reader may ask for, checked: the query parameters that REST and pages share."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import HTTPException, Query
from pydantic import AfterValidator, BeforeValidator
from reprise.console.paging import Cursor, parse

RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

OUT_OF_RANGE = "that moment is out of range"


def _moment(told: Any) -> Any:
    """Stricter than pydantic, for which any number is a moment, and within what can be told in UTC."""
    if told is None:
        return None
    if not RFC3339.fullmatch(str(told)):
        raise ValueError("write it as 2026-11-24T20:14:33Z (RFC 3339)")
    try:
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", told.upper())).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(OUT_OF_RANGE) from error
    return _within(moment)


def _within(moment: datetime) -> datetime:
    """A window around it is one that a calendar has too."""
    if not 1970 <= moment.year <= 9000:
        raise ValueError(OUT_OF_RANGE)
    return moment


def _cursor(text: str) -> str:
    if text:
        parse(text)
    return text


Name = Annotated[str, Query(max_length=253, pattern=r"^[^\x00]*$")]
"""A name, or a part of one; empty: any. PostgreSQL has no text with a NUL."""
Moment = Annotated[datetime | None, BeforeValidator(_moment), Query()]
CursorText = Annotated[str, AfterValidator(_cursor), Query(max_length=1000)]
"""From the page before; empty: the first page."""
FormMoment = Annotated[str, Query(max_length=40)]
"""A moment from a form, which knows no zone and sends an empty one too: UTC's."""


def form_moment(text: str) -> datetime | None:
    """Raises HTTPException 422."""
    try:
        told = datetime.fromisoformat(text) if text else None
        return told and _within(told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        raise HTTPException(422, f"{text!r} is no date and time") from error


def cursor(text: str) -> Cursor | None:
    """What a CursorText names."""
    return parse(text) if text else None
