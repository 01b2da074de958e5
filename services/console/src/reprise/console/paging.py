"""Pages of a growing table, pure: a cursor names the last row that was seen, so that new rows shift nothing."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime


class BadCursor(ValueError):
    """It is none that this API gave."""


@dataclass(frozen=True)
class Cursor:
    """at and key of the last row of a page."""

    at: datetime
    key: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(f"{self.at.isoformat()} {self.key}".encode()).decode().rstrip("=")


def parse(text: str) -> Cursor:
    """Raises BadCursor."""
    try:
        told = base64.b64decode((text + "=" * (-len(text) % 4)).encode("ascii"), altchars=b"-_", validate=True).decode()
        at, _, key = told.partition(" ")
        moment = datetime.fromisoformat(at)
    except (ValueError, binascii.Error) as error:
        raise BadCursor("this cursor was not given by this API") from error
    if moment.tzinfo is None or not key or "\0" in key:
        raise BadCursor("this cursor was not given by this API")
    return Cursor(moment, key)
