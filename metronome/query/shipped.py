"""Derives the facts of documents that Logstash or Fluentd wrote straight into Elasticsearch, which have none.

A composite aggregation, read to its end page by page, groups such documents by the raw fields that facts are derived
from. Each group goes through `event.facts.derive`, as each event does at intake. So both ways in give the same numbers.

    where      Elasticsearch checks the conditions that read no derived fact; the rest is checked here in each group
    measure    sums, least and greatest come with the group; distinct values, where needed, are grouped by
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from metronome.errors import BadQuestion
from metronome.event.facts import DERIVED, derive
from metronome.event.fields import AGENT_NAMES, Event
from metronome.periods import Every, common_step, from_ms
from metronome.query.body import (
    STAMPED,
    Json,
    Leg,
    all_of,
    bucket_starts,
    is_calendar,
    legs,
    needs_values,
    parts_of,
    within,
)
from metronome.query.clause import clause
from metronome.query.condition import All, AnyOf, Condition, Not, values_of
from metronome.query.kinds import Kinds, as_sent
from metronome.query.partial import Partial, keys_of
from metronome.query.question import Count, Question
from metronome.query.search import Indices, Search

#: The raw fields that facts are derived from.
RAW = ("event", "format", "accept", "referer", "extra.referer", "url", "browser", "platform", *AGENT_NAMES)

PAGE = 2000

#: Most parts of a condition that have to be asked both ways (see `split`). Each of them doubles the number of searches.
MAX_MIXED = 6


@dataclass(frozen=True)
class Case:
    """One search: the condition for Elasticsearch, the fields to group by, and the rest to check for each question."""

    asked: Condition
    fields: tuple[str, ...]


def add(search: Search, questions: Sequence[Question], kinds: Kinds, indices: Indices, found: list[Partial]) -> None:
    """Add the counts of shipped documents to `found`. Questions that need the same groups share their pages."""
    cases: dict[Case, list[tuple[Leg, Condition, Partial]]] = {}
    for question, partial in zip(questions, found, strict=True):
        for leg in legs(question):
            for asked, left in split(leg.question.where):
                cases.setdefault(Case(asked, _fields(leg.question)), []).append((leg, left, partial))
    for case, wanted in cases.items():
        members = [leg.question for leg, _, _ in wanted]
        for bucket in search.pages(body(case, members, kinds), indices):
            event = as_event(bucket["key"], kinds)
            for leg, left, partial in wanted:
                if left.holds(event):
                    _count(leg, event, bucket, partial)


def split(where: Condition) -> Iterator[tuple[Condition, Condition]]:
    """A condition as cases that exclude each other. Each has a part for raw fields and a rest for derived facts.

    All(Item("a"), Is("event", "view"))              one case: Item("a"), Is("event", "view")
    AnyOf(Is("plan", "pro"), Is("event", "view"))    two: plan is pro, nothing left; it isn't, Is("event", "view")
    """
    parts = parts_of(where)
    raw = All(*(part for part in parts if _is_raw(part)))
    left: Condition = All(*(_merged(part) for part in parts if not _is_raw(part)))
    mixed = list(dict.fromkeys(_raw_parts(left)))
    if len(mixed) > MAX_MIXED:
        raise BadQuestion(
            "where: too many filters on sent fields stand in any or not beside filters on derived facts (event, "
            "browser, is_robot, …), which documents of other shippers lack; ask in several questions",
            field="where",
        )
    for chosen in product((True, False), repeat=len(mixed)):
        rest = left
        for part, holds in zip(mixed, chosen, strict=True):
            rest = _with(rest, part, All() if holds else AnyOf())
        assumed = (part if holds else Not(part) for part, holds in zip(mixed, chosen, strict=True))
        yield All(*raw.parts, *assumed), rest


def _merged(condition: Condition) -> Condition:
    """The same condition, with all parts of a node that read only raw fields joined into one part."""
    if not isinstance(condition, All | AnyOf):
        return Not(_merged(condition.part)) if isinstance(condition, Not) else condition
    kind = type(condition)
    raw = [part for part in condition.parts if _is_raw(part)]
    others = [_merged(part) for part in condition.parts if not _is_raw(part)]
    return kind(*([kind(*raw)] if raw else []), *others)


def _is_raw(condition: Condition) -> bool:
    names = list(condition.fields())
    return bool(names) and DERIVED.isdisjoint(names)


def _raw_parts(condition: Condition) -> Iterator[Condition]:
    if _is_raw(condition):
        yield condition
    elif isinstance(condition, All | AnyOf):
        for part in condition.parts:
            yield from _raw_parts(part)
    elif isinstance(condition, Not):
        yield from _raw_parts(condition.part)


def _with(condition: Condition, part: Condition, known: Condition) -> Condition:
    """The condition with `known` in place of `part`."""
    if condition == part:
        return known
    if isinstance(condition, All | AnyOf):
        return type(condition)(*(_with(one, part, known) for one in condition.parts))
    return Not(_with(condition.part, part, known)) if isinstance(condition, Not) else condition


def _fields(question: Question) -> tuple[str, ...]:
    """The raw fields to group by beside RAW. No more than needed: an event of several values is in several groups."""
    names = [grouping.field for grouping in question.by if not isinstance(grouping, Every)]
    if needs_values(question):
        names.append(question.measure.field)  # type: ignore[union-attr]
    return tuple(sorted({name for name in names if name not in DERIVED and name not in RAW}))


def body(case: Case, questions: Sequence[Question], kinds: Kinds) -> Json:
    """One page of the groups."""
    names = [name for name in (*RAW, *case.fields) if kinds.of(name) not in ("none", "other") or name in RAW]
    sources: list[Json] = [{name: {"terms": {"field": name, "missing_bucket": True}}} for name in names]
    timed = [question for question in questions if any(isinstance(grouping, Every) for grouping in question.by)]
    if timed:
        sources.append({"@timestamp": {"date_histogram": {"field": "@timestamp", **_step(timed)}}})
    query = all_of([clause(case.asked, kinds), *within(questions[0].period)], but=(STAMPED,))
    by: Json = {"composite": {"size": PAGE, "sources": sources}}
    measured = {_measured(question) for question in questions} - {None}
    if measured:
        by["aggs"] = {f"of {name}": {"stats": {"field": name}} for name in measured if kinds.of(str(name)) == "number"}
    return {"size": 0, "track_total_hits": False, "query": query, "aggs": {"by": by}}


def _step(questions: Sequence[Question]) -> Json:
    """A histogram of time. None of its steps crosses an edge of any question's buckets."""
    everies = {grouping for question in questions for grouping in question.by if isinstance(grouping, Every)}
    if all(map(is_calendar, everies)):
        return {"fixed_interval": "1h" if any(every.unit == "hour" for every in everies) else "1d"}
    starts = {start for question in questions for start in bucket_starts(question)}
    step, offset = common_step(sorted(starts))
    return {"fixed_interval": f"{step}ms", "offset": f"{offset}ms"}


def _measured(question: Question) -> str | None:
    """The field of numbers to add up; None if documents are grouped by its values anyway."""
    if isinstance(question.measure, Count) or needs_values(question):
        return None
    return question.measure.field


def as_event(key: Json, kinds: Kinds) -> Event:
    """The event that a group's key stands for, with its facts derived."""
    event: Event = {
        name: as_sent(value, kinds.of(name))
        for name, value in key.items()
        if value is not None and name != "@timestamp"
    }
    derive(event, shipped=True)
    if "@timestamp" in key:
        event["@timestamp"] = from_ms(key["@timestamp"])
    return event


def _count(leg: Leg, event: Event, bucket: Json, partial: Partial) -> None:
    measure = leg.question.measure
    for key in keys_of(leg.question, event):
        tally = partial.at(leg.key(key))
        tally.events += bucket["doc_count"]
        if isinstance(measure, Count):
            continue
        numbers = bucket.get(f"of {measure.field}", {})
        if numbers.get("count"):
            tally.add_numbers(numbers["count"], numbers["sum"], numbers["min"], numbers["max"])
        elif needs_values(leg.question):
            for value in values_of(event, measure.field):
                tally.add_value(measure, value, bucket["doc_count"])
