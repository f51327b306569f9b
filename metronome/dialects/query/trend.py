"""A trend as it is asked: series, each of events and a figure of them, over time and by groups.

`draw.py` answers it. Source: query contract, section 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from metronome.dialects.query.formula import Name, Tree, parse
from metronome.dialects.query.read import Common, only, own_field, own_name, span, step
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
    asks_persons,
    property_of,
)
from metronome.saved import Point

INTERVALS = ("hour", "day", "week", "month", "year", "total")

MAX_TOP = 1000
MAX_SERIES = 26

#: Most series of a question together with those of the metrics that it names.
MAX_NEEDED = 100

Value = int | float | None


@dataclass(frozen=True)
class Series:
    """Events, the measures needed of them, and how these become a figure. `daily` adds up days' uniques.

    With `points`, the figure is one of an external series instead: `where` is then a condition on a point's dims.
    """

    name: str
    where: Condition
    measures: tuple[Any, ...]
    figure: Callable[..., Value] = lambda value: value
    daily: bool = False
    points: Callable[[Period], list[Point]] | None = None


@dataclass(frozen=True)
class Trend:
    """A trend, understood. `lines` are shown: each is a formula over `series`. Groups are ranked by `rank`."""

    series: tuple[Series, ...]
    lines: tuple[tuple[str, Tree], ...]
    rank: Tree
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

#: Measures of an external series, whose one field is `value`.
_OF_POINTS = ("sum", "avg", "min", "max", "median")

_MEASURES = "count, unique, unique:, sum:, avg:, min:, max:, median:, p1: to p99: and a field, per_subject, active_days"


class Library(Protocol):
    """The saved things that a trend may name. Each raises BadQuestion where there is no such thing."""

    def metric(self, name: str, now: datetime) -> tuple[tuple[Series, ...], Tree]:
        """The series of a metric, and its formula over them."""
        ...

    def points(self, name: str) -> Callable[[Period], list[Point]]:
        """Reads the points of an external series."""
        ...


def read(asked: Mapping[str, Any], common: Common, now: datetime, library: Library) -> Trend:
    """The keys of a trend; raises BadQuestion."""
    series, lines = _lines(asked, common, now, library)
    by = tuple(map(own_name, asked["by"]))
    if len(by) > 2 or len(set(by)) < len(by):
        raise BadQuestion("by: up to two fields", field="by")
    if any(one.points for one in series) and any(property_of(name) for name in by):
        raise BadQuestion("by: points of external series are nobody's; group by a field of events", field="by")
    every = Every(asked["interval"], tz=common.tz, week_start=common.week_start)
    rank = next(iter(lines.values()))
    if asked["formula"] is not None:
        lines = {"formula": parse(asked["formula"], list(lines)).replaced(lines)}
    return Trend(
        series,
        tuple(lines.items()),
        rank,
        None if asked["interval"] == "total" else every,
        by,
        asked["top"],
        _compared(asked["compare"], common, now),
    )


def formula_of(
    asked: Mapping[str, Any], common: Common, now: datetime, library: Library
) -> tuple[tuple[Series, ...], Tree]:
    """The series of a question that gives one line, and the formula of that line; raises BadQuestion."""
    series, lines = _lines(asked, common, now, library)
    if asked["formula"] is not None:
        return series, parse(asked["formula"], list(lines)).replaced(lines)
    if len(lines) > 1:
        raise BadQuestion("formula: several series need one, which says what the figure is", field="formula")
    return series, next(iter(lines.values()))


def _lines(
    asked: Mapping[str, Any], common: Common, now: datetime, library: Library
) -> tuple[tuple[Series, ...], dict[str, Tree]]:
    """All series that are needed, and for each one that was asked for its formula over them."""
    given = asked["series"]
    if not given or len(given) > MAX_SERIES:
        raise BadQuestion(f"series: a list of 1 to {MAX_SERIES}", field="series")
    series: list[Series] = []
    lines: dict[str, Tree] = {}
    for number, one in enumerate(given):
        at = f"series[{number}]"
        name = _name(one, at, number)
        if name in lines:
            raise BadQuestion("series: each has a name of its own", field="series")
        if isinstance(one, dict) and "metric" in one:
            only(one, ("name", "metric"), at)
            inner, tree = library.metric(str(one["metric"]), now)
            # A name with a dot can't be one that was asked for.
            series += [replace(each, name=f"{name}.{each.name}") for each in inner]
            lines[name] = tree.replaced({each.name: Name(f"{name}.{each.name}") for each in inner})
        else:
            series.append(_series(one, name, at, common, asked["interval"], library))
            lines[name] = Name(name)
    if len(series) > MAX_NEEDED:
        raise BadQuestion(f"series: more than {MAX_NEEDED} with those of the metrics", field="series")
    return tuple(series), lines


def _name(given: Any, at: str, number: int) -> str:
    name = given.get("name") if isinstance(given, dict) else None
    name = name or chr(ord("A") + number)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name):
        raise BadQuestion(f"{at}.name: letters, digits and _, a letter first", field="series")
    return name


def _series(given: Any, name: str, at: str, common: Common, interval: str, library: Library) -> Series:
    if isinstance(given, dict) and "series" in given:
        return _external(given, name, at, library)
    where = step(given, at, ("name", "measure"))
    measure = given.get("measure", "count")
    figures = _figure(measure, common.subject)
    if figures is None:
        raise BadQuestion(f"{at}.measure: {str(measure)[:40]!r} isn't known; there are {_MEASURES}", field="series")
    if measure == "active_days" and interval == "hour":
        raise BadQuestion(f"{at}.measure: active_days has no meaning by the hour", field="series")
    return Series(name, where, *figures)


def _external(given: Mapping[str, Any], name: str, at: str, library: Library) -> Series:
    """An external series: `where` is about its dims, and `measure` says what becomes of several points of a bucket."""
    only(given, ("name", "series", "measure", "where"), at)
    kind = given.get("measure", "sum")
    if kind != "count" and kind not in _OF_POINTS:
        raise BadQuestion(f"{at}.measure: there are count, {', '.join(_OF_POINTS)}", field="series")
    measure = Count() if kind == "count" else _OF_FIELD[kind]("value")
    where = step({"where": given.get("where", [])}, at)
    if asks_persons(where):
        raise BadQuestion(f"{at}.where: points of external series are nobody's; ask about their dims", field="series")
    return Series(name, where, (measure,), points=library.points(str(given["series"])))


def _figure(measure: Any, subject: str) -> Any:
    kind, _, field = str(measure).partition(":")
    own_name(field) if kind == "unique" else own_field(field, "series")
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
