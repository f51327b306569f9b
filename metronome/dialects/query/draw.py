"""A trend, answered: figures by bucket and group, from as few calls of the door as it takes.

1. the groups     those with the largest totals of the first series; one condition covers all other groups
2. the figures    one call for all series, buckets, totals, named groups and the rest
3. the formula    on every bucket and on the totals, never on a mean of buckets
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from metronome.dialects.query.external import Figures, Group, figures_of
from metronome.dialects.query.formula import Name
from metronome.dialects.query.read import Common
from metronome.dialects.query.trend import Series, Trend, Value
from metronome.errors import BadQuestion, Busy, TooMuch
from metronome.periods import Every, Period, from_ms, to_text
from metronome.query import (
    All,
    Answer,
    AnyOf,
    Ask,
    Condition,
    Count,
    Evidence,
    FromParts,
    Is,
    Missing,
    Outside,
    Persons,
    Question,
    Sum,
    Unique,
    Values,
    asks_persons,
    buckets,
    of_field,
    property_of,
)
from metronome.query.condition import typed
from metronome.query.journeys.answers import Matched

#: Groups of a complete answer.
MAX_GROUPS = 10_000

NONE, OTHER = "$none", "$other"


@dataclass(frozen=True)
class Wanted:
    """Figures of one series: of which events, in which buckets, by which fields."""

    series: Series
    where: Condition
    every: Every | None
    by: tuple[str, ...]
    #: Only so many of the largest groups are needed, and to know whether there are others; None for all groups.
    most: int | None = None


@dataclass(frozen=True)
class Slots:
    """The groups of an answer: those that are named, and the conditions of the events that the others have."""

    named: tuple[Group, ...]
    rest: tuple[tuple[str, Condition], ...]
    within: Condition


@dataclass
class Drawing:
    """One trend on its way to its result; `answers` are those that it was made of."""

    trend: Trend
    common: Common
    ask: Ask
    answers: list[Answer] = field(default_factory=list)
    #: Whether day parts have counted what Elasticsearch could only estimate.
    recounted: bool = False
    #: Lines that an earlier range of the same trend had. A later range shows the same lines.
    kept: set[str] | None = None

    def result(self) -> dict[str, Any]:
        """The contract's shape."""
        slots = self._slots()
        result = self._drawn(self.common.period, slots)
        if self.common.witness is not None:
            result["witness"] = self.witness()
        self.kept = {str(line["group"]) for line in result["series"]}
        if self.trend.compare is not None:
            previous = self._drawn(self.trend.compare, slots)
            result["previous"] = {"buckets": previous["buckets"], "series": previous["series"]}
        return result

    def _slots(self) -> Slots:
        trend = self.trend
        if not trend.by:
            return Slots(((),), (), All())
        found = self._grouped()
        groups = dict.fromkeys(group for figures in found for group in figures)
        if len(trend.by) == 1:
            groups.pop((None,), None)
        order = sorted(groups, key=lambda group: (-(self._rank(found, group) or 0), tuple(map(_sortable, group))))
        if trend.top is None and len(order) > MAX_GROUPS:
            raise BadQuestion(f"top: more than {MAX_GROUPS} groups; narrow where, or ask for a top", field="top")
        named = tuple(order[: trend.top])
        rest = [(OTHER, others_than(trend.by, named))] if len(order) > len(named) else []
        if len(trend.by) == 1:
            rest.append((NONE, of_field(trend.by[0], Missing)))
        complete = trend.top is None
        within = All() if complete else AnyOf(*(_is_group(trend.by, group) for group in named))
        return Slots(named, tuple(rest), within)

    def _grouped(self) -> list[Figures]:
        """The figures by group. Where events of the first series rank the groups, some of the smaller are left out."""
        trend, first = self.trend, self.trend.series[0]
        ranked = trend.rank == Name(first.name) and first.measures == (Count(),)
        most = trend.top if ranked and len(trend.by) == 1 and not self.of_persons else None
        found = self._figures(self._totals(most), self.common.period)
        if most is None:
            return found
        sizes = [sum(group != (None,) for group in figures) for figures in found]
        # If the first series has few groups, those of other series follow by name, so all of these are needed.
        is_whole = max(sizes) <= most
        return found if sizes[0] > most or is_whole else self._figures(self._totals(None), self.common.period)

    def _totals(self, most: int | None) -> list[Wanted]:
        return [Wanted(series, All(), None, self.trend.by, most) for series in self.trend.series]

    def _rank(self, found: list[Figures], group: Group) -> Value:
        each = zip(self.trend.series, found, strict=True)
        return self.trend.rank.of({series.name: figures.get(group, of_nothing(series)) for series, figures in each})

    def _drawn(self, period: Period, slots: Slots) -> dict[str, Any]:
        trend = self.trend
        times = [None, trend.every] if trend.every else [None]
        wheres = [(slots.within, trend.by), *((where, ()) for _, where in slots.rest)]
        wanted = [
            Wanted(series, where, every, by) for where, by in wheres for series in trend.series for every in times
        ]
        found = iter(self._figures(wanted, period))
        starts = buckets(trend.every, period, self.common.now) if trend.every else {}
        lines: list[dict[str, Any]] = []
        for place, (_, by) in enumerate(wheres):
            columns = [[next(found) for _ in times] for _ in trend.series]
            groups = slots.named if place == 0 else ((),)
            for group in groups:
                shown = [NONE if value is None else value[1] for value in group] if by else []
                shown = shown if place == 0 else [slots.rest[place - 1][0]]
                lines += self._lines(shown, group, columns, list(starts), keep=place == 0)
        every = trend.every
        return {
            "buckets": [every.label(start) for start in starts] if every else ["total"],
            "series": lines,
            "complete": list(starts.values()) if every else [period.end is not None and period.end <= self.common.now],
        }

    def _lines(
        self, shown: list[Any], group: Group, columns: list[list[Figures]], starts: list[datetime], *, keep: bool
    ) -> list[dict[str, Any]]:
        """The series of one group. Without `keep`, a group whose figures are all zero or null has none."""
        trend = self.trend
        values = []
        for series, (total, *timed) in zip(trend.series, columns, strict=True):
            nothing = of_nothing(series)
            values.append([one.get((start, *group), nothing) for one in timed for start in starts])
            values[-1].append(total.get(group, nothing))
        if self.kept is None and not keep and not any(value for one in values for value in one):
            return []
        if self.kept is not None and str(shown) not in self.kept:
            return []
        names = [series.name for series in trend.series]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
        lines = [(name, [formula.of(row) for row in rows]) for name, formula in trend.lines]
        return [
            {"name": name, "group": shown, "values": one[:-1] if trend.every else one, "total": one[-1]}
            for name, one in lines
        ]

    def _figures(self, wanted: Sequence[Wanted], period: Period) -> list[Figures]:
        """The figures of each that is wanted; one call of the door for all of them."""
        questions = [question for one in wanted for question in self._questions(one, period)]
        answers, recounted = exactly(questions, self.common, self.ask)
        self.recounted |= recounted
        answered = iter(answers)
        found: list[Figures] = []
        for one in wanted:
            if one.series.points is not None:
                found.append(figures_of(one.series, one.where, one.every, one.by, period))
                continue
            columns: list[Figures] = []
            for place, _ in enumerate(one.series.measures):
                answer = next(answered)
                self.answers.append(answer)
                columns.append(_column(answer, one, daily=one.series.daily and place == 0))
            keys = dict.fromkeys(key for column in columns for key in column)
            found.append({key: one.series.figure(*(column.get(key, 0) for column in columns)) for key in keys})
        return found

    def _questions(self, wanted: Wanted, period: Period) -> list[Question]:
        if wanted.series.points is not None:
            return []
        groups = tuple(Values(name, missing=True) for name in wanted.by)
        where = All(self.common.where, wanted.series.where, wanted.where)
        questions = []
        for place, measure in enumerate(wanted.series.measures):
            # The days of subjects are counted by day, and added up in each bucket.
            daily = wanted.series.daily and place == 0
            time = Every("day", tz=self.common.tz) if daily else wanted.every
            question = Question(where, measure, (time, *groups) if time else groups, period, most=wanted.most)
            questions.append(from_parts(question, self.common) if self.of_persons else question)
        return questions

    @property
    def of_persons(self) -> bool:
        """Whether any figure needs persons; then all come from day parts, and see the same moment."""
        series = self.trend.series
        measures = [measure for one in series for measure in one.measures]
        names = [*self.trend.by, *(measure.field for measure in measures if isinstance(measure, Unique))]
        counted = any(isinstance(measure, Persons) for measure in measures)
        asked = any(map(asks_persons, (self.common.where, *(one.where for one in series))))
        return counted or asked or any(property_of(name) is not None for name in names)

    def witness(self) -> dict[str, Any]:
        """The events of one subject that the figures count: of each series how many, and the first in each bucket."""
        common, trend = self.common, self.trend
        # Points of external series are no events, so they are nobody's.
        asked = [one for one in trend.series if one.points is None]
        conditions = tuple(one.where for one in asked)
        subject = common.subject
        (found,) = self.ask(
            Evidence(conditions, str(common.witness), common.where, common.period, subject, common.as_of)
        )
        series: list[dict[str, Any]] = []
        for number, one in enumerate(asked):
            events = [event for event in found.found if event.step == number]
            first: dict[str, Any] = {}
            for event in events:
                at = from_ms(event.at_ms)
                first.setdefault(trend.every.label(trend.every.start_of(at)) if trend.every else "total", event)
            buckets = [{"bucket": label, **shown(event)} for label, event in first.items()]
            series.append({"name": one.name, "events": len(events), "first": buckets})
        return {"id": found.subject, "ids": list(found.ids), "series": series}


