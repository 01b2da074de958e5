"""What a reader may ask for, checked: the query parameters that REST and pages share."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import HTTPException, Query
from reprise.console.paging import BadCursor, Cursor, parse

Name = Annotated[str, Query(max_length=253, pattern=r"^[^\x00]*$")]
"""A name, or a part of one; empty: any. PostgreSQL has no text with a NUL."""
Moment = Annotated[datetime | None, Query()]
"""RFC 3339; one without a zone is UTC's."""

FormMoment = Annotated[str, Query(max_length=40)]
"""The same from a form, which sends an empty one too."""


def form_moment(text: str) -> datetime | None:
    """Raises HTTPException 422."""
    try:
        return utc(datetime.fromisoformat(text)) if text else None
    except ValueError as error:
        raise HTTPException(422, f"{text!r} is no date and time") from error


def utc(moment: datetime | None) -> datetime | None:
    """Raises HTTPException 422 for a moment that is none in UTC: the first and last hours of what a calendar has."""
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise HTTPException(422, "that moment is out of range") from error


def cursor(text: str) -> Cursor | None:
    """Raises HTTPException 422."""
    try:
        return parse(text) if text else None
    except BadCursor as error:
        raise HTTPException(422, str(error)) from error
