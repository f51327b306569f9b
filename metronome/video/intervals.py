"""Spans of time as PostgreSQL reads them, and buckets of that width.

    1 day, 2 weeks, 1 mon, 36:00:00, 1 day 12:00:00        months and years apart, since their length varies

Buckets below a month begin at 2000-01-03, a Monday, those of months and years at 2000-01-01, all in UTC (TimescaleDB's
`time_bucket`). Source: video contract, sections 3.3 and 6.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from metronome.errors import BadQuestion

_SECONDS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86_400, "week": 7 * 86_400}
_MONTHS = {"month": 1, "mon": 1, "year": 12}

_PART = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)|(\d{1,6}):(\d\d)(?::(\d\d(?:\.\d{1,6})?))?", re.ASCII)

#: Start of a bucket of any width below a month.
ANCHOR_MS = int(datetime(2000, 1, 3, tzinfo=UTC).timestamp() * 1000)

#: The calendar's first and last moment in ms. Times outside of it are taken as these.
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999

#: Longest span: no time that anybody means is further away.
MAX_YEARS = 1000


@dataclass(frozen=True)
class Interval:
    """`months` and `ms`, both not negative, not both 0."""

    months: int = 0
    ms: int = 0

    def before(self, moment: datetime) -> datetime:
        """The moment that lies so far back. A day that the month doesn't have becomes its last."""
        back = moment.year * 12 + moment.month - 1 - self.months
        if back < 12:
            return datetime.min.replace(tzinfo=UTC)
        year, month = divmod(back, 12)
        day = min(moment.day, monthrange(year, month + 1)[1])
        try:
            return moment.replace(year=year, month=month + 1, day=day) - timedelta(milliseconds=self.ms)
        except OverflowError:
            return datetime.min.replace(tzinfo=UTC)

    def bucket(self, ms: int) -> int:
        """The start of the bucket that holds this moment, both as Unix time in ms."""
        ms = min(max(ms, _FIRST_MS), _LAST_MS)
        if not self.months:
            return ms - (ms - ANCHOR_MS) % self.ms
        moment = datetime.fromtimestamp(ms / 1000, UTC)
        months = (moment.year - 2000) * 12 + moment.month - 1
        year, month = divmod(24_000 + months - months % self.months, 12)
        return int(datetime(max(year, 1), month + 1 if year > 0 else 1, 1, tzinfo=UTC).timestamp() * 1000)


def read_interval(text: Any, name: str) -> Interval:
    """A span of time; raises BadQuestion that names the argument."""
    wrong = BadQuestion(
        f"{name}: {str(text)[:40]!r} isn't a span of time, such as 1 day, 2 weeks, 1 month or 36:00:00", field=name
    )
    if not isinstance(text, str):
        raise wrong
    left, months, seconds = text.strip().lower(), Fraction(0), Fraction(0)
    while left:
        found = _PART.match(left)
        if not found:
            raise wrong
        number, unit, hours, minutes, rest = found.groups()
        if hours:
            if int(minutes) > 59 or Fraction(rest or 0) >= 60:
                raise wrong
            seconds += int(hours) * 3600 + int(minutes) * 60 + Fraction(rest or 0)
        elif (unit := unit.removesuffix("s")) in _MONTHS:
            months += Fraction(number) * _MONTHS[unit]
        elif unit in _SECONDS:
            seconds += Fraction(number) * _SECONDS[unit]
        else:
            raise wrong
        left = left[found.end() :].lstrip()
    ms = int(seconds * 1000)
    if months.denominator != 1 or not (months or ms) or months > 12 * MAX_YEARS or ms > MAX_YEARS * 366 * 86_400_000:
        raise wrong
    return Interval(int(months), ms)


def read_width(text: Any, name: str) -> Interval:
    """The width of buckets: months, or days and hours, but no mixture. Raises BadQuestion."""
    width = read_interval(text, name)
    if width.months and width.ms:
        raise BadQuestion(f"{name}: months and days can't be mixed in the width of a bucket", field=name)
    return width