def exactly(questions: Sequence[Question], common: Common, ask: Ask) -> tuple[list[Answer], bool]:
    """The answers; from day parts, which is said beside them, where Elasticsearch could only estimate.

    Where day parts can't answer, the estimate stands and is marked as one.
    """
    answers = ask(*questions)
    if not any(answer.error_bound for answer in answers):
        return answers, False
    try:
        return ask(*(from_parts(question, common) for question in questions)), True
    except (BadQuestion, TooMuch, Busy):
        return answers, False


def from_parts(question: Question, common: Common) -> FromParts:
    return FromParts(question.where, question.measure, question.by, question.period, common.as_of)


def shown(event: Matched) -> dict[str, Any]:
    """An event of a witness."""
    return {"id": event.id, "index": event.index, "at": to_text(from_ms(event.at_ms))}


def _column(answer: Answer, wanted: Wanted, *, daily: bool) -> Figures:
    timed = daily or wanted.every is not None
    found: Figures = {}
    for row in answer.rows:
        group = tuple(None if value is None else typed(value) for value in row.key[timed:])
        time = row.key[:timed]
        if daily:
            time = (wanted.every.start_of(row.key[0]),) if wanted.every else ()
            found[(*time, *group)] = (found.get((*time, *group)) or 0) + (row.value or 0)
        else:
            found[(*time, *group)] = row.value
    return found


