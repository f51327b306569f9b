"""Counts, properties, values and time series of an application's events: questions, and what their answers say.

Source: tracker contract, 2.2 and 3.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from metronome.client.retriever import TimeRange
from metronome.dialects.applications.translate import fields_of, of_application, of_index, property_of
from metronome.errors import BadQuestion
from metronome.query import All, Ask, Condition, Every, Not, Outside, Properties, Question, Unique, Values

Counts = list[dict[str, Any]]

#: Series that have a name of their own; the others are summed as OTHER.
MAX_SERIES = 10
OTHER, NULL = "OTHER", "NULL"

_WIDTHS = {TimeRange.HOUR: "hour", TimeRange.DAY: "day", TimeRange.WEEK: "week", TimeRange.MONTH: "month"}

#: Questions of one search.
_AT_ONCE = 50


@dataclass(frozen=True)
class Series:
    """Counts in the order of the buckets. Those that aren't one value's are `special`: OTHER and NULL."""

    name: str
    counts: tuple[int, ...]
    special: bool = False


@dataclass(frozen=True)
class OverTime:
    """Series that share the buckets which begin at `starts`."""

    starts: tuple[datetime, ...]
    series: tuple[Series, ...]


class Retrieving:
    """Asks about the events of one application in one index."""

    def __init__(self, ask: Ask, index: str, application: str) -> None:
        self._ask, self._index, self._application = ask, index, application

    def applications(self) -> Counts:
        return self._counts(of_index(self._index), "app")

    def events(self) -> Counts:
        return self._counts(self._where(""), "event")

    def properties(self, event: str) -> Counts:
        """The properties in use, with how many distinct values each has."""
        where = self._where(event)
        (found,) = self._ask(Properties(where))
        fields: dict[str, list[str]] = {}
        for one in found:
            if name := property_of(one.name):
                fields.setdefault(name, []).append(one.name)
        alone = [name for name, held in fields.items() if len(held) == 1]
        counted = {name: len(self._values(where, held)) for name, held in fields.items() if len(held) > 1}
        for at in range(0, len(alone), _AT_ONCE):
            names = alone[at : at + _AT_ONCE]
            asked = [Question(_used(where, fields[name][0]), Unique(fields[name][0])) for name in names]
            counted.update({name: int(answer.total) for name, answer in zip(names, self._ask(*asked), strict=True)})
        return _largest_first((name, count) for name, count in counted.items() if count)

    def property_values(self, event: str, name: str) -> Counts:
        return _largest_first(self._values(self._where(event), fields_of(name)).items())

    def unique_users(self, event: str) -> int:
        (answer,) = self._ask(Question(_used(self._where(event), "distinct_id"), Unique("distinct_id")))
        return int(answer.total)

    def over_time(self, event: str, width: str, name: str) -> OverTime:
        """One series for each event, or for each value of a property."""
        where, every = self._where(event), _every(width)
        fields = fields_of(name) if name else ("event",)
        none = All(where, *(Not(Outside(field, ("",))) for field in fields))
        split = [Question(_used(where, field), by=(every, Values(field))) for field in fields]
        every_event, without, *by_value = self._ask(Question(where, by=(every,)), Question(none, by=(every,)), *split)
        starts = tuple(row.key[0] for row in every_event.rows)
        series: dict[str, Counter[datetime]] = {}
        for answer in by_value:
            for row in answer.rows:
                if text := _text(row.key[1]):
                    series.setdefault(text, Counter())[row.key[0]] += int(row.value or 0)
        missing = Counter({row.key[0]: int(row.value or 0) for row in without.rows})
        return OverTime(starts, tuple(_limited(series, missing, starts)))

    def _where(self, event: str) -> Condition:
        return of_application(self._index, self._application, event)

    def _counts(self, where: Condition, field: str) -> Counts:
        return _largest_first(self._values(where, (field,)).items())

    def _values(self, where: Condition, fields: Iterable[str]) -> Counter[str]:
        """Events by value as text, over all of the fields. An empty value is none."""
        found: Counter[str] = Counter()
        for answer in self._ask(*(Question(where, by=(Values(field),)) for field in fields)):
            for row in answer.rows:
                if text := _text(row.key[0]):
                    found[text] += int(row.value or 0)
        return found


def _used(where: Condition, field: str) -> Condition:
    return All(where, Outside(field, ("",)))


def _every(width: str) -> Every:
    unit = _WIDTHS.get(width)
    if unit is None:
        raise BadQuestion(f"time_range: {width[:20]!r} isn't known; there are {', '.join(_WIDTHS)}", field="time_range")
    return Every(unit)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _largest_first(rows: Iterable[tuple[str, int]]) -> Counts:
    return [{"name": name, "count": count} for name, count in sorted(rows, key=lambda row: (-row[1], row[0]))]


def _limited(
    series: dict[str, Counter[datetime]], missing: Counter[datetime], starts: tuple[datetime, ...]
) -> Iterable[Series]:
    """The largest series by total, the others as one, and the events without a value."""
    names = sorted(series, key=lambda name: (-series[name].total(), name))
    for name in names[:MAX_SERIES]:
        yield Series(name, tuple(series[name][start] for start in starts))
    if len(names) > MAX_SERIES:
        rest = names[MAX_SERIES:]
        yield Series(OTHER, tuple(sum(series[name][start] for name in rest) for start in starts), special=True)
    if missing.total():
        yield Series(NULL, tuple(missing[start] for start in starts), special=True)


def as_time(start: datetime) -> str:
    """`2026-11-01T00:00:00.000+00:00`: readers of the original cut the last six characters."""
    return start.astimezone(UTC).isoformat(timespec="milliseconds")
