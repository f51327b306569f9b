"""From the query contract's JSON to conditions and periods. Every error names the key and lists what there is.

Source: query contract, sections 1 and 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from metronome.errors import BadQuestion
from metronome.periods import Every, Period, period, read_time, zone
from metronome.query import (
    PEOPLE,
    ROBOTS,
    All,
    AnyOf,
    Between,
    Condition,
    Contains,
    Has,
    In,
    Is,
    Missing,
    Not,
    StartsWith,
    of_field,
    property_of,
)

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

#: Deepest nesting of filters, and most of them in one question.
MAX_DEPTH = 20
MAX_FILTERS = 500

#: Longest text that is looked for inside others. Elasticsearch refuses some of more than 300 characters.
MAX_TEXT = 256

#: Fields that hold times.
_TIMES = ("@timestamp", "received_at")


@dataclass(frozen=True)
class Common:
    """The common keys of a question, understood."""

    where: Condition
    period: Period
    tz: ZoneInfo
    week_start: int
    #: `person`, or the field whose values are the subjects.
    subject: str
    explain: bool
    now: datetime
    #: The subject whose witness is asked for.
    witness: str | None = None
    as_of: datetime | None = None
    #: Id and version of the segment that was asked for; null for one in place.
    segment: Mapping[str, Any] | None = None


#: Kinds that can name the events of one subject.
WITNESSES = ("trend", "funnel", "retention", "lifecycle")


def common(asked: Mapping[str, Any], now: datetime, kind: str) -> Common:
    """The keys that all kinds of questions share; raises BadQuestion."""
    witness = _witness(asked["explain"]) if kind in WITNESSES else None
    if asked["explain"] not in (None, "query") and witness is None:
        raise BadQuestion(
            f'explain: "query" is what there is; a subject belongs to {", ".join(WITNESSES)}', field="explain"
        )
    try:
        tz = zone(asked["tz"])
        when = span(asked["from"], asked["to"], tz, now, WEEKDAYS.index(asked["week_start"]))
    except ValueError as error:
        raise BadQuestion(str(error)) from None
    conditions = [condition(one, f"where[{n}]") for n, one in enumerate(asked["where"])]
    if asked["app"] is not None:
        conditions.append(Is("app", asked["app"]))
    conditions.append(robots(asked["robots"]))
    return Common(
        All(*conditions),
        when,
        tz,
        WEEKDAYS.index(asked["week_start"]),
        subject(asked["subject"]),
        asked["explain"] == "query",
        now,
        witness,
        _as_of(asked["as_of"]),
    )


def _witness(explain: Any) -> str | None:
    """The id in `{"subject": "u1"}`."""
    if not isinstance(explain, dict):
        return None
    only(explain, ("subject",), "explain")
    if not isinstance(explain.get("subject"), str):
        raise BadQuestion('explain: {"subject": "u1"} with the id of a subject as text', field="explain")
    return str(explain["subject"])


def _as_of(given: Any) -> datetime | None:
    try:
        return None if given is None else read_time(given)
    except ValueError as error:
        raise BadQuestion(f"as_of: {error}", field="as_of") from None


def subject(name: str | None) -> str:
    """`person`, or the field whose values are the subjects."""
    if name in (None, "person"):
        return "person"
    return "session_id" if name == "session" else own_field(str(name), "subject")


def robots(given: Any) -> Condition:
    if given is False:
        return PEOPLE
    if given is True:
        return ROBOTS
    if given == "all":
        return All()
    raise BadQuestion('robots: there are false (left out), true (only robots) and "all"', field="robots")


_BACK = re.compile(r"-(\d{1,4})(h|d|w|mo|y)")
_UNITS = {"h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def span(first: str, last: str | None, tz: ZoneInfo, now: datetime, week_start: int) -> Period:
    """`from` and `to`: days, instants, or whole units back from now, the running one included; raises ValueError."""
    start, end = (_back(text, tz, now, week_start) for text in (first, last))
    given = period(first if start is None else None, last if end is None else None, tz)
    start, end = start or given.start, end or given.end or now
    if start is None or end <= start:
        raise ValueError(f"to: {last or 'now'!r} is not after from: {first!r}")
    return Period(start, end)


def _back(text: str | None, tz: ZoneInfo, now: datetime, week_start: int) -> datetime | None:
    if not text or not text.startswith("-"):
        return None
    match = _BACK.fullmatch(text)
    if not match or not int(match[1]):
        raise ValueError(f"{text[:40]!r} is not a time back from now; write -30d, -12h, -6mo, -4w or -1y")
    every = Every(_UNITS[match[2]], tz=tz, week_start=week_start)
    start = every.start_of(now)
    try:
        for _ in range(int(match[1]) - 1):
            start = every.start_of(start - timedelta(milliseconds=1))
    except OverflowError:
        raise ValueError(f"{text!r} is before the calendar's first year") from None
    return start


def condition(given: Any, at: str, depth: int = 0) -> Condition:
    """One filter, or all, any, not of filters."""
    if depth > MAX_DEPTH:
        raise BadQuestion(f"{at}: filters are nested deeper than {MAX_DEPTH}", field="where")
    if not isinstance(given, dict):
        raise _bad(at, 'a filter is an object such as {"field": "browser", "op": "is", "value": "Firefox"}')
    for name, made in _TREES.items():
        if name in given:
            only(given, (name,), at)
            return made(given[name], f"{at}.{name}", depth + 1)
    only(given, ("field", "op", "value", "all", "any", "not"), at)
    field, op = given.get("field"), given.get("op")
    if not isinstance(field, str) or not field:
        raise _bad(at, "field: the name of a field is missing")
    own_name(field)
    if op not in _OPERATORS:
        raise _bad(at, f"op: {str(op)[:40]!r} isn't known; there are {', '.join(_OPERATORS)}")
    return of_field(field, lambda name: _OPERATORS[op](name, given.get("value"), at))


def _list(made: Callable[..., Condition]) -> Callable[[Any, str, int], Condition]:
    def read(given: Any, at: str, depth: int) -> Condition:
        if not isinstance(given, list) or len(given) > MAX_FILTERS:
            raise _bad(at, f"a list of at most {MAX_FILTERS} filters")
        return made(*(condition(one, f"{at}[{n}]", depth) for n, one in enumerate(given)))

    return read


_TREES: dict[str, Callable[[Any, str, int], Condition]] = {
    "all": _list(All),
    "any": _list(AnyOf),
    "not": lambda given, at, depth: Not(condition(given, at, depth)),
}


def _scalar(value: Any, at: str) -> Any:
    if isinstance(value, str | int | float):
        return value
    raise _bad(at, "value: a text, a number, true or false")


def _is(field: str, value: Any, at: str) -> Condition:
    return Is(field, _scalar(value, at))


def _in(field: str, value: Any, at: str) -> Condition:
    if not isinstance(value, list) or len(value) > MAX_FILTERS:
        raise _bad(at, f"value: a list of at most {MAX_FILTERS} values")
    return In(field, tuple(_scalar(one, at) for one in value))


def _bound(field: str, value: Any, at: str) -> Any:
    if field in _TIMES:
        try:
            return read_time(value)
        except ValueError as error:
            raise _bad(at, f"value: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(at, "value: a number")
    return value


def _compared(name: str) -> Callable[[str, Any, str], Condition]:
    return lambda field, value, at: Between(field, **{name: _bound(field, value, at)})


def _between(field: str, value: Any, at: str) -> Condition:
    if not isinstance(value, list) or len(value) != 2:
        raise _bad(at, "value: a list of two bounds, both included")
    return Between(field, gte=_bound(field, value[0], at), lte=_bound(field, value[1], at))


def _text(made: Callable[[str, str], Condition]) -> Callable[[str, Any, str], Condition]:
    def read(field: str, value: Any, at: str) -> Condition:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise _bad(at, f"value: a text of 1 to {MAX_TEXT} characters")
        return made(field, value)

    return read


_OPERATORS: dict[str, Callable[[str, Any, str], Condition]] = {
    "is": _is,
    "in": _in,
    "is_not": lambda field, value, at: Not(_is(field, value, at)),
    "not_in": lambda field, value, at: Not(_in(field, value, at)),
    "gt": _compared("gt"),
    "gte": _compared("gte"),
    "lt": _compared("lt"),
    "lte": _compared("lte"),
    "between": _between,
    "contains": _text(Contains),
    "starts_with": _text(StartsWith),
    "exists": lambda field, value, at: Has(field),
    "missing": lambda field, value, at: Missing(field),
}


def step(given: Any, at: str, further: tuple[str, ...] = ()) -> Condition:
    """A set of events: `{"event": "buy"}`, a list of names, `{}` for any event, or `{"any": [step…]}`."""
    if not isinstance(given, dict):
        raise _bad(at, 'a step is an object such as {"event": "buy"}; {} is any event')
    only(given, ("event", "where", "any", "as", *further), at)
    if "any" in given:
        steps = given["any"]
        if not isinstance(steps, list) or "event" in given or "where" in given:
            raise _bad(at, "any: a list of steps, with no event or where beside it")
        return AnyOf(*(step(one, f"{at}.any[{n}]") for n, one in enumerate(steps)))
    parts = [event(given.get("event"), at)]
    where = given.get("where", [])
    if not isinstance(where, list):
        raise _bad(at, "where: a list of filters")
    parts += [condition(one, f"{at}.where[{n}]") for n, one in enumerate(where)]
    return All(*parts)


def own_name(field: str) -> str:
    """The name of a field of events; raises BadQuestion for one of Elasticsearch's own."""
    if field.startswith("_"):
        raise BadQuestion(f"{field[:40]!r} isn't a field of events; names that start with _ are Elasticsearch's own")
    return field


def own_field(field: str, at: str) -> str:
    """The name of a field of events where a property of persons has no meaning; raises BadQuestion for one."""
    if property_of(field) is not None:
        raise BadQuestion(f"{at}: {field[:60]!r} is a property of persons; it can stand in filters and by", field=at)
    return own_name(field)


def event(names: Any, at: str) -> Condition:
    """Events of a name, or of one of several; of any name where there is none."""
    if names is None:
        return All()
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _bad(at, "event: a name or a list of names")
    return In("event", tuple(names))


def only(given: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
    """Refuse a key that isn't known rather than ignore it."""
    for name in given:
        if name not in known:
            raise _bad(at, f"{str(name)[:40]!r} isn't a key; there are {', '.join(known)}")


def _bad(at: str, said: str) -> BadQuestion:
    return BadQuestion(f"{at}: {said}", field=at.partition("[")[0].partition(".")[0])
