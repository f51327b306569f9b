"""A trend as it is asked: series, each of events and a figure of them, over time and by groups.

`draw.py` answers it. Source: query contract, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metronome.dialects.query.formula import Tree, parse
from metronome.dialects.query.read import Common, only, own_name, span, step
from metronome.errors import BadQuestion
from metronome.periods import Every, Period
from metronome.query import (
    Condition,
    Count,
    Max,
    Mean,
    Min,
    Percentile,
    Persons,
    Sum,
    Unique,
)

INTERVALS = ("hour", "day", "week", "month", "year", "total")

MAX_TOP = 1000
MAX_SERIES = 26

Value = int | float | None


@dataclass(frozen=True)
class Series:
    """A line: its events, the measures it needs, and how these become its figure. `daily` adds up days' uniques."""

    name: str
    where: Condition
    measures: tuple[Any, ...]
    figure: Callable[..., Value] = lambda value: value
    daily: bool = False


@dataclass(frozen=True)
class Trend:
    """A trend, understood."""

    series: tuple[Series, ...]
    formula: Tree | None
    every: Every | None
    by: tuple[str, ...]
    top: int | None
    compare: Period | None


_OF_FIELD: dict[str, Callable[[str], Any]] = {
    "unique": Unique,
    "sum": Sum,
    "avg": Mean,
    "min": Min,
    "max": Max,
    "median": Percentile,
}

_MEASURES = "count, unique, unique:, sum:, avg:, min:, max:, median:, p1: to p99: and a field, per_subject, active_days"


def read(asked: Mapping[str, Any], common: Common, now: datetime) -> Trend:
    """The keys of a trend; raises BadQuestion."""
    given = asked["series"]
    if not given or len(given) > MAX_SERIES:
        raise BadQuestion(f"series: a list of 1 to {MAX_SERIES}", field="series")
    series = tuple(_series(one, f"series[{n}]", common, asked["interval"]) for n, one in enumerate(given))
    names = [one.name for one in series]
    if len(set(names)) < len(names):
        raise BadQuestion("series: each has a name of its own", field="series")
    by = tuple(map(own_name, asked["by"]))
    if len(by) > 2 or len(set(by)) < len(by):
        raise BadQuestion("by: up to two fields", field="by")
    every = Every(asked["interval"], tz=common.tz, week_start=common.week_start)
    return Trend(
        series,
        parse(asked["formula"], names) if asked["formula"] is not None else None,
        None if asked["interval"] == "total" else every,
        by,
        asked["top"],
        _compared(asked["compare"], common, now),
    )


def _series(given: Any, at: str, common: Common, interval: str) -> Series:
    where = step(given, at, ("name", "measure"))
    name = given.get("name") or chr(ord("A") + int(re.sub(r"\D", "", at)))
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise BadQuestion(f"{at}.name: letters, digits and _, a letter first", field="series")
    measure = given.get("measure", "count")
    figures = _figure(measure, common.subject)
    if figures is None:
        raise BadQuestion(f"{at}.measure: {str(measure)[:40]!r} isn't known; there are {_MEASURES}", field="series")
    if measure == "active_days" and interval == "hour":
        raise BadQuestion(f"{at}.measure: active_days has no meaning by the hour", field="series")
    return Series(name, where, *figures)


def _figure(measure: Any, subject: str) -> Any:
    kind, _, field = str(measure).partition(":")
    own_name(field)
    percent = re.fullmatch(r"p([1-9]\d?)", kind)
    if measure == "count":
        return ((Count(),),)
    if measure in ("unique", "per_subject", "active_days"):
        unique = unique_of(subject)
        # per_subject    events of nobody count above the line, as in `count`
        # active_days    the days of each subject add up to the subjects of each day
        return {
            "unique": ((unique,),),
            "per_subject": ((Count(), unique), _ratio),
            "active_days": ((unique, unique), _ratio, True),
        }[measure]
    if field and percent:
        return ((Percentile(field, int(percent[1])),),)
    return ((_OF_FIELD[kind](field),),) if field and kind in _OF_FIELD else None


def unique_of(subject: str) -> Unique:
    """How many subjects."""
    return Persons() if subject == "person" else Unique(subject)


def _ratio(above: Value, below: Value) -> Value:
    return above / below if above is not None and below else None


def _compared(given: Any, common: Common, now: datetime) -> Period | None:
    start, end = common.period.start, common.period.end
    assert start is not None and end is not None
    if given is None:
        return None
    if given == "previous":
        try:
            return Period(start - (end - start), start)
        except OverflowError:
            raise BadQuestion("compare: there is no such range before", field="compare") from None
    if not isinstance(given, dict):
        raise BadQuestion('compare: there are "previous" and {"from": …, "to": …}', field="compare")
    only(given, ("from", "to"), "compare")
    try:
        return span(str(given.get("from", "")), given.get("to"), common.tz, now, common.week_start)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadQuestion(f"compare: {error}", field="compare") from None
