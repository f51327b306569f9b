"""Conditions: which events a question counts. The method `holds` defines each condition's meaning in plain Python.

All, AnyOf and Not form a tree over the others. A field of several values fits if one of its values does. Numbers are
compared as numbers (3 is 3.0), text as text with regard to case, flags as flags. "3" isn't 3, and true is neither 1
nor "true". `clause.py` puts the same into Elasticsearch's query language; tests compare the two.
Source: query contract, section 1 (table of operators).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metronome.event.facts import item_of
from metronome.event.fields import ITEM_NAMES, Event
from metronome.periods import read_time

#: A value as JSON has it.
Scalar = str | float | bool

#: A number or a time. The type is loose because Python can't compare the two, and no condition has both.
Bound = Any


class Condition:
    """One node of a tree. It is compared and hashed as a value."""

    def holds(self, event: Event) -> bool:
        """Whether a flat event meets the condition."""
        raise NotImplementedError

    def fields(self) -> Iterator[str]:
        """The names of the fields that the condition reads."""
        raise NotImplementedError


@dataclass(frozen=True, init=False)
class All(Condition):
    """Every part holds. Without parts, every event fits."""

    parts: tuple[Condition, ...]

    def __init__(self, *parts: Condition) -> None:
        object.__setattr__(self, "parts", parts)

    def holds(self, event: Event) -> bool:
        return all(part.holds(event) for part in self.parts)

    def fields(self) -> Iterator[str]:
        for part in self.parts:
            yield from part.fields()


@dataclass(frozen=True, init=False)
class AnyOf(Condition):
    """At least one part holds. Without parts, no event fits."""

    parts: tuple[Condition, ...]

    def __init__(self, *parts: Condition) -> None:
        object.__setattr__(self, "parts", parts)

    def holds(self, event: Event) -> bool:
        return any(part.holds(event) for part in self.parts)

    def fields(self) -> Iterator[str]:
        for part in self.parts:
            yield from part.fields()


@dataclass(frozen=True)
class Not(Condition):
    """The part doesn't hold. An event without the part's field fits too."""

    part: Condition

    def holds(self, event: Event) -> bool:
        return not self.part.holds(event)

    def fields(self) -> Iterator[str]:
        return self.part.fields()


@dataclass(frozen=True)
class OfField(Condition):
    """A condition on the values of one field."""

    field: str

    def fits(self, value: Any) -> bool:
        """Whether one value fits."""
        raise NotImplementedError

    def holds(self, event: Event) -> bool:
        return any(self.fits(value) for value in values_of(event, self.field))

    def fields(self) -> Iterator[str]:
        yield self.field


@dataclass(frozen=True, eq=False)
class OfValues(OfField):
    """A condition that names values. Two are equal if their values are the same; unlike in Python, True isn't 1."""

    values: tuple[Scalar, ...]

    def __hash__(self) -> int:
        return hash(self._key())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OfValues) and self._key() == other._key()

    def _key(self) -> Any:
        return type(self), self.field, tuple(map(typed, self.values))


@dataclass(frozen=True, eq=False)
class In(OfValues):
    """The value equals one of `values`."""

    def fits(self, value: Any) -> bool:
        return any(same(value, wanted) for wanted in self.values)


def Is(field: str, value: Scalar) -> In:  # noqa: N802 - reads as the other conditions
    """The value equals this one."""
    return In(field, (value,))


@dataclass(frozen=True)
class Between(OfField):
    """The value is a number within the bounds, or a time if the bounds are times. None leaves a side open."""

    gte: Bound = None
    lte: Bound = None
    gt: Bound = None
    lt: Bound = None

    @property
    def of_time(self) -> bool:
        return any(isinstance(bound, datetime) for bound in (self.gte, self.lte, self.gt, self.lt))

    def fits(self, value: Any) -> bool:
        number: Any = _time_of(value) if self.of_time else value if is_number(value) else None
        return (
            number is not None
            and (self.gte is None or number >= self.gte)
            and (self.lte is None or number <= self.lte)
            and (self.gt is None or number > self.gt)
            and (self.lt is None or number < self.lt)
        )


@dataclass(frozen=True)
class Contains(OfField):
    """The text contains this text, case included."""

    text: str

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and self.text in value


@dataclass(frozen=True)
class StartsWith(OfField):
    """The text starts with this text, case included."""

    text: str

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value.startswith(self.text)


@dataclass(frozen=True)
class Has(OfField):
    """The field has a value. Null and an empty array are no value."""

    def fits(self, value: Any) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Outside(OfValues):
    """The field has a value that isn't in `values`. The event may have other values that are."""

    def fits(self, value: Any) -> bool:
        return not any(same(value, known) for known in self.values)


def Missing(field: str) -> Not:  # noqa: N802
    """The field has no value."""
    return Not(Has(field))


@dataclass(frozen=True)
class Item(Condition):
    """The event belongs to this item: its `id` is this one. If it has no `id`, another of ITEM_NAMES counts."""

    id: str

    def holds(self, event: Event) -> bool:
        if event.get(ITEM_NAMES[0]) is not None:
            return bool(item_of(event) == self.id)
        return any(event.get(name) == self.id for name in ITEM_NAMES[1:])

    def fields(self) -> Iterator[str]:
        yield from ITEM_NAMES


def Subset(name: str, wanted: Mapping[str, Any]) -> Condition:  # noqa: N802
    """Nested metadata contains `wanted`: it has each leaf of `wanted`, and each element of an array in it.

    Subset("video", {"tags": ["a"], "by": {"id": 7}}) holds for the event {"video.tags": ["b", "a"], "video.by.id": 7}.
    Source: video contract, 2.2 (PostgreSQL's `@>`).
    """
    parts: list[Condition] = []
    for key, value in wanted.items():
        path = f"{name}.{key}"
        if isinstance(value, Mapping):
            parts.append(Subset(path, value))
        else:
            parts += [Is(path, one) for one in (value if isinstance(value, list) else [value])]
    return All(*parts)


def values_of(event: Event, field: str) -> list[Any]:
    """The values of a field. An array gives its elements, also those of nested arrays; null and [] give none."""
    return list(_flat(event.get(field)))


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for one in value:
            yield from _flat(one)
    elif value is not None:
        yield value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def typed(value: Any) -> tuple[str, Any]:
    """A value with its kind, `("number", 3)` or `("flag", True)`. Two are equal exactly if the values are the same."""
    kind = "flag" if isinstance(value, bool) else "number" if is_number(value) else "text"
    return kind, value


def same(one: Any, other: Any) -> bool:
    return typed(one) == typed(other)


def _time_of(value: Any) -> datetime | None:
    try:
        return value if isinstance(value, datetime) else read_time(value)
    except ValueError:
        return None


#: Events of agents on COUNTER's list of robots. An event without a known agent doesn't count as a robot's.
ROBOTS = Is("is_robot", True)

#: The default condition of a question.
PEOPLE = Not(ROBOTS)
