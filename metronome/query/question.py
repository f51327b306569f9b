"""What can be asked, as frozen values. No server is needed to make or compare one.

Question(where=(Item("home"), Is("event", "view")), by=Every("day"))          views by day
Question(where=(Item("home"), Is("event", "download")), by="format")          downloads by format
Question(where=(Item("home"),), unique="distinct_id")                         how many people
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from metronome.periods import Period


@dataclass(frozen=True)
class Item:
    """The event belongs to this item: `id` equals it, or `item_id` or `extra.item_id` where `id` is absent."""

    id: str


@dataclass(frozen=True)
class Is:
    """The field equals the value exactly."""

    field: str
    value: str | bool


@dataclass(frozen=True)
class Has:
    """The field is there."""

    field: str


@dataclass(frozen=True)
class AtLeast:
    """The field is a number of at least this."""

    field: str
    value: float


Condition = Item | Is | Has | AtLeast


@dataclass(frozen=True)
class Every:
    """One bucket an `interval` (hour, day, week, month, year), with edges in the question's time zone."""

    interval: str


@dataclass(frozen=True)
class Question:
    """How many events meet all of `where` within `period`, grouped `by`.

    by = None             one total, under the key ""
    by = Every("day")     one bucket a day, empty ones included
    by = "format"         one bucket a value, all of them, largest first

    `unique` counts the distinct values of that field instead of events. Robots are left out unless `robots` is True
    (only robots) or None (everybody).
    """

    where: tuple[Condition, ...]
    period: Period = Period()
    by: Every | str | None = None
    tz: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    unique: str | None = None
    robots: bool | None = False
    #: Where the period is open at its end: empty buckets go on up to this moment.
    until: datetime | None = None
