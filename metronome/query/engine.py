"""Questions answered by Elasticsearch: one search for all questions of a call.

    1. bounds       only where buckets need edges that aren't known yet: first and last event
    2. search       every question a filter with its aggregation, under what all of them have in common
    3. the rest     values beyond the first ten thousand, page by page; documents of other shippers (shipped.py)

No limit loses counts: what doesn't fit in one answer is paged, and a search that any shard failed is an error.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any

from elasticsearch import ApiError, Elasticsearch
from elasticsearch_dsl import A

from metronome.errors import BadQuestion, StoreRefused, StoreUnavailable
from metronome.periods import Period, edges, from_ms, to_ms
from metronome.query import shipped
from metronome.query.answer import Answer
from metronome.query.question import Condition, Every, Has, Is, Item, Question
from metronome.settings import Settings
from metronome.store.client import our_errors
from metronome.store.names import pattern

#: Values a terms aggregation gives at once; one with more is paged.
TERMS = 10_000
PAGE = 5_000

#: Buckets of time in one answer; Elasticsearch's own limit is 65,536.
MAX_BUCKETS = 50_000

#: Elasticsearch counts distinct values exactly up to about this many.
EXACT_UNIQUES = 40_000

#: A new index's first shard is there within half a second.
_PAUSES_S = (0.1, 0.2, 0.4)

#: What passed our intake; the rest was shipped.
_STAMPED = {"exists": {"field": "received_at"}}

_ROBOT = {"term": {"is_robot": True}}

_OPTIONS = {"ignore_unavailable": "true", "allow_no_indices": "true", "allow_partial_search_results": "false"}
_HEADERS = {"content-type": "application/json", "accept": "application/json"}


class Engine:
    """Asks one Elasticsearch. Safe to use from many threads."""

    def __init__(self, client: Elasticsearch, settings: Settings) -> None:
        self._client = client
        self._path = f"/{pattern(settings)}/_search"

    def ask(self, *questions: Question) -> list[Answer]:
        """An answer a question, in order; all of them see the index at one moment.

        Raises BadQuestion (too many buckets), StoreUnavailable or StoreRefused.
        """
        asked, questions = questions, self._with_bounds(questions)
        common = _common(questions)
        aggs = self._search(search_body(questions)).get("aggregations", {})
        tallies = [Counter[Any]() for _ in questions]
        exact = True
        for number, question in enumerate(questions):
            found = aggs.get("stamped" if question.unique is None else f"unique{number}", {})
            if question.unique is not None:
                tallies[number][""] = count = int(found.get("of", {}).get("value", 0))
                exact = exact and count <= EXACT_UNIQUES
            elif found:
                tallies[number] += self._tally(question, found[f"q{number}"], questions, common)
        if aggs.get("shipped", {}).get("doc_count"):
            self._add_shipped(questions, common, tallies)
        return [_answer(question, tally, exact) for question, tally in zip(asked, tallies, strict=True)]

    def is_known(self, where: tuple[Condition, ...]) -> bool:
        """Whether any event ever met the conditions."""
        query = _all([_condition(c) for c in where])
        found = self._search({"size": 0, "track_total_hits": 1, "terminate_after": 1, "query": query})
        return bool(found["hits"]["total"]["value"])

    def _with_bounds(self, questions: tuple[Question, ...]) -> tuple[Question, ...]:
        """Questions whose buckets need explicit edges get the period they lack, from the first and last event."""
        if all(_edges_known(question) for question in questions):
            return questions
        query = _all(_base(questions, _common(questions)))
        aggs = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
        found = self._search({"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}).get(
            "aggregations", {}
        )
        first, last = (found.get(name, {}).get("value") for name in ("first", "last"))
        if first is None or last is None:
            return questions
        return tuple(_bounded(question, from_ms(first), from_ms(last)) for question in questions)

    def _tally(
        self, question: Question, found: dict[str, Any], questions: tuple[Question, ...], common: tuple[Condition, ...]
    ) -> Counter[Any]:
        if question.by is None:
            return Counter({"": found["doc_count"]})
        by = found["by"]
        if isinstance(question.by, Every):
            return Counter({_start(bucket): bucket["doc_count"] for bucket in by["buckets"] if bucket["doc_count"]})
        if by["sum_other_doc_count"] or by.get("doc_count_error_upper_bound"):
            return self._every_value(question, question.by, questions, common)
        return Counter({str(bucket["key"]): bucket["doc_count"] for bucket in by["buckets"]})

    def _every_value(
        self, question: Question, field: str, questions: tuple[Question, ...], common: tuple[Condition, ...]
    ) -> Counter[Any]:
        tally: Counter[Any] = Counter()
        own = _filter(replace(question, where=_own(question, common)))
        query = _all([*_base(questions, common), _STAMPED, own])
        for bucket in self._pages(query, [{"value": {"terms": {"field": field}}}], PAGE):
            tally[str(bucket["key"]["value"])] += bucket["doc_count"]
        return tally

    def _add_shipped(
        self, questions: tuple[Question, ...], common: tuple[Condition, ...], tallies: list[Counter[Any]]
    ) -> None:
        query = _all(_base(questions, common), but=(_STAMPED,))
        counted = tuple(question for question in questions if question.unique is None)
        for bucket in self._pages(query, shipped.sources(counted), shipped.PAGE):
            group = shipped.group(bucket)
            for number, question in enumerate(questions):
                if question.unique is None and shipped.fits(question, group):
                    key = shipped.key_of(question, group)
                    if key is not None:
                        tallies[number][key] += group.count

    def _pages(self, query: dict[str, Any], sources: list[dict[str, Any]], size: int) -> Any:
        after: dict[str, Any] | None = None
        while True:
            composite: dict[str, Any] = {"size": size, "sources": sources}
            if after is not None:
                composite["after"] = after
            body = {
                "size": 0,
                "track_total_hits": False,
                "query": query,
                "aggs": {"pages": {"composite": composite}},
            }
            found = self._search(body).get("aggregations", {}).get("pages", {"buckets": []})
            yield from found["buckets"]
            after = found.get("after_key")
            if after is None or len(found["buckets"]) < size:
                return

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        """One search; asked again for a moment where a shard isn't there yet, as in a day's first second."""
        for pause_s in (*_PAUSES_S, None):
            try:
                with our_errors():
                    response = self._client.perform_request(
                        "POST", self._path, params=_OPTIONS, headers=_HEADERS, body=body
                    )
            except (StoreRefused, StoreUnavailable) as error:
                cause = error.__cause__
                if isinstance(cause, ApiError) and "too_many_buckets" in str(cause):
                    raise _too_many() from error
                if pause_s is None or not isinstance(cause, ApiError) or cause.meta.status != 503:
                    raise
                time.sleep(pause_s)
            else:
                found: dict[str, Any] = response.body
                return found
        raise AssertionError("the last try returns or raises")


def search_body(questions: tuple[Question, ...]) -> dict[str, Any]:
    """The one search that answers all of them, as JSON."""
    common = _common(questions)
    query = _all(_base(questions, common))
    # What is asked of each item is the same, in UTC for every period; lists of edges are long, and for one only.
    utc = all(map(_is_utc, questions))
    own = tuple(
        replace(question, where=_own(question, common), until=None, period=Period() if utc else question.period)
        for question in questions
    )
    aggs = (_remembered if utc else _aggregations)(own)
    return {"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}


def _all(filters: list[dict[str, Any]], *, but: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """The query that meets every filter, and none of `but`."""
    return {"bool": {"filter": filters, "must_not": list(but)}}


def _base(questions: tuple[Question, ...], common: tuple[Condition, ...]) -> list[dict[str, Any]]:
    return [_condition(c) for c in common] + _time(questions)


def _common(questions: tuple[Question, ...]) -> tuple[Condition, ...]:
    return tuple(c for c in questions[0].where if all(c in question.where for question in questions))


def _own(question: Question, common: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(c for c in question.where if c not in common)


def _condition(condition: Condition) -> dict[str, Any]:
    # Item("a")            id is "a", or there is no id and item_id or extra.item_id is "a"
    # Is("event", "view")  {"term": {"event": "view"}}
    # Has("referer")       {"exists": {"field": "referer"}}
    # AtLeast("status", 400)
    if isinstance(condition, Item):
        others = [{"term": {field: condition.id}} for field in ("item_id", "extra.item_id")]
        without = {"must_not": [{"exists": {"field": "id"}}], "should": others, "minimum_should_match": 1}
        return {"bool": {"should": [{"term": {"id": condition.id}}, {"bool": without}], "minimum_should_match": 1}}
    if isinstance(condition, Is):
        return {"term": {condition.field: condition.value}}
    if isinstance(condition, Has):
        return {"exists": {"field": condition.field}}
    return {"range": {condition.field: {"gte": condition.value}}}


def _time(questions: tuple[Question, ...]) -> list[dict[str, Any]]:
    """The period as a range; all questions of one call have the same."""
    period = questions[0].period
    if any(question.period != period for question in questions):
        raise ValueError("questions asked together have one period")
    bounds = {}
    if period.start is not None:
        bounds["gte"] = to_ms(period.start)
    if period.end is not None:
        bounds["lt"] = to_ms(period.end)
    return [{"range": {"@timestamp": {**bounds, "format": "epoch_millis"}}}] if bounds else []


def _aggregations(questions: tuple[Question, ...]) -> dict[str, Any]:
    """An aggregation a question, for questions that are left with the conditions of their own."""
    stamped = A("filter", _STAMPED)
    aggs: dict[str, Any] = {}
    for number, question in enumerate(questions):
        own = A("filter", _filter(question))
        if question.unique is not None:
            own.metric("of", "cardinality", field=question.unique, precision_threshold=EXACT_UNIQUES)
            aggs[f"unique{number}"] = own.to_dict()
            continue
        if question.by is not None:
            own.bucket("by", _grouping(question))
        stamped.bucket(f"q{number}", own)
    aggs["stamped"] = stamped.to_dict()
    aggs["shipped"] = A("filter", _all([], but=(_STAMPED,))).to_dict()
    return aggs


#: Callers must not change what it gives.
_remembered = lru_cache(maxsize=256)(_aggregations)


def _filter(question: Question) -> dict[str, Any]:
    filters = [_condition(c) for c in question.where]
    # Robots: left out (also where nothing is known of the agent), alone, or together with everybody.
    if question.robots is None:
        return _all(filters)
    return _all([*filters, _ROBOT]) if question.robots else _all(filters, but=(_ROBOT,))


def _grouping(question: Question) -> Any:
    # by = Every("day"), UTC              a calendar histogram, whose edges can't be wrong without clock changes
    # by = Every("day"), another zone     ranges with edges from zoneinfo: Elasticsearch's own bucketing has been
    #                                     wrong around clock changes (elastic/elasticsearch#126551, #107204)
    # by = "format"                       values
    if isinstance(question.by, str):
        return A("terms", field=question.by, size=TERMS)
    assert question.by is not None
    if _is_utc(question) or not _edges_known(question):
        return A("date_histogram", field="@timestamp", calendar_interval=question.by.interval, min_doc_count=1)
    starts = _starts(question)
    ranges = [{"from": to_ms(start), "to": to_ms(end)} for start, end in pairwise(starts)]
    ranges.append({"from": to_ms(starts[-1])})  # the period ends it
    return A("date_range", field="@timestamp", format="epoch_millis", ranges=ranges)


def _starts(question: Question) -> list[datetime]:
    assert isinstance(question.by, Every)
    period = question.period
    assert period.start is not None and period.end is not None
    starts: list[datetime] = []
    for start in edges(period.start, period.end - timedelta(milliseconds=1), question.by.interval, question.tz):
        starts.append(start)
        if len(starts) > MAX_BUCKETS:
            raise _too_many()
    return starts


def _too_many() -> BadQuestion:
    return BadQuestion("more buckets of time than one answer holds; narrow from and to, or take a longer interval")


def _is_utc(question: Question) -> bool:
    return question.tz.key == "UTC"


def _edges_known(question: Question) -> bool:
    bounded = question.period.start is not None and question.period.end is not None
    return not isinstance(question.by, Every) or _is_utc(question) or bounded


def _bounded(question: Question, first: datetime, last: datetime) -> Question:
    period = Period(question.period.start or first, question.period.end or last + timedelta(milliseconds=1))
    return replace(question, period=period)


def _start(bucket: dict[str, Any]) -> datetime:
    return from_ms(bucket["from"] if "from" in bucket else bucket["key"])


def _answer(question: Question, tally: Counter[Any], exact: bool) -> Answer:
    if not isinstance(question.by, Every):
        return Answer(counts=dict(sorted(tally.items(), key=lambda row: (-row[1], row[0]))), exact=exact)
    interval, tz = question.by.interval, question.tz
    period = question.period
    end = period.end - timedelta(milliseconds=1) if period.end else question.until
    if not tally and (period.start is None or end is None):  # nothing to draw a line between
        return Answer()
    first = period.start or min(tally)
    last = max(tally) if end is None else max([end, *tally])
    filled: dict[datetime, int] = {}
    for start in edges(first, last, interval, tz):
        filled[start] = tally.get(start, 0)
        if len(filled) > MAX_BUCKETS:
            raise _too_many()
    return Answer(buckets=filled, exact=exact)
