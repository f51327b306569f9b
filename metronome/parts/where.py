"""Conditions on properties, as values: which events are wanted. Source of their meaning: the query contract.

Text is compared exactly, numbers as numbers, flags as flags: "3" isn't 3. If a property has several values, one of them
has to fit. A property without a value fits only `Not`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "flag", "text"]


@dataclass(frozen=True, eq=False)
class _OfValues:
    """A condition that names values. Two are equal if their values are the same; unlike in Python, True isn't 1."""

    name: str
    values: tuple[str | float | bool, ...]

    def __hash__(self) -> int:
        return hash(self._key())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OfValues) and self._key() == other._key()

    def _key(self) -> object:
        return type(self), self.name, tuple((isinstance(value, bool), value) for value in self.values)


@dataclass(frozen=True, eq=False)
class Is(_OfValues):
    """The property has one of these values."""


@dataclass(frozen=True, eq=False)
class Outside(_OfValues):
    """The property has a value that is none of these. It may have others that are."""


@dataclass(frozen=True)
class Compare:
    """The property is a number, or for `@timestamp` and `received_at` Unix milliseconds, on that side of `value`."""

    name: str
    op: Literal["<", "<=", ">", ">="]
    value: float


@dataclass(frozen=True)
class Between:
    """One value of the property is within all bounds; None leaves a side open. Times are Unix milliseconds."""

    name: str
    gte: float | None = None
    lte: float | None = None
    gt: float | None = None
    lt: float | None = None


@dataclass(frozen=True)
class Contains:
    name: str
    text: str


@dataclass(frozen=True)
class StartsWith:
    name: str
    text: str


@dataclass(frozen=True)
class Exists:
    name: str


@dataclass(frozen=True)
class All:
    of: tuple[Where, ...]


@dataclass(frozen=True)
class Any:
    of: tuple[Where, ...]


@dataclass(frozen=True)
class Not:
    of: Where


Where = Is | Outside | Compare | Between | Contains | StartsWith | Exists | All | Any | Not
