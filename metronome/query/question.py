"""Questions, as frozen values. No server is needed to make or compare one.

Question(All(Item("home"), Is("event", "view"), PEOPLE), by=(Every("day"),))               views by day
Question(All(Item("home"), Is("event", "download"), PEOPLE), by=(Values("format"),))       downloads by format
Question(PEOPLE, Unique("distinct_id"), by=(Every("week"), Values("browser")))             people a week and browser

Other kinds of questions (Listing, Known, Properties) are values of their own. `ask` picks by a question's type the
function that answers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from metronome.periods import Every, Period
from metronome.query.condition import PEOPLE, All, Condition, Is


@dataclass(frozen=True)
class Count:
    """How many events."""


@dataclass(frozen=True)
class Unique:
    """How many distinct values of the field."""

    field: str


@dataclass(frozen=True)
class Sum:
    field: str


@dataclass(frozen=True)
class Mean:
    field: str


@dataclass(frozen=True)
class Min:
    field: str


@dataclass(frozen=True)
class Max:
    field: str


@dataclass(frozen=True)
class Percentile:
    """The exact percentile by nearest rank: the smallest value with at least `percent` of the values at or below it."""

    field: str
    percent: int = 50


Measure = Count | Unique | Sum | Mean | Min | Max | Percentile


@dataclass(frozen=True)
class Values:
    """One group for each value of the field. An event of several values is in each of their groups once.

    With `missing`, events without the field are in the group `None`; otherwise they are in no group.
    """

    field: str
    missing: bool = False


@dataclass(frozen=True)
class Ranges:
    """One group for each range of a number, `low <= n < high`; None leaves a side open. Ranges may overlap."""

    field: str
    ranges: tuple[tuple[float | None, float | None], ...]


Grouping = Every | Values | Ranges


@dataclass(frozen=True)
class Question:
    """A measure of all events that meet `where` within `period`, for each combination of the groupings.

    by = ()                                  one total, under the key ()
    by = (Every("day"),)                     one bucket a day, empty ones included, under (start,)
    by = (Values("format"),)                 one group a value, all of them, largest first, under ("csv",)
    by = (Every("day"), Values("format"))    one row for each that has events, under (start, "csv")

    The default of `where` leaves robots out; it is a condition like any other.

    With `most`, only the largest groups are needed: the answer has the `most` largest, and at least one more if there
    are more. It may leave others out, but never the group None.
    """

    where: Condition = PEOPLE
    measure: Measure = field(default_factory=Count)
    by: tuple[Grouping, ...] = ()
    period: Period = Period()
    most: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Known:
    """Whether any event ever met the condition."""

    where: Condition


@dataclass(frozen=True)
class Listing:
    """The events themselves, by time. `after` is where the page before ended (`Page.after`).

    With `in_order`, those of equal time stand in the total order of a subject's events (semantics, section 1).
    """

    where: Condition = PEOPLE
    period: Period = Period()
    limit: int = 100
    newest_first: bool = True
    in_order: bool = False
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Seen:
    """When the first and the last event that meets `where` happened, and how many there are. No derived fact in it."""

    where: Condition = PEOPLE
    period: Period = Period()


@dataclass(frozen=True)
class Properties:
    """The fields of the events that meet `where`."""

    where: Condition = PEOPLE
    period: Period = Period()


def fields_of(question: Question) -> tuple[str, ...]:
    """Every field that a question reads, except the time, each once."""
    names = list(question.where.fields())
    if not isinstance(question.measure, Count):
        names.append(question.measure.field)
    names += [grouping.field for grouping in question.by if not isinstance(grouping, Every)]
    return tuple(dict.fromkeys(name for name in names if name != "@timestamp"))


Asked = TypeVar("Asked")


def of_app(question: Asked, app: str) -> Asked:
    """The same question about the events of one application. Every kind of question has a `where`."""
    asked: Any = question
    narrowed: Asked = replace(asked, where=All(asked.where, Is("app", app)))
    return narrowed
