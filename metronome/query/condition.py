"""Conditions: which events a question counts. Each says what it means once, in plain Python, by `holds`.

A tree of All, AnyOf and Not over the others. A field of several values fits if one of them does. Numbers are compared
by number (3 is 3.0), text by text with its case, flags as flags; "3" isn't 3, and true is neither 1 nor "true".
`body.py` says the same to Elasticsearch; tests hold one against the other.
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

#: A number or a time; typed loosely, since Python can't compare the two and no condition has both.
Bound = Any


class Condition:
    """One node of a tree. Compare and hash it as a value."""

    def holds(self, event: Event) -> bool:
        """Whether a flat event meets it."""
        raise NotImplementedError

    def fields(self) -> Iterator[str]:
        """The names of the fields it reads."""
        raise NotImplementedError


@dataclass(frozen=True, init=False)
class All(Condition):
    """Every part holds; without parts, every event."""

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
    """One part at least holds; without parts, no event."""

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
    """The part doesn't hold; so also where its field is missing."""

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
    """A condition that names values. Two are equal where the values are the same; True isn't 1, as it is to Python."""

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
    """The value is a number, or a time where the bounds are times, within the bounds; None leaves a side open."""

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
    """The field has a value; null and an empty array are none."""

    def fits(self, value: Any) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Outside(OfValues):
    """The field has a value that is none of these; other values of the same event may be among them."""

    def fits(self, value: Any) -> bool:
        return not any(same(value, known) for known in self.values)


def Missing(field: str) -> Not:  # noqa: N802
    """The field has no value."""
    return Not(Has(field))


@dataclass(frozen=True)
class Item(Condition):
    """The event belongs to this item: its `id` is this one. Where `id` is absent, another of ITEM_NAMES is."""

    id: str

    def holds(self, event: Event) -> bool:
        if event.get(ITEM_NAMES[0]) is not None:
            return bool(item_of(event) == self.id)
        return any(event.get(name) == self.id for name in ITEM_NAMES[1:])

    def fields(self) -> Iterator[str]:
        yield from ITEM_NAMES


def Subset(name: str, wanted: Mapping[str, Any]) -> Condition:  # noqa: N802
    """Nested metadata contains `wanted`: each of its leaves is there, of an array each element.

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
    """The values of a field: none for null and [], those of an array, nested ones too."""
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
    """A value with its kind, equal exactly where two values are the same: `("number", 3)`, `("flag", True)`."""
    kind = "flag" if isinstance(value, bool) else "number" if is_number(value) else "text"
    return kind, value


def same(one: Any, other: Any) -> bool:
    return typed(one) == typed(other)


def _time_of(value: Any) -> datetime | None:
    try:
        return value if isinstance(value, datetime) else read_time(value)
    except ValueError:
        return None


#: Robots are on COUNTER's list; an event of which no agent is known isn't one.
ROBOTS = Is("is_robot", True)

#: What questions ask unless they say otherwise.
PEOPLE = Not(ROBOTS)
