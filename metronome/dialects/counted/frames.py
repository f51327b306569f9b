"""Stretches of time as the parameters of reports and visits name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from metronome.errors import BadQuestion
from metronome.periods import Period, read_time

_DAY = timedelta(days=1)
_MOST_DAYS = 36_500

#: Days of a unit. Source: contract, section 2.4.
_DAYS = {"day": 1, "month": 31, "year": 365}

Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Frame:
    """From a moment up to before another; None leaves the end open."""

    start: datetime
    end: datetime | None = None

    @property
    def first_day(self) -> date:
        """The first day whose beginning isn't before the start."""
        return _first(self.start)

    @property
    def last_day(self) -> date | None:
        """The last day whose beginning is before the end."""
        return None if self.end is None else _first(self.end) - _DAY

    @property
    def period(self) -> Period:
        return Period(self.start, self.end)


def _first(moment: datetime) -> date:
    day = moment.astimezone(UTC)
    return day.date() if day == _midnight(day.date()) else day.date() + _DAY


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def of_reports(given: Parameters, now: datetime, *, days: int) -> Frame:
    """The frame of `reports/<id>/recent/`; without parameters the last `days`. Raises BadQuestion."""
    if given.get("days_back"):
        return Frame(_back(now, _number("days_back", given["days_back"])))
    if given.get("timeframe"):
        return Frame(_back(now, _previous(given["timeframe"], ("day",))))
    if given.get("timeframeStart"):
        return _between(given)
    if given.get("end_date") and not given.get("start_date"):
        raise BadQuestion("You cannot provide a specific end_date with no start_date")
    if given.get("start_date"):
        start = _day("start_date", given["start_date"])
        if not given.get("end_date"):
            return Frame(_midnight(start))
        end = _day("end_date", given["end_date"])
        if end < start:
            raise BadQuestion("The end_date must be after the start_date")
        return Frame(_midnight(start), _midnight(end + _DAY))
    return Frame(_back(now, days))


def of_visits(given: Parameters, now: datetime) -> Frame:
    """The frame of visits; without parameters since yesterday 00:00 UTC. Raises BadQuestion."""
    if given.get("timeframe"):
        return Frame(now - timedelta(days=_previous(given["timeframe"], tuple(_DAYS))))
    if given.get("timeframeStart"):
        return _between(given)
    return Frame(_back(now, 1))


def of_items(given: Parameters, now: datetime) -> Frame:
    """The frame of views and downloads of preprints. Raises BadQuestion."""
    on, start, end = (given.get(name, "") for name in ("on_date", "start_datetime", "end_datetime"))
    if on:
        if start or end:
            raise BadQuestion("on_date doesn't go with start_datetime or end_datetime")
        day = _day("on_date", on)
        return Frame(_midnight(day), _midnight(day + _DAY))
    if end and not start:
        raise BadQuestion("You cannot provide a specific end_datetime with no start_datetime")
    if not start:
        return Frame(_back(now, 6), _midnight(now.astimezone(UTC).date()))
    if end and ("T" in start) != ("T" in end):
        raise BadQuestion("start_datetime and end_datetime are both days, or both times")
    first = _minute("start_datetime", start)
    last = _minute("end_datetime", end) if end else _midnight(now.astimezone(UTC).date())
    if last < first:
        raise BadQuestion("The end_datetime must be after the start_datetime")
    return Frame(first, last + _DAY if end and "T" not in end else last)


def _back(now: datetime, days: int) -> datetime:
    return _midnight((now.astimezone(UTC) - timedelta(days=days)).date())


def _between(given: Parameters) -> Frame:
    bounds = []
    for name in ("timeframeStart", "timeframeEnd"):
        try:
            bounds.append(read_time(given[name]) if given.get(name) else None)
        except ValueError as error:
            raise BadQuestion(f"{name}: {error}", field=name) from None
    start, end = bounds
    assert start is not None
    if end is not None and end < start:
        raise BadQuestion("timeframeEnd is before timeframeStart", field="timeframeEnd")
    return Frame(start, end)


def _previous(text: str, units: tuple[str, ...]) -> int:
    found = re.fullmatch(rf"previous_(\d{{1,6}})_({'|'.join(units)})s?", text)
    if not found:
        raise BadQuestion(
            f"timeframe: {text[:60]!r} isn't previous_N_{'s, previous_N_'.join(units)}s", field="timeframe"
        )
    return _within("timeframe", int(found[1]) * _DAYS[found[2]])


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise BadQuestion(f"{name}: {text[:40]!r} isn't a number of days", field=name)
    return _within(name, int(text))


def _within(name: str, days: int) -> int:
    if not 1 <= days <= _MOST_DAYS:
        raise BadQuestion(f"{name}: from 1 to {_MOST_DAYS} days", field=name)
    return days


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else "")
    except ValueError:
        raise BadQuestion(f"{name}: {text[:40]!r} isn't a day; write YYYY-MM-DD", field=name) from None


def _minute(name: str, text: str) -> datetime:
    form = r"\d{4}-\d\d-\d\d(T\d\d:\d\d)?"
    try:
        return datetime.fromisoformat(text if re.fullmatch(form, text) else "").replace(tzinfo=UTC)
    except ValueError:
        raise BadQuestion(f"{name}: {text[:40]!r} is neither YYYY-MM-DD nor YYYY-MM-DDTHH:MM", field=name) from None
