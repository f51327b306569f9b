"""What can be asked about the order of a subject's events, as frozen values. `ask` finds by the type who answers.

A subject is `person` (the ids of one person are one), `session`, or a field, whose values are the subjects; an event
without it is of nobody and counts nowhere here. `as_of` takes persons as they were known then.
Source: semantics, sections 4 and 5; query contract, sections 3 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from metronome.people.view import View, nobody_linked
from metronome.periods import Every, Period
from metronome.query.condition import PEOPLE, All, Condition, Not, StartsWith

Order = Literal["sequential", "strict", "any"]
Entry = Literal["best", "first", "all"]

#: Steps of a funnel.
FEWEST_STEPS, MOST_STEPS = 2, 20
#: Exclusions of a funnel; with the steps and the scope of strictness they fit one word of bits a row.
MOST_EXCLUSIONS = 20
MOST_HELD = 3
MOST_DAYS, MOST_SESSIONS = 366, 12
#: Groups by name; what further ones have is `$other`.
MOST_GROUPS = 200
MOST_PERIODS = 400

DAY_MS = 86_400_000


class Resolver(Protocol):
    """Who ids are."""

    def view(self, as_of: datetime | None = None) -> View:
        """Who is whom, now or as it was known then."""
        ...


class Unresolved:
    """Each id is a person of its own."""

    def view(self, as_of: datetime | None = None) -> View:
        return nobody_linked()


@dataclass(frozen=True)
class Window:
    """How long a conversion may take: so many milliseconds, or up to the end of the n-th session."""

    ms: int | None = 7 * DAY_MS
    sessions: int | None = None


@dataclass(frozen=True)
class Exclusion:
    """No event of these between the matches of steps `first` and `last`, which count from 1.

    stop      the level is the longest match that obeys it
    remove    a subject that doesn't obey it leaves every count
    """

    where: Condition
    first: int
    last: int
    mode: Literal["stop", "remove"] = "stop"


@dataclass(frozen=True)
class Behind:
    """Who is behind a step: `reached` it, or reached the one before and not this one. `after` is the last one shown."""

    step: int
    state: Literal["reached", "dropped"] = "reached"
    limit: int = 100
    after: str | None = None


@dataclass(frozen=True)
class Funnel:
    """How many subjects did one step after another; semantics, section 4, says what each key means.

    Strictness looks at all events but those of Metronome itself, whose names start with $.
    """

    steps: tuple[Condition, ...]
    where: Condition = PEOPLE
    period: Period = Period()
    subject: str = "person"
    window: Window = Window()
    order: Order = "sequential"
    entry: Entry = "best"
    exclusions: tuple[Exclusion, ...] = ()
    by: str | None = None
    attribution: Literal["first", "last", "all"] | int = "first"
    hold: tuple[str, ...] = ()
    trend: Every | None = None
    clip: bool = False
    tie_grace_ms: int = 0
    collapse_repeats: bool = True
    strict_scope: Condition = Not(StartsWith("event", "$"))  # noqa: RUF009 - frozen
    explain: str | None = None
    behind: Behind | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class Retention:
    """How many of those who started came back, by period since their start; semantics, section 5.

    `value` is the field whose numbers each cell also adds up.
    """

    start: Condition
    returns: Condition = All()  # noqa: RUF009 - frozen
    where: Condition = PEOPLE
    period: Period = Period()
    subject: str = "person"
    every: Every = Every("day")  # noqa: RUF009 - frozen
    periods: int = 30
    birth: Literal["first_time", "recurring"] = "first_time"
    mode: Literal["calendar", "rolling"] = "calendar"
    count: Literal["on", "on_or_after", "on_or_before"] = "on"
    brackets: tuple[tuple[int, int], ...] | None = None
    zero: Literal["returned", "size"] = "returned"
    average: Literal["weighted", "simple"] = "weighted"
    by: str | None = None
    match: Literal["birth", "both"] = "birth"
    value: str | None = None
    explain: str | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class Lifecycle:
    """How many are new, return, come back after a pause, or stay away, by period; semantics, section 5.

    With `split` new_returning, all who are active and not new return, however long they were away.
    """

    active: Condition = All()  # noqa: RUF009 - frozen
    where: Condition = PEOPLE
    period: Period = Period()
    subject: str = "person"
    every: Every = Every("day")  # noqa: RUF009 - frozen
    split: Literal["lifecycle", "new_returning"] = "lifecycle"
    explain: str | None = None
    as_of: datetime | None = None


@dataclass(frozen=True)
class Paths:
    """Which events follow a start, one after another; with `backward`, which came before it."""

    start: Condition
    backward: bool = False
    where: Condition = PEOPLE
    period: Period = Period()
    subject: str = "person"
    depth: int = 5
    top: int = 10
    node: str = "event"
    within_ms: int = 30 * 60_000
    collapse_repeats: bool = True
    across_sessions: bool = False
    as_of: datetime | None = None
