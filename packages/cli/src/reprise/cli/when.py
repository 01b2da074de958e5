"""Moments as a user writes them: an age such as `90s`, `2h` or `3d`, or RFC 3339. Pure."""

import re
from datetime import UTC, datetime, timedelta

AGE = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(text: str, now: datetime) -> datetime:
    """Raises ValueError saying how to write one."""
    parts = AGE.findall(text)
    if text and "".join(number + unit for number, unit in parts) == text:
        try:
            return now - timedelta(seconds=sum(float(number) * SECONDS[unit] for number, unit in parts))
        except OverflowError as error:
            raise ValueError(f"{text!r} is too long ago") from error
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no moment: write an age (90s, 2h, 3d) or 2026-11-24T20:14:33Z") from error
    return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
