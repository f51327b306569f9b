"""Questions about persons, as frozen values. `ask` finds by the type who answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from metronome.periods import Period
from metronome.query.condition import PEOPLE, Condition
from metronome.query.question import Listing, Properties, Question, Unique

Sort = Literal["last_seen", "first_seen", "events"]


@dataclass(frozen=True)
class Persons(Unique):
    """How many persons. The values are in no field, so only FromParts can count them."""

    field: str = ""


@dataclass(frozen=True)
class FromParts(Question):
    """The same question, answered from day parts: `Persons` can be its measure, and `OfPerson` in its `where`.

    The period has a start and an end; groupings are Every and Values. What Elasticsearch can answer exactly, it answers
    with the same numbers.
    """

    as_of: datetime | None = None


@dataclass(frozen=True)
class Evidence:
    """The events behind a trend of one subject: those that meet one of `conditions`, in the total order.

    `subject` is as in questions about journeys, `of` is any id of the person.
    """

    conditions: tuple[Condition, ...]
    of: str
    where: Condition = PEOPLE
    period: Period = Period()
    subject: str = "person"
    as_of: datetime | None = None


@dataclass(frozen=True)
class Members:
    """Persons with an event in the period that meets `where`, page by page. `after` is where the page before ended."""

    where: Condition = PEOPLE
    period: Period = Period()
    sort: Sort = "last_seen"
    limit: int = 100
    after: tuple[float, str, int] | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class EventsOf(Listing):
    """The same page, read from day parts: `OfPerson` can be in its `where`. It is always in the total order."""

    as_of: datetime | None = None


@dataclass(frozen=True)
class PropertiesOf(Properties):
    """The same fields, read from day parts: `OfPerson` can be in its `where`."""

    as_of: datetime | None = None
