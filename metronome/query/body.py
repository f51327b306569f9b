"""Turns questions into the JSON of one search. The functions are pure, so tests compare whole bodies.

The conditions that all questions share become the query of the search. Each question is a filter with an aggregation:

    by = ()                              a filter; its count, or `stats` of the measured number
    by = (Every("day"),)                 buckets of time
    by = (Values("format"),)             `terms`, the first ten thousand; with `most`, see top.py
    anything else                        `composite`, read to its end page by page: the groupings, and the measured
                                         values too if the set of them is needed (unique, percentile)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise, product
from typing import Any

from metronome.errors import BadQuestion
from metronome.event.facts import DERIVED
from metronome.periods import INTERVALS, Every, Period, common_step, to_ms
from metronome.query import top
from metronome.query.clause import clause, unreadable
from metronome.query.condition import All, AnyOf, Between, Condition, Has, Not
from metronome.query.kinds import WHOLE, Kinds
from metronome.query.partial import EXACT_UNIQUES
from metronome.query.question import Count, Grouping, Percentile, Question, Ranges, Unique, Values, fields_of

Json = dict[str, Any]

#: Rows of a composite aggregation in one page.
PAGE = 5_000

#: Buckets of time in one answer; Elasticsearch's own limit is 65,536.
MAX_BUCKETS = 50_000

#: A field that no event has, since intake renames a name with a blank part.
_NO_FIELD = "metronome. "

#: Matches documents that passed our intake. Other shippers wrote the rest.
STAMPED: Json = {"exists": {"field": "received_at"}}


@dataclass(frozen=True)
class Leg:
    """A question without Ranges. A question by Ranges becomes one leg for each combination of them, as `ranges`."""

    question: Question
    asked: tuple[Grouping, ...] = ()
    ranges: tuple[tuple[float | None, float | None], ...] = ()

    def key(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The key of a group of the question that was asked, from the values of the leg's own groupings."""
        if not self.ranges:
            return tuple(values)
        others, ranges = iter(values), iter(self.ranges)
        return tuple(next(ranges) if isinstance(grouping, Ranges) else next(others) for grouping in self.asked)


def legs(question: Question) -> tuple[Leg, ...]:
    by = tuple(grouping for grouping in question.by if not isinstance(grouping, Ranges))
    ranged = [grouping for grouping in question.by if isinstance(grouping, Ranges)]
    if not ranged:
        return (Leg(question),)
    found = []
    for chosen in product(*(grouping.ranges for grouping in ranged)):
        bounds = [Between(g.field, gte=low, lt=high) for g, (low, high) in zip(ranged, chosen, strict=True)]
        narrowed = replace(question, by=by, where=All(question.where, *bounds))
        found.append(Leg(narrowed, question.by, chosen))
    return tuple(found)


def search_body(questions: Sequence[Question], kinds: Kinds, *, sets: bool = False) -> Json:
    """The one search that answers all questions of one period, or gives the first page of each.

    With `sets`, uniques without groupings come as sets of values, which can be merged with the sets of other sources.
    Without it, Elasticsearch counts them.
    """
    common = common_parts(questions)
    own = tuple(without(question, common) for question in questions)
    aggs = (_remembered if all(q.period == Period() for q in own) else _aggregations)(own, kinds, sets)
    return {
        "size": 0,
        "track_total_hits": False,
        "query": all_of([clause(part, kinds) for part in common] + within(questions[0].period)),
        "aggs": aggs,
    }


def page_body(question: Question, kinds: Kinds, after: Json | None = None, *, estimate: bool = False) -> Json:
    """One page of a question's rows."""
    by = rows(question, kinds, estimate=estimate)
    if after is not None:
        by["composite"]["after"] = after
    return further_body(question, kinds, {"by": by})


