"""Figures as people read them, in the console and the CLI. Pure."""

from datetime import UTC, datetime

UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
NONE = "–"


def size(count: float | None) -> str:
    """Bytes, in powers of 1000: `86.4 MB`."""
    if count is None:
        return NONE
    unit = 0
    while abs(count) >= 999.5 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 or count >= 100 else f"{count:.3g} {UNITS[unit]}"


def seconds(count: float | None) -> str:  # noqa: PLR0911 one return per range reads best
    """`38 ms`, `0.68 s`, `4.2 s`, `38 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if count is None:
        return NONE
    if count < 0:
        return f"−{seconds(-count)}"
    if count < 0.0995:
        return f"{count * 1000:.3g} ms" if count else "0 s"
    if count < 0.995:
        return f"{count:.2f} s"
    if count < 9.95:
        return f"{count:.1f} s"
    whole = round(count)
    if whole < 100:
        return f"{whole} s"
    for span, name, part, part_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= span or span == 60:
            more = whole % span // part
            return f"{whole // span} {name}" + (f" {more} {part_name}" if more else "")
    return NONE


def every(interval_s: float | None) -> str:
    """An interval as a user wrote it: `60 s` is `1 min`."""
    if interval_s is None:
        return NONE
    return f"{interval_s / 60:g} min" if interval_s >= 60 and interval_s % 60 == 0 else seconds(interval_s)


def microseconds(count: float | None) -> str:
    return seconds(None if count is None else count / 1e6)


def ago(moment: datetime | None, now: datetime) -> str:
    """`4 s ago`; what a clock ahead of ours calls later is `just now`."""
    if moment is None:
        return NONE
    age_s = (now - moment).total_seconds()
    if age_s < 1:
        return "just now"
    if age_s < 120:
        return f"{age_s:.0f} s ago"
    for span, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if age_s >= 2 * span or span == 60:
            return f"{age_s // span:.0f} {name} ago"
    return NONE


def absolute(moment: datetime | None) -> str:
    """`2026-11-24 20:14:33.123 UTC`."""
    return NONE if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


def clock(moment: datetime | None, now: datetime | None = None) -> str:
    """`20:14:33`, with the date before it unless it is today's."""
    if moment is None:
        return NONE
    moment = moment.astimezone(UTC)
    same_day = now is None or moment.date() == now.astimezone(UTC).date()
    return f"{moment:%H:%M:%S}" if same_day else f"{moment:%b} {moment.day}, {moment:%H:%M:%S}"


def short(user: str) -> str:
    """A service account by its own name: `system:serviceaccount:default:me` is `me`."""
    return user.rpartition(":")[2] if user.startswith("system:serviceaccount:") else user


def plural(count: int, noun: str, many: str = "") -> str:
    return f"{count} {noun if count == 1 else many or noun + 's'}"


def together(words: list[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
