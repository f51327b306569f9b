"""Partial answers: each source's part of an answer, in a form that can be added up. `door.finish` ends the sum once.

count                          events
sum, mean, min, max            how many numbers, their sum, least and greatest
unique, percentile             the distinct values, each with how many events have it
unique, of very many values    an estimate with its bound; two of them add up to a wider bound
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from metronome.event.fields import Event
from metronome.periods import Every
from metronome.query.answer import Key, Number
from metronome.query.condition import Between, is_number, typed, values_of
from metronome.query.kinds import plain
from metronome.query.question import Count, Grouping, Max, Mean, Measure, Min, Percentile, Question, Ranges, Sum, Unique


@dataclass(slots=True)
class Tally:
    """The counts of one group. `values` holds typed values, so that 1, "1" and True stay different."""

    events: int = 0
    numbers: int = 0
    sums: list[float] = field(default_factory=list)
    low: Number | None = None
    high: Number | None = None
    values: dict[Any, int] = field(default_factory=dict)
    estimates: list[int] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.events += other.events
        self.numbers += other.numbers
        self.sums += other.sums
        self.low = other.low if self.low is None else min(self.low, self.low if other.low is None else other.low)
        self.high = other.high if self.high is None else max(self.high, self.high if other.high is None else other.high)
        for value, times in other.values.items():
            self.values[value] = self.values.get(value, 0) + times
        self.estimates += other.estimates

    def add_value(self, measure: Measure, value: Any, times: int = 1) -> None:
        """Count a value of the measure's field. Where the measure needs numbers, text is ignored."""
        if isinstance(measure, Unique) or (isinstance(measure, Percentile) and is_number(value)):
            key = typed(value)
            self.values[key] = self.values.get(key, 0) + times
        elif is_number(value):
            self.add_numbers(times, value * times, value, value)

    def add_numbers(self, numbers: int, total: float, low: Number, high: Number) -> None:
        self.add(Tally(0, numbers, [total], low, high))


@dataclass
class Partial:
    """The tallies of a question by group, and the number of events with a value that couldn't be compared.

    `archived` has each day that was read from an archive, with the bytes that were fetched for it.
    """

    tallies: dict[Key, Tally] = field(default_factory=dict)
    ignored: int = 0
    archived: dict[str, int] = field(default_factory=dict)

    def at(self, key: Key) -> Tally:
        """The group's tally; a new group gets one."""
        found = self.tallies.get(key)
        if found is None:
            found = self.tallies[key] = Tally()
        return found

    def add(self, other: Partial) -> None:
        """Add the tallies of another partial answer. This one may take them over, so don't use the other any more."""
        self.ignored += other.ignored
        for day, fetched in other.archived.items():
            self.archived[day] = self.archived.get(day, 0) + fetched
        if not self.tallies:
            self.tallies = other.tallies
            return
        for key, tally in other.tallies.items():
            self.at(key).add(tally)


def tallied(question: Question, events: Iterable[Event]) -> Partial:
    """The partial answer computed from events. They are flat and have their facts; `@timestamp` is a datetime.

    This is the plain form of what every source does, and defines the meaning. Tests compare the sources with it.
    """
    found = Partial()
    measure = question.measure
    for event in events:
        if question.where.holds(event):
            for key in keys_of(question, event):
                tally = found.at(key)
                tally.events += 1
                if not isinstance(measure, Count):
                    for value in values_of(event, measure.field):
                        tally.add_value(measure, value)
    return found


def keys_of(question: Question, event: Event) -> list[Key]:
    """The groups of an event: one for each combination of its values. Values are typed."""
    keys: list[Key] = [()]
    for grouping in question.by:
        keys = [(*key, value) for key in keys for value in _groups_of(grouping, event)]
    return keys


def _groups_of(grouping: Grouping, event: Event) -> list[Any]:
    if isinstance(grouping, Every):
        return [grouping.start_of(event["@timestamp"])]
    values = values_of(event, grouping.field)
    if isinstance(grouping, Ranges):
        return [(low, high) for low, high in grouping.ranges if Between("", gte=low, lt=high).holds({"": values})]
    found: list[Any] = list(dict.fromkeys(map(typed, values)))
    return found or ([None] if grouping.missing else [])


def figure(measure: Measure, tally: Tally) -> Number | None:
    """The measure of one group."""
    kind = next(kind for kind in type(measure).__mro__ if kind in _FIGURES)
    return _FIGURES[kind](measure, tally)


def error_bound(measure: Measure, tally: Tally) -> Number:
    """How far the figure may be from the true one; 0 where it is exact."""
    if not tally.estimates or not isinstance(measure, Unique):
        return 0
    # A value that two parts both have is counted twice. At worst, the largest part contains all the smaller ones.
    parts = [*tally.estimates, len(tally.values)]
    shared = sum(parts) - max(parts)
    return sum(math.ceil(count * ESTIMATE_ERROR) for count in tally.estimates if count > EXACT_UNIQUES) + shared


#: Elasticsearch counts distinct values exactly up to about this many.
EXACT_UNIQUES = 40_000

#: Three standard errors of HyperLogLog++, with the 2^18 registers that a precision threshold of 40,000 leads to.
ESTIMATE_ERROR = 3 * 1.04 / 2**9


def _unique(measure: Any, tally: Tally) -> int:
    return sum(tally.estimates) + len(tally.values)


def _sum(measure: Any, tally: Tally) -> Any:
    return plain(math.fsum(tally.sums))


def _mean(measure: Any, tally: Tally) -> Number | None:
    return math.fsum(tally.sums) / tally.numbers if tally.numbers else None


def _percentile(measure: Percentile, tally: Tally) -> Any:
    rank = -(-sum(tally.values.values()) * measure.percent // 100)
    for (_, value), times in sorted(tally.values.items()):
        rank -= times
        if rank <= 0:
            return plain(value)
    return None


_FIGURES: dict[type, Callable[[Any, Tally], Number | None]] = {
    Count: lambda measure, tally: tally.events,
    Unique: _unique,
    Sum: _sum,
    Mean: _mean,
    Min: lambda measure, tally: None if tally.low is None else plain(tally.low),
    Max: lambda measure, tally: None if tally.high is None else plain(tally.high),
    Percentile: _percentile,
}