def of_nothing(series: Series) -> Value:
    """The figure of a bucket without events."""
    return 0 if len(series.measures) == 1 and isinstance(series.measures[0], Count | Sum | Unique) else None


def others_than(by: Sequence[str], groups: Sequence[Group]) -> Condition:
    """Matches events that are in a group other than these, even if they are also in one of these."""
    first = list(dict.fromkeys(group[0] for group in groups))
    beside = _outside(by[0], first)
    if len(by) == 1:
        return beside
    # by = ("a", "b")    a is none of these; or a is one of them, and b none of those that stand beside it
    parts: list[Condition] = [beside] if None in first else [beside, of_field(by[0], Missing)]
    for value in first:
        seconds = [group[1] for group in groups if group[0] == value]
        rest = _outside(by[1], seconds)
        if None not in seconds:
            rest = AnyOf(rest, of_field(by[1], Missing))
        parts.append(All(_is_group(by[:1], (value,)), rest))
    return AnyOf(*parts)


def _is_group(by: Sequence[str], group: Group) -> Condition:
    return All(*(of_field(name, partial(_has, value)) for name, value in zip(by, group, strict=True)))


def _has(value: Any, field: str) -> Condition:
    return Missing(field) if value is None else Is(field, value[1])


def _outside(field: str, values: Sequence[Any]) -> Condition:
    """The field has a value other than these typed ones."""
    return of_field(field, lambda name: Outside(name, tuple(value[1] for value in values if value is not None)))


def _sortable(value: Any) -> tuple[Any, ...]:
    return (1,) if value is None else (0, *value)
