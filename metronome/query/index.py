"""Elasticsearch as a source: one search for all questions of a call, and pages for rows that one search can't hold.

    1. kinds      the kinds of fields that aren't named in event/fields.py, and the sets of indices that agree on them
    2. bounds     first and last event, if buckets of time need edges and the period is open
    3. search     one search: its query is what all questions share, each question is a filter with an aggregation
    4. the rest   further rows and values, page by page; documents of other shippers (shipped.py)

No limit loses counts. Rows that don't fit in one answer are paged, or the question is refused with the advice to narrow
it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from metronome.errors import BadQuestion, DaysClosed, StoreFailed
from metronome.periods import Every, Period, from_ms, to_ms
from metronome.query import shipped, top
from metronome.query.body import (
    Json,
    Leg,
    all_of,
    common_parts,
    further_body,
    is_paged,
    is_total_of_values,
    legs,
    needs_edges,
    next_page,
    page_body,
    search_body,
    within,
)
from metronome.query.clause import clause
from metronome.query.condition import typed
from metronome.query.kinds import AS_NAMED, NAMED, Kinds, as_sent
from metronome.query.partial import Partial, Tally
from metronome.query.question import Known, Percentile, Question, Unique, Values, fields_of
from metronome.query.search import IndexClosed, Indices, Search
from metronome.settings import Settings
from metronome.spool.status import backlog
from metronome.store.names import day_of_index

#: Most rows of one question. More of them give a 400, or for uniques an estimate of each group.
MAX_ROWS = 200_000

#: Shortest time between two readings of the watermark from the spools, in seconds.
_WATERMARK_S = 1.0


class Index:
    """The source that holds every day: Elasticsearch. Safe to use from many threads."""

    def __init__(self, search: Search, settings: Settings) -> None:
        self.search = search
        self._settings = settings
        self._watermark = (float("-inf"), datetime.min)

    def holds(self, period: Period) -> list[Period]:
        return [period]

    def watermark(self, now: datetime) -> datetime:
        """A moment. Every event that was acknowledged before it can be found: none is spooled or awaits a refresh."""
        read_at, known = self._watermark
        if time.monotonic() - read_at > _WATERMARK_S:
            waiting = backlog(self._settings.spool_dir)
            known = now - timedelta(seconds=max(waiting.age_s, 0) + self._settings.refresh_s)
            self._watermark = (time.monotonic(), known)
        return known

    def refuse_closed(self, period: Period) -> None:
        """Raises DaysClosed if a closed index may hold events of the period. What isn't a day's index always may."""
        days = {name: day_of_index(self._settings, name) for name in self.search.closed()}
        asked = [(name, day) for name, day in days.items() if day is None or _overlaps(day, period)]
        if asked:
            # Names of indices go to the log alone.
            named = sorted(str(day) for _, day in asked if day) or ["no day"]
            more = f" and {len(asked) - 3} more" if len(asked) > 3 else ""
            raise DaysClosed(
                f"the index of {', '.join(named[:3])}{more} is closed, so its events can't be counted; open it, or ask "
                "for other days",
                detail=", ".join(sorted(name for name, _ in asked[:20])),
                retry_after_s=60,
            )

    def open_only(self) -> Index:
        """The same, without closed indices."""
        return Index(self.search.open_only(), self._settings)

    def partials(self, questions: Sequence[Question], *, alone: bool) -> list[Partial]:
        """A partial answer to each question, in order. All have one period and see the index at the same moment."""
        try:
            return self._partials(questions, alone)
        except IndexClosed:
            self.refuse_closed(questions[0].period)
            return self.open_only()._partials(questions, alone)

    def _partials(self, questions: Sequence[Question], alone: bool) -> list[Partial]:
        fields = list(dict.fromkeys(name for question in questions for name in fields_of(question)))
        try:
            return self._by_kinds(questions, [name for name in fields if name not in NAMED], alone)
        except IndexClosed:
            raise
        except StoreFailed:
            # In an index that was made without our template, a named field may have another type.
            return self._by_kinds(questions, fields, alone)

    def is_known(self, question: Known) -> bool:
        """Whether there is such an event. Raises DaysClosed if only a closed index may have one."""
        try:
            return self._is_known(question)
        except IndexClosed:
            if self.open_only()._is_known(question):
                return True
            self.refuse_closed(Period())
            return False

    def _is_known(self, question: Known) -> bool:
        query = all_of([clause(question.where, AS_NAMED)])
        found = self.search({"size": 0, "track_total_hits": 1, "terminate_after": 1, "query": query})
        return bool(found["hits"]["total"]["value"])

    def _by_kinds(self, questions: Sequence[Question], fields: list[str], alone: bool) -> list[Partial]:
        found = [Partial() for _ in questions]
        classes = self.search.kinds(fields)
        for indices, kinds in classes:
            bounded = self._with_bounds(questions, kinds, indices)
            self._add(bounded, kinds, indices, found, alone=alone and len(classes) == 1)
        return found

    def _add(
        self, questions: Sequence[Question], kinds: Kinds, indices: Indices, found: list[Partial], *, alone: bool
    ) -> None:
        if not alone:
            # Groups that are large in the sum may be small here.
            questions = [replace(question, most=None) for question in questions]
        answered = self.search(search_body(questions, kinds, sets=not alone), indices)
        aggs = answered.get("aggregations")
        if not aggs:
            return None
        asked = [leg.question for question in questions for leg in legs(question)]
        whole = any(is_total_of_values(question) or top.is_top(question, kinds) for question in asked)
        if alone and whole and aggs["shipped"]["doc_count"]:
            # Shipped documents add values of their own. A value that stamped documents have as well must count once.
            return self._add(questions, kinds, indices, found, alone=False)
        for number, question in enumerate(questions):
            found[number].ignored += aggs.get(f"ignored{number}", {}).get("doc_count", 0)
            for part, leg in enumerate(legs(question)):
                reading = Reading(question, leg, kinds, found[number])
                group = aggs["stamped"][f"q{number}.{part}"]
                if top.is_top(leg.question, kinds):
                    self._read_top(reading, group, answered["_shards"]["total"], indices)
                else:
                    self._read(reading, group, indices)
        if aggs["shipped"]["doc_count"]:
            shipped.add(self.search, questions, kinds, indices, found)
        return None

    def _read(self, reading: Reading, answered: Json, indices: Indices) -> None:
        question = reading.leg.question
        if "value" in answered.get("of", {}):
            reading.add_estimate((), answered["of"])
        elif not question.by and not is_paged(question):
            reading.add((), answered, answered["doc_count"])
        elif is_paged(question):
            self._read_rows(reading, answered["by"], indices)
        elif answered["by"].get("sum_other_doc_count") or answered["by"].get("doc_count_error_upper_bound"):
            for row in self.search.pages(page_body(question, reading.kinds), indices):
                reading.add_row(row)
        else:
            for bucket in answered["by"]["buckets"]:
                if bucket["doc_count"]:
                    reading.add((_bucket_key(bucket),), bucket, bucket["doc_count"])

    def _read_top(self, reading: Reading, answered: Json, shards: int, indices: Indices) -> None:
        question, kinds = reading.leg.question, reading.kinds
        counts = top.proved(question, answered, shards)
        if counts is None:
            further = self.search(further_body(question, kinds, top.second(question, answered)), indices)
            answered = further.get("aggregations", {})
            counts = top.proved(question, answered, further["_shards"]["total"])
        if counts is None:
            page = self.search(page_body(question, kinds), indices).get("aggregations", {})
            return self._read_rows(reading, page.get("by", {"buckets": []}), indices)
        for value, events in counts.items():
            reading.add((value,), {}, events)
        return None

    def _read_rows(self, reading: Reading, first: Json, indices: Indices) -> None:
        question = reading.leg.question
        rows = list(first["buckets"])
        after = next_page(first)
        if after is not None:
            for row in self.search.pages(page_body(question, reading.kinds, after), indices):
                rows.append(row)
                if len(rows) > MAX_ROWS:
                    return self._estimate(reading, indices)
        for row in rows:
            reading.add_row(row)
        if isinstance(question.measure, Percentile):
            reading.partial.ignored += self._repeated(reading, rows, indices)
        return None

    def _repeated(self, reading: Reading, rows: list[Json], indices: Indices) -> int:
        """How many numbers are repeats of another number of the same event. Rows count each number once per event."""
        counted = [row for row in rows if row["key"]["value"] is not None]
        if all(row["of"]["value"] == row["doc_count"] for row in counted):
            return 0
        body = page_body(reading.leg.question, reading.kinds, estimate=True)
        if reading.leg.question.by:
            values = sum(row["of"]["value"] for row in self.search.pages(body, indices))
        else:
            body["aggs"] = body["aggs"]["by"]["aggs"]
            values = self.search(body, indices)["aggregations"]["of"]["value"]
        return int(values) - int(sum(row["doc_count"] for row in counted))

    def _estimate(self, reading: Reading, indices: Indices) -> None:
        """Uniques of more rows than MAX_ROWS: take Elasticsearch's estimate of each group, and mark it as one."""
        question = reading.leg.question
        if not isinstance(question.measure, Unique):
            raise too_many_rows()
        body = page_body(question, reading.kinds, estimate=True)
        if not question.by:
            body["aggs"] = body["aggs"]["by"]["aggs"]
            found = self.search(body, indices)
            reading.add_estimate((), found["aggregations"]["of"])
            return
        for number, row in enumerate(self.search.pages(body, indices)):
            if number > MAX_ROWS:
                raise too_many_rows()
            reading.add_estimate(reading.key_of(row["key"]), row["of"])

    def _with_bounds(self, questions: Sequence[Question], kinds: Kinds, indices: Indices) -> Sequence[Question]:
        """If buckets need edges and the period is open, close it at the first and last event."""
        period = questions[0].period
        if any(question.period != period for question in questions):
            raise ValueError("questions asked together have one period")
        if not any(map(needs_edges, questions)) or (period.start is not None and period.end is not None):
            return questions
        query = all_of([clause(part, kinds) for part in common_parts(questions)] + within(period))
        aggs = {"first": {"min": {"field": "@timestamp"}}, "last": {"max": {"field": "@timestamp"}}}
        body = {"size": 0, "track_total_hits": False, "query": query, "aggs": aggs}
        found = self.search(body, indices).get("aggregations", {})
        first, last = (found.get(name, {}).get("value") for name in ("first", "last"))
        if first is None or last is None:
            # Without events any bucket will do; one a minute from 1970 on would be too many.
            edge = period.start or (period.end and period.end - timedelta(milliseconds=1)) or from_ms(0)
            first = last = to_ms(edge)
        bounded = Period(period.start or from_ms(first), period.end or from_ms(last) + timedelta(milliseconds=1))
        return [replace(question, period=bounded) for question in questions]


