"""All arithmetic on time: reading what clients send, and the edges of days, weeks and months in any time zone.

Times are stored in UTC with millisecond resolution. Edges are computed with `zoneinfo` and given to
Elasticsearch as explicit ranges, so a day of 23 or 25 hours is one bucket.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

INTERVALS = ("hour", "day", "week", "month", "year")

#: Intervals of which all are of one length where clocks never change.
_STEPS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}

_LEAP_SECOND = re.compile(r"(?<=[T ]\d\d:\d\d):60")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(given: Any) -> datetime:
    """A client's time as aware UTC: ISO 8601 text, or a number read by its size.

    Below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds; text without an offset
    is UTC. Raises ValueError that says what would be readable. Source: semantics, section 1.
    """
    if isinstance(given, str):
        return _read_text(given.strip())
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ValueError("is not a time: send ISO 8601 text or a Unix time in seconds or milliseconds")  # noqa: TRY004
    return _read_number(given)


def _read_text(text: str) -> datetime:
    if len(text) > 8 and text.lstrip("-").replace(".", "", 1).isdecimal():
        return _read_number(float(text) if "." in text else int(text))
    leap = timedelta(0)
    if _LEAP_SECOND.search(text):
        # "23:59:60"    a leap second is the second after 23:59:59, as in Unix time
        text, leap = _LEAP_SECOND.sub(":59", text, count=1), timedelta(seconds=1)
    try:
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)) + leap
    except (ValueError, OverflowError):
        raise ValueError(f"{text[:40]!r} is not an ISO 8601 time, such as 2026-11-22T09:30:00Z") from None


def _read_number(number: float) -> datetime:
    size = abs(number)
    if isinstance(number, float) and not math.isfinite(size):
        raise ValueError("is not a finite number")
    unit = 1 if size < 1e11 else 10**3 if size < 1e14 else 10**6 if size < 1e17 else 10**9
    try:
        if isinstance(number, int):
            return _EPOCH + timedelta(microseconds=number * 10**6 // unit)
        return _EPOCH + timedelta(seconds=number / unit)
    except OverflowError:
        raise ValueError(f"{str(number)[:40]} is out of range for a time") from None


def to_text(moment: datetime) -> str:
    """`2026-11-22T09:30:00.123Z`: UTC, milliseconds, the form in which every time is stored."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def to_ms(moment: datetime) -> int:
    """Unix time in whole milliseconds, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)


def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name; raises ValueError with the name and an example."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name[:60]!r} is not a time zone; use an IANA name such as Europe/Paris or UTC") from None


@dataclass(frozen=True)
class Period:
    """`start <= t < end`, aware datetimes; None leaves that side open."""

    start: datetime | None = None
    end: datetime | None = None


def period(first: str | None, last: str | None, tz: ZoneInfo) -> Period:
    """`from` and `to` as users write them: a date is that whole day in `tz` on either side, a time is an instant.

    `to=2026-11-22` includes the 22nd; `to=2026-11-22T10:00Z` ends before ten o'clock.
    """
    start = _edge("from", first, tz, last=False) if first else None
    end = _edge("to", last, tz, last=True) if last else None
    if start and end and end <= start:
        raise ValueError(f"to: {last!r} is before from: {first!r}")
    return Period(start, end)


def _edge(name: str, text: str, tz: ZoneInfo, *, last: bool) -> datetime:
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return midnight(day + timedelta(days=1) if last else day, tz)
        # A "+" that stands for itself in a query string arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=tz)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: {text[:40]!r} is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z") from None


def midnight(day: date, tz: ZoneInfo) -> datetime:
    """First instant of a local day, in UTC; where the clock skips midnight, the first instant that exists."""
    return datetime.combine(day, time.min, tz).astimezone(UTC)


def bucket_of(moment: datetime, interval: str, tz: ZoneInfo) -> datetime:
    """Start, in UTC, of the bucket that holds `moment`."""
    if interval == "hour":
        # On the UTC line, at the zone's offset of the moment: the hour that a clock change repeats is two buckets.
        offset = moment.astimezone(tz).utcoffset() or timedelta()
        start = moment.astimezone(UTC) - (moment + offset - _EPOCH) % timedelta(hours=1)
        # Where the clock changes by half an hour, it cuts an hour in two.
        return start if start.astimezone(tz).utcoffset() == offset else _clock_change(start, moment, tz)
    local = moment.astimezone(tz)
    start = midnight(_first_day(local.date(), interval), tz)
    if local.fold:
        # A clock set back over midnight shows an hour of the day before again; it belongs to the day already begun.
        following = next_bucket(start, interval, tz)
        return following if following <= moment else start
    return start


def _clock_change(before: datetime, after: datetime, tz: ZoneInfo) -> datetime:
    """First second, in UTC, that has the offset of `after` and not that of `before`."""
    low, high = int(before.timestamp()), int(after.timestamp())
    offset = after.astimezone(tz).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, tz).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


def next_bucket(start: datetime, interval: str, tz: ZoneInfo) -> datetime:
    """Start, in UTC, of the bucket after the one that starts at `start`."""
    if interval == "hour":
        following = bucket_of(start + timedelta(hours=1), interval, tz)
        while (earlier := bucket_of(following - timedelta(milliseconds=1), interval, tz)) > start:
            following = earlier
        return following
    day = start.astimezone(tz).date()
    if interval == "day":
        return midnight(day + timedelta(days=1), tz)
    if interval == "week":
        return midnight(day + timedelta(days=7), tz)
    if interval == "month":
        return midnight((day.replace(day=1) + timedelta(days=31)).replace(day=1), tz)
    return midnight(date(day.year + 1, 1, 1), tz)


def edges(first: datetime, last: datetime, interval: str, tz: ZoneInfo) -> Iterator[datetime]:
    """Starts, ascending and in UTC, of all buckets from the one of `first` to the one of `last`."""
    start = bucket_of(first, interval, tz)
    # UTC changes no clocks.
    step = _STEPS.get(interval) if tz.key == "UTC" else None
    while start <= last:
        yield start
        try:
            start = start + step if step else next_bucket(start, interval, tz)
        except (OverflowError, ValueError):  # the calendar ends with the year 9999
            return


def label(start: datetime, interval: str, tz: ZoneInfo) -> str:
    """How a bucket is called: `2026-11-22` (day, and Monday of a week), `2026-11`, `2026`, `2026-11-22T09:00+01:00`."""
    local = start if tz.key == "UTC" else start.astimezone(tz)
    if interval == "hour":
        return local.isoformat(timespec="minutes")
    text = local.isoformat()[:10]
    return text[:7] if interval == "month" else text[:4] if interval == "year" else text


def _first_day(day: date, interval: str) -> date:
    if interval == "week":
        return day - timedelta(days=day.weekday())
    if interval == "month":
        return day.replace(day=1)
    if interval == "year":
        return day.replace(month=1, day=1)
    return day
