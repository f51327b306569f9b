"""Facts to the entries of a report: filtered, with the counts of what isn't shown added up.

Each stream has the facts of one customer in one month, in the order of `facts.order`. The streams are walked side by
side, so an entry is whole as soon as its subject has passed, and no more than one is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from metronome.counter.facts import Fact, Performance, Subject, order
from metronome.counter.reports import filters
from metronome.counter.reports.selection import Selection
from metronome.counter.reports.values import (
    ACCESS_METHOD,
    ACCESS_TYPE,
    ATTRIBUTED,
    COUNTRY,
    CUSTOMER,
    DATA_TYPE,
    INSTITUTION,
    PROPRIETARY,
    SUBDIVISION,
    YOP,
)


class Stream(NamedTuple):
    """One customer's facts of one month; `institution` and `customer` are what reports say of whose they are."""

    month: str
    facts: Iterator[Fact]
    institution: str = ""
    customer: str = ""


#: Metric type to month to count.
Counts = dict[str, dict[str, int]]


class Line(NamedTuple):
    """The usage of one combination of the attributes shown; the values are in the order of `Selection.shown`."""

    values: tuple[str, ...]
    counts: Counts


class Entry(NamedTuple):
    """One title, item or database of a report, or the platform."""

    subject: Subject | None
    parent: Subject | None
    lines: list[Line]


#: Combinations of attributes for which the choice is remembered, of each stream.
_REMEMBERED = 10_000

#: The attributes of a performance, without its counts.
_Attributes = tuple[Any, ...]

#: Where a performance, without its counts, has what reports call so.
_PLACES = {
    name: Performance._fields.index(field) - 1
    for name, field in {
        DATA_TYPE: "data_type",
        YOP: "yop",
        ACCESS_TYPE: "access_type",
        ACCESS_METHOD: "access_method",
        COUNTRY: "country",
        SUBDIVISION: "subdivision",
        ATTRIBUTED: "attributed",
    }.items()
}


def entries(streams: Iterable[Stream], selection: Selection) -> Iterator[Entry]:
    """The report's entries in the order of the streams. One that has no usage left is none."""
    keeps = _subject_filter(selection)
    for group in walk([_Source(stream, selection) for stream in streams]):
        # Facts come with the months ascending: the last describes the subject as it was last known.
        fact = group[-1][1]
        if keeps is None or keeps(fact.subject):
            sums = _sums(group)
            lines = [Line(values, _by_metric(sums[values], selection.metrics)) for values in sorted(sums)]
            if any(line.counts for line in lines):
                yield Entry(fact.subject, fact.parent, [line for line in lines if line.counts])


class _Source:
    """A stream with what is the same for all of its facts: their month in the report, and the choice of values."""

    __slots__ = ("choices", "facts", "month")

    def __init__(self, stream: Stream, selection: Selection) -> None:
        self.facts = stream.facts
        self.month = selection.begin if selection.totals else stream.month
        self.choices = _Choices(selection, stream)


def _sums(group: Iterable[tuple[_Source, Fact]]) -> dict[tuple[str, ...], dict[str, dict[str, int]]]:
    """For each combination of the values shown: month to metric to count."""
    sums: dict[tuple[str, ...], dict[str, dict[str, int]]] = {}
    for source, fact in group:
        month, choices = source.month, source.choices
        for performance in fact.performances:
            values = choices[performance[1:]]
            if values is None:
                continue
            months = sums.get(values)
            if months is None:
                months = sums[values] = {}
            counts = months.get(month)
            if counts is None:
                months[month] = dict(performance.counts)
            else:
                for metric, count in performance.counts.items():
                    counts[metric] = counts.get(metric, 0) + count
    return sums


def _by_metric(months: dict[str, dict[str, int]], metrics: tuple[str, ...]) -> Counts:
    found: Counts = {}
    for metric in metrics:
        if by_month := {month: counts[metric] for month, counts in months.items() if metric in counts}:
            found[metric] = by_month
    return found


def walk(sources: Iterable[_Source]) -> Iterator[list[tuple[_Source, Fact]]]:
    """All facts of one subject, in the order of the sources, subject by subject.

    Most subjects have facts in most months, so looking at every source's head costs less than a heap.
    """
    heads: list[tuple[tuple[str, str], _Source, Fact]] = []
    for source in sources:
        fact = next(source.facts, None)
        if fact is not None:
            heads.append((order(fact), source, fact))
    while heads:
        key = min([head[0] for head in heads])
        found: list[tuple[_Source, Fact]] = []
        rest = []
        for head in heads:
            if head[0] != key:
                rest.append(head)
                continue
            source = head[1]
            found.append((source, head[2]))
            fact = next(source.facts, None)
            if fact is not None:
                rest.append((order(fact), source, fact))
        heads = rest
        yield found


class _Choices(dict[_Attributes, "tuple[str, ...] | None"]):
    """For the attributes of a performance, the values shown of them; None if a filter leaves the performance out."""

    def __init__(self, selection: Selection, stream: Stream) -> None:
        super().__init__()
        self._shown = selection.shown
        self._tests = list(_tests(selection))
        self._owner = {INSTITUTION: stream.institution, CUSTOMER: stream.customer}

    def __missing__(self, attributes: _Attributes) -> tuple[str, ...] | None:
        if len(self) >= _REMEMBERED:
            self.clear()
        said = {name: _text(attributes[place]) for name, place in _PLACES.items()} | self._owner
        passes = all(test(said[name]) for name, test in self._tests)
        found = self[attributes] = tuple(said[name] for name in self._shown) if passes else None
        return found


def _text(value: str | bool) -> str:
    return value if isinstance(value, str) else "Yes" if value else "No"


def _tests(selection: Selection) -> Iterator[tuple[str, Callable[[str], bool]]]:
    for name, values in selection.filters.items():
        if name in _PLACES:
            yield name, filters.years(values) if name == YOP else filters.among(values)


def _subject_filter(selection: Selection) -> Callable[[Subject | None], bool] | None:
    """Whether a subject is one that the request's filters name; None where they name none."""
    tests: list[Callable[[Subject], bool]] = []
    given = selection.filters
    if database := given.get(filters.DATABASE):
        tests.append(lambda subject: subject.name == database[0])
    if author := given.get(filters.AUTHOR):
        tests.append(lambda subject: any(one.id == author[0] for one in subject.authors))
    if items := given.get(filters.ITEM_ID):
        platform_id = selection.platform.id
        wanted = {(filters.namespace(one, platform_id), filters.bare(one, platform_id)) for one in items}
        tests.append(lambda subject: bool(wanted & {(PROPRIETARY, subject.id), *subject.ids}))
    if not tests:
        return None
    return lambda subject: subject is not None and all(test(subject) for test in tests)