def further_body(question: Question, kinds: Kinds, aggs: Json) -> Json:
    """Aggregations over what one question counts."""
    query = all_of([STAMPED, clause(question.where, kinds), *within(question.period)])
    return {"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}


def rows(question: Question, kinds: Kinds, *, estimate: bool = False) -> Json:
    """The composite aggregation of a question. With `estimate`, Elasticsearch counts the uniques of each row."""
    sources: list[Json] = []
    for number, grouping in enumerate(question.by):
        assert not isinstance(grouping, Ranges)
        sources.append({f"by{number}": _source(grouping, question, kinds)})
    if needs_values(question) and not estimate:
        assert not isinstance(question.measure, Count)
        sources.append({"value": {"terms": {"field": readable(question.measure.field, kinds), "missing_bucket": True}}})
    found: Json = {"composite": {"size": PAGE, "sources": sources}}
    measured = _measured(question, kinds, estimate=estimate)
    return {**found, "aggs": {"of": measured}} if measured else found


def next_page(found: Json) -> Json | None:
    """Where the page after one of `rows` begins; None if there is none."""
    after: Json | None = found.get("after_key")
    return after if len(found["buckets"]) >= PAGE else None


def needs_values(question: Question) -> bool:
    return isinstance(question.measure, Unique | Percentile)


def is_total_of_values(question: Question) -> bool:
    """Whether the question is a unique count without groupings. Elasticsearch can count that by itself."""
    return isinstance(question.measure, Unique) and not question.by


def is_paged(question: Question) -> bool:
    """Whether the question is answered by pages of rows from the start."""
    plain = all(isinstance(g, Every) or (isinstance(g, Values) and not g.missing) for g in question.by)
    return needs_values(question) or len(question.by) > 1 or not plain


def common_parts(questions: Sequence[Question]) -> list[Condition]:
    """The conditions that all questions share and that read no derived fact, so they apply to raw documents too."""
    first, *others = (parts_of(question.where) for question in questions)
    return [part for part in first if DERIVED.isdisjoint(part.fields()) and all(part in parts for parts in others)]


def parts_of(where: Condition) -> list[Condition]:
    """Conditions that all must hold: those of an All, and of the Alls inside it."""
    if isinstance(where, All):
        return [inner for part in where.parts for inner in parts_of(part)]
    return [where]


def all_of(filters: list[Json], *, but: tuple[Json, ...] = ()) -> Json:
    """The query that meets every filter, and none of `but`."""
    return {"bool": {"filter": filters, "must_not": list(but)}}


def within(period: Period) -> list[Json]:
    """The period as a filter on time; no filter if it is open on both sides."""
    bounds: Json = {}
    if period.start is not None:
        bounds["gte"] = to_ms(period.start)
    if period.end is not None:
        bounds["lt"] = to_ms(period.end)
    return [{"range": {"@timestamp": {**bounds, "format": "epoch_millis"}}}] if bounds else []


def compared(question: Question) -> list[str]:
    """The fields that a question compares and that may have values which aren't indexed."""
    # `Has` is left out: whether a field has a value is known even if the value isn't indexed.
    names = fields_of(replace(question, where=_but_has(question.where)))
    return [name for name in names if name not in WHOLE]


def _but_has(where: Condition) -> Condition:
    if isinstance(where, All | AnyOf):
        return All(*map(_but_has, where.parts))
    if isinstance(where, Not):
        return _but_has(where.part)
    return All() if isinstance(where, Has) else where


def without(question: Question, common: list[Condition]) -> Question:
    """The question without what it has in common with others, which is asked once for all."""
    # The period stays only if edges of buckets are computed from it. Without a period, the aggregations are the same
    # for every item, so they can be remembered.
    own = [part for part in parts_of(question.where) if part not in common]
    period = question.period if needs_edges(question) else Period()
    return replace(question, where=All(*own), period=period)


def _aggregations(questions: tuple[Question, ...], kinds: Kinds, sets: bool) -> Json:
    """One aggregation for each question. `questions` have only the conditions that they don't share."""
    stamped: Json = {}
    aggs: Json = {}
    for number, question in enumerate(questions):
        for part, leg in enumerate(legs(question)):
            stamped[f"q{number}.{part}"] = _of_leg(leg.question, kinds, sets)
        unseen = unreadable(question, compared(question), kinds)
        if unseen:
            aggs[f"ignored{number}"] = {"filter": unseen}
    aggs["stamped"] = {"filter": STAMPED, "aggs": stamped}
    aggs["shipped"] = {"filter": all_of([], but=(STAMPED,))}
    return aggs


#: Callers must not change the result.
_remembered = lru_cache(maxsize=256)(_aggregations)


def _of_leg(question: Question, kinds: Kinds, sets: bool) -> Json:
    found: Json = {"filter": clause(question.where, kinds)}
    if is_total_of_values(question) and not sets:
        return {**found, "aggs": {"of": _measured(question, kinds, estimate=True)}}
    if top.is_top(question, kinds):
        return {**found, "aggs": top.first(question)}
    if is_paged(question):
        return {**found, "aggs": {"by": rows(question, kinds)}}
    measured = _measured(question, kinds)
    if not question.by:
        return {**found, "aggs": {"of": measured}} if measured else found
    by = _grouping(question, kinds)
    if measured:
        by["aggs"] = {"of": measured}
    return {**found, "aggs": {"by": by}}


def _measured(question: Question, kinds: Kinds, *, estimate: bool = False) -> Json | None:
    measure = question.measure
    if isinstance(measure, Percentile):
        # If there are more values than events, some events have several values. This count also includes a value that
        # an event has twice.
        return {"value_count": {"field": readable(measure.field, kinds)}}
    if isinstance(measure, Count) or (isinstance(measure, Unique) and not estimate):
        return None
    if isinstance(measure, Unique):
        return {"cardinality": {"field": readable(measure.field, kinds), "precision_threshold": EXACT_UNIQUES}}
    # A field of text has no numbers to add up.
    return {"stats": {"field": measure.field}} if kinds.of(measure.field) == "number" else None


def _grouping(question: Question, kinds: Kinds) -> Json:
    grouping = question.by[0]
    if isinstance(grouping, Values):
        return {"terms": {"field": readable(grouping.field, kinds), "size": top.TERMS}}
    assert isinstance(grouping, Every)
    # Every("day"), UTC              a calendar histogram. UTC has no clock changes, so its edges are right
    # Every("day"), another zone     edges from zoneinfo, since Elasticsearch's own bucketing has been wrong around
    #                                clock changes (elastic/elasticsearch#126551, #107204). Where few equal steps can
    #                                hit every edge, a histogram of these steps; else explicit ranges
    if is_calendar(grouping):
        return {"date_histogram": {**_source(grouping, question, kinds)["date_histogram"], "min_doc_count": 1}}
    starts = bucket_starts(question)
    step, _ = common_step(starts)
    if (to_ms(starts[-1]) - to_ms(starts[0])) // step <= 2 * len(starts):
        return {"date_histogram": {**_source(grouping, question, kinds)["date_histogram"], "min_doc_count": 1}}
    ranges: list[Json] = [{"from": to_ms(start), "to": to_ms(end)} for start, end in pairwise(starts)]
    ranges.append({"from": to_ms(starts[-1])})  # the period ends it
    return {"date_range": {"field": "@timestamp", "format": "epoch_millis", "ranges": ranges}}


def _source(grouping: Any, question: Question, kinds: Kinds) -> Json:
    if isinstance(grouping, Values):
        return {"terms": {"field": readable(grouping.field, kinds), "missing_bucket": True}}
    if is_calendar(grouping):
        return {"date_histogram": {"field": "@timestamp", "calendar_interval": grouping.unit}}
    step, offset = common_step(bucket_starts(question))
    return {"date_histogram": {"field": "@timestamp", "fixed_interval": f"{step}ms", "offset": f"{offset}ms"}}


def readable(field: str, kinds: Kinds) -> str:
    """The field to group by. If it can't be grouped by, this is a name that no event has, so all values are missing."""
    return field if kinds.of(field) != "other" else _NO_FIELD


def is_calendar(every: Every) -> bool:
    """Whether Elasticsearch's own calendar gives the right edges: single units of UTC, weeks from Monday."""
    return every.tz.key == "UTC" and every.count == 1 and every.week_start == 0 and every.unit in INTERVALS


def needs_edges(question: Question) -> bool:
    return any(isinstance(grouping, Every) and not is_calendar(grouping) for grouping in question.by)


def bucket_starts(question: Question) -> list[datetime]:
    """Starts of all buckets of a question whose period has both ends; raises BadQuestion if there are too many."""
    every = next(grouping for grouping in question.by if isinstance(grouping, Every))
    period = question.period
    assert period.start is not None and period.end is not None
    starts = list(islice(every.starts(period.start, period.end - timedelta(milliseconds=1)), MAX_BUCKETS + 1))
    if len(starts) > MAX_BUCKETS:
        raise too_many_buckets()
    return starts


def too_many_buckets() -> BadQuestion:
    return BadQuestion("more buckets of time than one answer holds; narrow from and to, or take a longer interval")