def _overlaps(day: date, period: Period) -> bool:
    start = datetime.combine(day, datetime.min.time(), UTC)
    return (period.end is None or start < period.end) and (
        period.start is None or period.start < start + timedelta(days=1)
    )


def too_many_rows() -> BadQuestion:
    return BadQuestion(
        f"more than {MAX_ROWS} values or groups to read; narrow from and to or where, or group by what has fewer values"
    )


@dataclass
class Reading:
    """How the aggregations of one leg become tallies of its question."""

    question: Question
    leg: Leg
    kinds: Kinds
    partial: Partial

    def add(self, raw: tuple[Any, ...], found: Json, events: int) -> None:
        tally = self.tally(raw)
        if tally is not None:
            tally.events += events
            self._add_numbers(tally, found)

    def add_row(self, row: Json) -> None:
        """A row of the composite aggregation."""
        tally = self.tally(self.key_of(row["key"]))
        if tally is None:
            return
        tally.events += row["doc_count"]
        value = row["key"].get("value")
        if value is not None:
            measured = self.question.measure.field  # type: ignore[union-attr]
            tally.add_value(self.question.measure, as_sent(value, self.kinds.of(measured)), row["doc_count"])
        self._add_numbers(tally, row)

    def add_estimate(self, raw: tuple[Any, ...], found: Json) -> None:
        tally = self.tally(raw)
        if tally is not None:
            tally.estimates.append(int(found["value"]))

    def key_of(self, key: Json) -> tuple[Any, ...]:
        return tuple(key[f"by{number}"] for number in range(len(self.leg.question.by)))

    def tally(self, raw: tuple[Any, ...]) -> Tally | None:
        """The tally of a group, by its key in Elasticsearch; None for a group that isn't asked for."""
        key: list[Any] = []
        for grouping, value in zip(self.leg.question.by, raw, strict=True):
            if isinstance(grouping, Every):
                key.append(grouping.start_of(from_ms(value)))
            elif value is not None:
                key.append(typed(as_sent(value, self.kinds.of(grouping.field))))
            elif isinstance(grouping, Values) and grouping.missing:
                key.append(None)
            else:
                return None
        return self.partial.at(self.leg.key(key))

    def _add_numbers(self, tally: Tally, found: Json) -> None:
        numbers = found.get("of", {})
        if numbers.get("count"):
            tally.add_numbers(numbers["count"], numbers["sum"], numbers["min"], numbers["max"])


def _bucket_key(bucket: Json) -> Any:
    return bucket["from"] if "from" in bucket else bucket["key"]
