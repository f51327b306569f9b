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

#: Units whose length doesn't change with the clocks.
_FIXED = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1)}

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)

#: Two clock changes of a zone are never closer together than this (tests/test_periods.py checks every zone).
_BETWEEN_CHANGES = timedelta(hours=6)

#: A week is named by its first day. Before this moment, that day may lie before the calendar's first year.
_FIRST = datetime(1, 1, 8, tzinfo=UTC)

_UTC_ZONE = ZoneInfo("UTC")

_LEAP_SECOND = re.compile(r"(?<=[T ]\d\d:\d\d):60")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_time(given: Any) -> datetime:
    """A client's time as an aware UTC datetime. It is ISO 8601 text, or a number whose size tells its unit.

    Numbers below 1e11 are seconds, below 1e14 milliseconds, below 1e17 microseconds, all others nanoseconds. Text
    without an offset is UTC. Raises ValueError that says what would be readable. Source: semantics, section 1.
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
        # "23:59:60"    a leap second, read as the second after 23:59:59, as in Unix time
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
    """`2026-11-22T09:30:00.123Z`, in UTC with milliseconds. Every time is stored in this form."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:23] + "Z"


def to_ms(moment: datetime) -> int:
    """Unix time in whole milliseconds, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: float) -> datetime:
    """The moment of a Unix time. A time outside the calendar gives the calendar's first or last moment."""
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return _FIRST if ms < 0 else datetime.max.replace(tzinfo=UTC) - _DAY


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
    """Read `from` and `to` as users write them. A date stands for that whole day in `tz`, a time for an instant.

    `to=2026-11-22` includes the 22nd; `to=2026-11-22T10:00Z` ends before ten o'clock.
    """
    start = _edge("from", first, tz, last=False) if first else None
    end = _edge("to", last, tz, last=True) if last else None
    for name, text, edge in (("from", first, start), ("to", last, end)):
        if edge is not None and edge < _FIRST:
            raise ValueError(f"{name}: {text!r} is before the calendar's first whole week; write 1970-01-01 or later")
    if start and end and end <= start:
        raise ValueError(f"to: {last!r} is before from: {first!r}")
    return Period(start, end)


def _edge(name: str, text: str, tz: ZoneInfo, *, last: bool) -> datetime:
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return midnight(day + _DAY if last else day, tz)
        # A "+" that wasn't percent-encoded in the query string arrives as a space.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=tz)).astimezone(UTC)
        moment.astimezone(tz)  # raises if the instant's local date lies outside the calendar
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: {text[:40]!r} is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z") from None
    return moment


def midnight(day: date, tz: ZoneInfo) -> datetime:
    """First instant of a local day, in UTC. If the clock skips midnight, it is the first instant that exists."""
    return datetime.combine(day, time.min, tz).astimezone(UTC)


@dataclass(frozen=True)
class Every:
    """Buckets of `count` units of a time zone's calendar. The zone's clocks decide where the edges lie.

    Every("day")                                   every day, UTC
    Every("week", tz=PARIS, week_start=6)          weeks that begin on Sunday in Paris
    Every("minute", 10), Every("month", 3)         multiples, counted from `anchor`, a Monday

    Hours, minutes and seconds are equal stretches of time, counted from the anchor's midnight. With `count` 1, an hour
    begins when the zone's clocks show a full hour.
    """

    unit: str
    count: int = 1
    tz: ZoneInfo = _UTC_ZONE
    week_start: int = 0
    anchor: date = date(2000, 1, 3)

    @property
    def step(self) -> timedelta | None:
        """The length of the buckets if all have the same length, else None."""
        if self.unit in _FIXED:
            whole = self.unit != "hour" or self.count > 1 or self.tz.key == "UTC"
            return _FIXED[self.unit] * self.count if whole else None
        if self.tz.key == "UTC" and self.unit in ("day", "week"):
            return _DAY * self.count * (7 if self.unit == "week" else 1)
        return None

    def start_of(self, moment: datetime) -> datetime:
        """Start, in UTC, of the bucket that holds `moment`."""
        if self.unit in _FIXED:
            step = self.step
            if step is None:
                return _hour_of(moment, self.tz)
            return moment.astimezone(UTC) - (moment - midnight(self.anchor, self.tz)) % step
        local = moment.astimezone(self.tz)
        start = midnight(self._first_day(local.date()), self.tz)
        if local.fold:
            # A clock that is set back over midnight shows an hour of the day before again. That hour belongs to the
            # new day, which has already begun.
            following = self.after(start)
            return following if following <= moment else start
        return start

    def after(self, start: datetime) -> datetime:
        """Start, in UTC, of the bucket after the one that starts at `start`."""
        if self.unit in _FIXED:
            return start + self.step if self.step else _hour_after(start, self.tz)
        day = start.astimezone(self.tz).date()
        if self.unit in ("day", "week"):
            return midnight(day + _DAY * self.count * (7 if self.unit == "week" else 1), self.tz)
        return midnight(_month(day, self.count * (12 if self.unit == "year" else 1)), self.tz)

    def starts(self, first: datetime, last: datetime) -> Iterator[datetime]:
        """Starts, ascending and in UTC, of all buckets from the one of `first` to the one of `last`."""
        start = self.start_of(first)
        step = self.step
        hours = self.unit == "hour" and step is None
        try:
            while start <= last:
                yield start
                alike = _hours_alike(start, last, self.tz) if hours else ()
                for following in alike:
                    yield following
                    start = following
                start = start + step if step else self.after(start)
        except (OverflowError, ValueError):  # the calendar ends with the year 9999
            return

    def label(self, start: datetime) -> str:
        """`2026-11-22` (a day, a week's first day), `2026-11`, `2026`, `2026-11-22T09:00+01:00` (an hour)."""
        local = start if self.tz.key == "UTC" else start.astimezone(self.tz)
        if self.unit in _FIXED:
            return local.isoformat(timespec="seconds" if self.unit == "second" else "minutes")
        text = local.isoformat()[:10]
        return text[:7] if self.unit == "month" else text[:4] if self.unit == "year" else text

    def _first_day(self, day: date) -> date:
        if self.unit in ("day", "week"):
            days = self.count * (7 if self.unit == "week" else 1)
            origin = self.anchor
            if self.unit == "week":
                origin -= _DAY * ((origin.weekday() - self.week_start) % 7)
            return day - _DAY * ((day - origin).days % days)
        months = self.count * (12 if self.unit == "year" else 1)
        first = day.year * 12 + day.month - 1
        return _month(day, -((first - self.anchor.year * 12) % months))


