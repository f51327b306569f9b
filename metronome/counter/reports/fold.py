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


#: Combinations of attributes for which the choice is remembered.
_REMEMBERED = 100_000

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
    wanted = frozenset(selection.metrics)
    choose = _Chooser(selection)
    keeps = _subject_filter(selection)
    months_by_month: dict[str, str] = {}
    for group in walk(streams):
        # Facts come with the months ascending: the last describes the subject as it was last known.
        fact = group[-1][1]
        if keeps is not None and not keeps(fact.subject):
            continue
        sums: dict[tuple[str, ...], Counts] = {}
        for stream, one in group:
            month = months_by_month.setdefault(stream.month, selection.begin if selection.totals else stream.month)
            for performance in one.performances:
                values = choose(performance[1:], stream)
                if values is not None:
                    _add(sums, values, performance.counts, month, wanted)
        lines = [Line(values, counts) for values, counts in sorted(sums.items()) if counts]
        if lines:
            yield Entry(fact.subject, fact.parent, lines)


def _add(
    sums: dict[tuple[str, ...], Counts],
    values: tuple[str, ...],
    counts: dict[str, int],
    month: str,
    wanted: frozenset[str],
) -> None:
    line = sums.get(values)
    if line is None:
        line = sums[values] = {}
    for metric, count in counts.items():
        if metric in wanted:
            by_month = line.get(metric)
            if by_month is None:
                line[metric] = {month: count}
            else:
                by_month[month] = by_month.get(month, 0) + count


def walk(streams: Iterable[Stream]) -> Iterator[list[tuple[Stream, Fact]]]:
    """All facts of one subject, in the order of the streams, subject by subject.

    Most subjects have facts in most months, so looking at every stream's head costs less than a heap.
    """
    heads: list[tuple[tuple[str, str], Stream, Fact]] = []
    for stream in streams:
        fact = next(stream.facts, None)
        if fact is not None:
            heads.append((order(fact), stream, fact))
    while heads:
        key = min(head[0] for head in heads)
        found: list[tuple[Stream, Fact]] = []
        rest = []
        for head in heads:
            if head[0] != key:
                rest.append(head)
                continue
            stream = head[1]
            found.append((stream, head[2]))
            fact = next(stream.facts, None)
            if fact is not None:
                rest.append((order(fact), stream, fact))
        heads = rest
        yield found


class _Chooser:
    """For the attributes of a performance, the values shown of them; None if a filter leaves the performance out."""

    def __init__(self, selection: Selection) -> None:
        self._shown = selection.shown
        self._tests = list(_tests(selection))
        self._known: dict[tuple[_Attributes, str], tuple[str, ...] | None] = {}

    def __call__(self, attributes: _Attributes, stream: Stream) -> tuple[str, ...] | None:
        key = (attributes, stream.customer)
        try:
            return self._known[key]
        except KeyError:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._choose(attributes, stream)
            return found

    def _choose(self, attributes: _Attributes, stream: Stream) -> tuple[str, ...] | None:
        said = {name: _text(attributes[place]) for name, place in _PLACES.items()}
        if not all(test(said[name]) for name, test in self._tests):
            return None
        said |= {INSTITUTION: stream.institution, CUSTOMER: stream.customer}
        return tuple(said[name] for name in self._shown)


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
