"""Turns a condition into a clause of Elasticsearch's query language, by the kinds of its fields in the index."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

from metronome.event.fields import FIELDS, ITEM_NAMES
from metronome.periods import read_time, to_ms
from metronome.query.condition import (
    All,
    AnyOf,
    Between,
    Condition,
    Contains,
    Has,
    In,
    Item,
    Not,
    Outside,
    StartsWith,
    is_number,
)
from metronome.query.kinds import TEXTS, Kinds
from metronome.query.question import Count, Question, Ranges, Unique

Json = dict[str, Any]

NOTHING: Json = {"match_none": {}}

#: Lucene's longest term. No index holds a longer text, and asking for one is an error.
_MAX_TERM_BYTES = 32766

_WHOLE_NUMBERS = frozenset(field.name for field in FIELDS if field.kind == "long")

#: A number as JSON writes it: so it stands in a keyword where text came first that day.
NUMBER = "-?[0-9]+(\\.[0-9]+)?([eE][-+]?[0-9]+)?"


def clause(condition: Condition, kinds: Kinds) -> Json:
    """The JSON of a condition."""
    return _CLAUSES[type(condition)](condition, kinds)


def _any(clauses: list[Json]) -> Json:
    if len(clauses) == 1:
        return clauses[0]
    return {"bool": {"should": clauses, "minimum_should_match": 1}} if clauses else NOTHING


def _all(condition: All, kinds: Kinds) -> Json:
    # Not(Is("is_robot", True)) among others    must_not beside filter, without a query of its own
    filters = [clause(part, kinds) for part in condition.parts if not isinstance(part, Not)]
    nots = [clause(part.part, kinds) for part in condition.parts if isinstance(part, Not)]
    return {"bool": {"filter": filters, "must_not": nots}}


def _item(condition: Item, kinds: Kinds) -> Json:
    # id is "a", or there is no id and item_id or extra.item_id is "a"
    first, *others = [{"term": {name: condition.id}} for name in ITEM_NAMES]
    without = {"must_not": [{"exists": {"field": ITEM_NAMES[0]}}], "should": others, "minimum_should_match": 1}
    return _any([first, {"bool": without}])


def _in(condition: In, kinds: Kinds) -> Json:
    values = _as_indexed(condition.values, kinds.of(condition.field))
    if condition.field in _WHOLE_NUMBERS:
        values = [value for value in values if not is_number(value) or _fits_64_bits(value)]
    if not values:
        return NOTHING
    return {"term": {condition.field: values[0]}} if len(values) == 1 else {"terms": {condition.field: values}}


def _fits_64_bits(number: float) -> bool:
    """Whether 64 bits hold a number of this size."""
    return -(2**63) <= number < 2**63


def _as_indexed(values: tuple[Any, ...], kind: str) -> list[Any]:
    """The values that a field of this kind can have, in the form in which its index has them. Others are left out."""
    numbers = [value for value in values if is_number(value)]
    flags = [value for value in values if isinstance(value, bool)]
    texts = [value for value in values if isinstance(value, str) and len(value.encode()) <= _MAX_TERM_BYTES]
    as_text = ["true" if flag else "false" for flag in flags]
    # number    3 and 3.0                     flag      true
    # text      "3"                           flags     true, as "true"
    # mixed     "3"; true, as "true"          date      the moment that a text says
    found = {
        "number": numbers,
        "flag": flags,
        "text": texts,
        "flags": as_text,
        "mixed": [*texts, *as_text],
        "date": [ms for text in texts if (ms := _moment(text)) is not None],
    }
    return found.get(kind, [])


def _moment(text: str) -> int | None:
    try:
        return to_ms(read_time(text))
    except ValueError:
        return None


def _between(condition: Between, kinds: Kinds) -> Json:
    wanted = "date" if condition.of_time else "number"
    if kinds.of(condition.field) != wanted:
        return NOTHING
    given = (("gte", condition.gte), ("lte", condition.lte), ("gt", condition.gt), ("lt", condition.lt))
    bounds: Json = {
        name: to_ms(bound) if isinstance(bound, datetime) else bound for name, bound in given if bound is not None
    }
    if condition.of_time:
        return {"range": {condition.field: {**bounds, "format": "epoch_millis"}}}
    return _range(condition.field, bounds)


def _range(field: str, bounds: Json) -> Json:
    """Numbers or texts within bounds. To a field of whole numbers what 64 bits don't hold is an error."""
    if field in _WHOLE_NUMBERS:
        beyond = {name: bound for name, bound in bounds.items() if not _fits_64_bits(bound)}
        if any((bound > 0) == name.startswith("g") for name, bound in beyond.items()):
            return NOTHING
        bounds = {name: bound for name, bound in bounds.items() if name not in beyond}
    return {"range": {field: bounds}} if bounds else _exists(field)