def _month(day: date, further: int) -> date:
    """First day of the month that is `further` months after the day's own."""
    year, month = divmod(day.year * 12 + day.month - 1 + further, 12)
    return date(year, month + 1, 1)


def bucket_of(moment: datetime, interval: str, tz: ZoneInfo) -> datetime:
    """Start, in UTC, of the hour, day, week, month or year that holds `moment`."""
    return Every(interval, tz=tz).start_of(moment)


def next_bucket(start: datetime, interval: str, tz: ZoneInfo) -> datetime:
    """Start, in UTC, of the bucket after the one that starts at `start`."""
    return Every(interval, tz=tz).after(start)


def edges(first: datetime, last: datetime, interval: str, tz: ZoneInfo) -> Iterator[datetime]:
    """Starts, ascending and in UTC, of all buckets from the one of `first` to the one of `last`."""
    return Every(interval, tz=tz).starts(first, last)


def label(start: datetime, interval: str, tz: ZoneInfo) -> str:
    return Every(interval, tz=tz).label(start)


def common_step(starts: list[datetime]) -> tuple[int, int]:
    """`(step, offset)` in ms: the longest equal steps, beginning at `offset`, such that no step crosses a start.

    For days in Paris the step is a day if no clock change lies between them, else an hour. For days in Monrovia before
    1972, when its offset was -0:44:30, the step is thirty seconds.
    """
    found = [to_ms(start) for start in starts]
    step = math.gcd(*(ms - found[0] for ms in found[1:])) if len(found) > 1 else 0
    step = step or 86_400_000
    return step, found[0] % step


def _hour_of(moment: datetime, tz: ZoneInfo) -> datetime:
    # The hour is computed in UTC with the zone's offset at the moment. So an hour that a clock change repeats gives two
    # buckets.
    offset = _offset(moment, tz)
    start = moment.astimezone(UTC) - (moment + offset - _EPOCH) % _HOUR
    # A clock change of half an hour cuts an hour in two.
    return start if _offset(start, tz) == offset else _clock_change(start, moment, tz)


def _hour_after(start: datetime, tz: ZoneInfo) -> datetime:
    following = _hour_of(start + _HOUR, tz)
    while (earlier := _hour_of(following - timedelta(milliseconds=1), tz)) > start:
        following = earlier
    return following


def _hours_alike(start: datetime, last: datetime, tz: ZoneInfo) -> Iterator[datetime]:
    """The full hours after `start`, up to the next clock change or `last`, without asking the zone about each."""
    offset = _offset(start, tz)
    if (start + offset - _EPOCH) % _HOUR:
        return
    sure = start
    while sure < last and _offset(sure + _BETWEEN_CHANGES, tz) == offset:
        sure += _BETWEEN_CHANGES
    while start < sure and start + _HOUR <= last:
        start += _HOUR
        yield start


def _offset(moment: datetime, tz: ZoneInfo) -> timedelta:
    return moment.astimezone(tz).utcoffset() or timedelta()


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
