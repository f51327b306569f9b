"""Which events are wanted: conditions on properties, as values. They hold as the contract of questions says.

Text is compared exactly, numbers by number, flags as flags: "3" isn't 3. Of a property with several values one has to
fit; one without any fits nothing but `Not`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "flag", "text"]


@dataclass(frozen=True)
class Is:
    """The property has one of these values."""

    name: str
    values: tuple[str | float | bool, ...]


@dataclass(frozen=True)
class Compare:
    """The property is a number, or for `@timestamp` and `received_at` Unix milliseconds, on that side of `value`."""

    name: str
    op: Literal["<", "<=", ">", ">="]
    value: float


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


Where = Is | Compare | Contains | StartsWith | Exists | All | Any | Not
