"""Figures of an external series, from its points, in the form in which a trend has those of events.

A point is read as an event whose fields are its dims. Conditions and groups mean the same for both, so the groups of a
trend that is split by `country` hold the points whose dim `country` has the value. The conditions of the question
(`where`, `app`, `robots`) are about events, and leave points alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import product
from typing import Any

from metronome.dialects.query.trend import Series, Value
from metronome.periods import Every, Period
from metronome.query import Condition, Count, Max, Mean, Min, Sum
from metronome.query.condition import typed, values_of

#: A group by its values with their kinds, so that 1, "1" and True stay three; None where the field is missing.
Group = tuple[Any, ...]

#: Figures by key: the start of the bucket, if there are any, and the group.
Figures = dict[tuple[Any, ...], Value]


def figures_of(series: Series, where: Condition, every: Every | None, by: tuple[str, ...], period: Period) -> Figures:
    """The figure of the points that meet both conditions, for each bucket and group that has any."""
    assert series.points is not None
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for point in series.points(period):
        dims = dict(point.dims)
        if series.where.holds(dims) and where.holds(dims):
            time = (every.start_of(point.at),) if every else ()
            for group in product(*(_values(dims, name) for name in by)):
                found[(*time, *group)].append(point.value)
    return {key: _figure(series.measures[0], values) for key, values in found.items()}


def _values(dims: dict[str, Any], name: str) -> Group:
    return tuple(dict.fromkeys(map(typed, values_of(dims, name)))) or (None,)


def _figure(measure: Any, values: list[float]) -> Value:
    if isinstance(measure, Count):
        return len(values)
    if isinstance(measure, Sum):
        return _total(values)
    if isinstance(measure, Mean):
        return _total(values) / len(values)
    if isinstance(measure, Min | Max):
        return min(values) if isinstance(measure, Min) else max(values)
    # The median by nearest rank, as of events.
    return sorted(values)[math.ceil(len(values) / 2) - 1]


def _total(values: list[float]) -> float:
    """The nearest number to the sum, infinite where that is beyond every number."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)
