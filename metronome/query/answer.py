"""Answers to questions, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from metronome.event.fields import Event

#: One value for each grouping: the start of a bucket (UTC), a JSON value (None if missing), or a pair of bounds.
Key = tuple[Any, ...]

Number = int | float


@dataclass(frozen=True)
class Row:
    """The measure of one group."""

    key: Key
    value: Number | None


@dataclass(frozen=True)
class Answer:
    """The measure of each group. Buckets of time come in ascending order, values with the largest first, ties by value.

    Keys are typed: a status is 404, a flag is True. The measure of no events is 0 for counts, uniques and sums,
    else None. `complete` says for each bucket of time, empty ones too, whether it has ended. If `exact` is False, a
    figure is off by at most `error_bound`, or `ignored_values` events had a value that this question could not
    compare. The answer holds every event that was acknowledged before `watermark`.
    """

    rows: tuple[Row, ...] = ()
    complete: Mapping[datetime, bool] = field(default_factory=dict)
    exact: bool = True
    error_bound: Number = 0
    ignored_values: int = 0
    watermark: datetime | None = None
    #: Days that were read from an archive, with the bytes that were fetched for each.
    archived: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> Number:
        """The only figure of a question without groupings."""
        return (self.rows[0].value or 0) if self.rows else 0

    @property
    def empty(self) -> bool:
        """Whether nothing was counted at all."""
        return not any(row.value for row in self.rows)


@dataclass(frozen=True)
class Page:
    """Events of a Listing, flat, each with `_id` and `_index`. `after` leads to the next page; None on the last."""

    events: tuple[Event, ...]
    after: Mapping[str, Any] | None
    total: int


@dataclass(frozen=True)
class Sighting:
    """How many events, and the times of the first and last; None where there is none."""

    events: int = 0
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class Property:
    """A field: its JSON types, how many events have it, how many distinct values, when it was first and last seen."""

    name: str
    types: tuple[str, ...]
    events: int
    values: int
    exact: bool
    first_seen: datetime | None
    last_seen: datetime | None