def _contains(condition: Contains, kinds: Kinds) -> Json:
    if kinds.of(condition.field) not in ("text", "mixed"):
        return NOTHING
    text = "".join(f"\\{char}" if char in "\\*?" else char for char in condition.text)
    return {"wildcard": {condition.field: {"value": f"*{text}*"}}}


def _starts_with(condition: StartsWith, kinds: Kinds) -> Json:
    if kinds.of(condition.field) not in ("text", "mixed"):
        return NOTHING
    return {"prefix": {condition.field: {"value": condition.text}}}


def _has(condition: Has, kinds: Kinds) -> Json:
    # An event also has the field if its value doesn't fit the index. Elasticsearch then names the field in `_ignored`.
    ignored = {"term": {"_ignored": condition.field}}
    return ignored if kinds.of(condition.field) == "none" else _any([_exists(condition.field), ignored])


def _exists(field: str) -> Json:
    return {"exists": {"field": field}}


def _outside(condition: Outside, kinds: Kinds) -> Json:
    # The clause looks for a value in one of the gaps between the named ones. `must_not` would be wrong: it would drop
    # an event that has a named value and another one.
    kind = kinds.of(condition.field)
    if kind in ("none", "other", "date"):
        return NOTHING
    if kind == "flag":
        return {"terms": {condition.field: [flag for flag in (True, False) if flag not in condition.values]}}
    values = _as_indexed(condition.values, kind)
    known = sorted(values, key=lambda value: value.encode() if isinstance(value, str) else value)
    if not known:
        return _exists(condition.field)
    gaps = [{"lt": known[0]}, *({"gt": one, "lt": next_} for one, next_ in pairwise(known))]
    gaps.append({"gt": known[-1]})
    return _any([_range(condition.field, gap) for gap in gaps])


_CLAUSES: dict[type, Callable[[Any, Kinds], Json]] = {
    All: _all,
    AnyOf: lambda condition, kinds: _any([clause(part, kinds) for part in condition.parts]),
    Not: lambda condition, kinds: {"bool": {"must_not": [clause(condition.part, kinds)]}},
    Item: _item,
    In: _in,
    Between: _between,
    Contains: _contains,
    StartsWith: _starts_with,
    Has: _has,
    Outside: _outside,
}


def unreadable(question: Question, fields: list[str], kinds: Kinds) -> Json | None:
    """Matches events with a value that a question can't compare: it isn't indexed, or it is a number among texts."""
    found: list[Json] = [{"terms": {"_ignored": fields}}] if fields else []
    numeric = {name for name in asked_as_numbers(question) if kinds.of(name) in TEXTS}
    found += [{"regexp": {name: {"value": NUMBER}}} for name in sorted(numeric)]
    found += [_exists(name) for name in fields if kinds.of(name) == "other"]
    return _any(found) if found else None


def asked_as_numbers(question: Question) -> list[str]:
    """The fields whose values a question takes for numbers."""
    names = [grouping.field for grouping in question.by if isinstance(grouping, Ranges)]
    if not isinstance(question.measure, Count | Unique):
        names.append(question.measure.field)
    return names + list(_numeric(question.where))


def _numeric(condition: Condition) -> list[str]:
    if isinstance(condition, All | AnyOf):
        return [name for part in condition.parts for name in _numeric(part)]
    if isinstance(condition, Not):
        return _numeric(condition.part)
    if isinstance(condition, Between):
        return [condition.field] if not condition.of_time else []
    if isinstance(condition, In):
        return [condition.field] if any(map(is_number, condition.values)) else []
    return []
