"""Moments and durations as a user writes them: `90s`, `1h30m`, `3d`; a moment also as RFC 3339. Pure."""

import re
from datetime import UTC, datetime, timedelta

PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> float:
    """Of `2m`, `90s`, `1h30m`; a number alone is seconds. Raises ValueError saying how to write one."""
    parts = PART.findall(text)
    if text and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * SECONDS[unit] for number, unit in parts)
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    raise ValueError(f"{text!r} is no duration: write 90s, 2m or 1h30m")


def moment(text: str, now: datetime) -> datetime:
    """An age, or a moment. Raises ValueError saying how to write one."""
    if PART.match(text) and not re.search(r"\d-\d", text):
        try:
            return now - timedelta(seconds=seconds(text))
        except OverflowError as error:
            raise ValueError(f"{text!r} is too long ago") from error
    try:
        told = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no moment: write an age (90s, 2h, 3d) or 2026-11-24T20:14:33Z") from error
    return told.astimezone(UTC) if told.tzinfo else told.replace(tzinfo=UTC)
