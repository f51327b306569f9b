"""A question's condition as the parts' own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from metronome.errors import BadQuestion
from metronome.parts import where
from metronome.parts.where import Where
from metronome.periods import Period, read_time, to_ms
from metronome.query import condition as asked

#: Columns of times.
TIMES = ("@timestamp", "received_at")

NOTHING = where.Any(())


def as_where(condition: asked.Condition) -> Where:
    """The same condition; raises BadQuestion where parts can't tell."""
    found = _WHERES.get(type(condition))
    if found is None:
        raise BadQuestion("where: this condition can't be asked of day parts", field="where")
    return found(condition)


def within(period: Period) -> Where:
    """The period as a condition on the time of events."""
    start, end = (None if edge is None else to_ms(edge) for edge in (period.start, period.end))
    return where.Between("@timestamp", gte=start, lt=end)


def _in(condition: asked.In) -> Where:
    if condition.field not in TIMES:
        return where.Is(condition.field, condition.values)
    moments = [ms for value in condition.values if isinstance(value, str) and (ms := _moment(value)) is not None]
    return where.Any(tuple(where.Between(condition.field, gte=ms, lte=ms) for ms in moments))


def _moment(text: str) -> int | None:
    try:
        return to_ms(read_time(text))
    except ValueError:
        return None


def _between(condition: asked.Between) -> Where:
    if condition.of_time != (condition.field in TIMES):
        return NOTHING
    bounds = {
        name: to_ms(bound) if isinstance(bound, datetime) else bound
        for name in ("gte", "lte", "gt", "lt")
        if (bound := getattr(condition, name)) is not None
    }
    return where.Between(condition.field, **bounds)


def _item(condition: asked.Item) -> Where:
    others = tuple(where.Is(name, (condition.id,)) for name in ("item_id", "extra.item_id"))
    without = where.All((where.Not(where.Exists("id")), where.Any(others)))
    return where.Any((where.Is("id", (condition.id,)), without))


def _of_text(made: Callable[[str, str], Where]) -> Callable[[Any], Where]:
    return lambda condition: NOTHING if condition.field in TIMES else made(condition.field, condition.text)


_WHERES: dict[type, Callable[[Any], Where]] = {
    asked.All: lambda condition: where.All(tuple(map(as_where, condition.parts))),
    asked.AnyOf: lambda condition: where.Any(tuple(map(as_where, condition.parts))),
    asked.Not: lambda condition: where.Not(as_where(condition.part)),
    asked.In: _in,
    asked.Between: _between,
    asked.Contains: _of_text(where.Contains),
    asked.StartsWith: _of_text(where.StartsWith),
    asked.Has: lambda condition: where.Exists(condition.field),
    asked.Outside: lambda condition: where.Outside(condition.field, condition.values),
    asked.Item: _item,
}
