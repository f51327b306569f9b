"""What comes back of questions about journeys, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Number = int | float

#: A group: a value as JSON has it, or NONE where the field is missing, or OTHER for all groups beyond the first ones.
NONE, OTHER = "$none", "$other"


@dataclass(frozen=True)
class Times:
    """How long something took, in seconds. Median and p90 by nearest rank: values that there were."""

    n: int
    mean: float | None
    median: float | None
    p90: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Step:
    """How many subjects (attempts) reached a step, and how long that took from the step before."""

    count: int
    from_previous: Times | None


@dataclass(frozen=True)
class Matched:
    """An event that served a step."""

    step: int
    id: str
    index: str
    at_ms: int


@dataclass(frozen=True)
class Stopped:
    """Why a witness went no further: `no_event`, `window`, `exclusion` or `order`, and the event that shows it."""

    step: int
    reason: str
    event: Matched | None


@dataclass(frozen=True)
class Witness:
    """The events of one subject that its level is made of."""

    level: int
    events: tuple[Matched, ...]
    stopped: Stopped | None = None


@dataclass(frozen=True)
class Journey:
    """What every answer of this room carries: up to when it holds everything, and how many events it looked at."""

    watermark: datetime | None = None
    events: int = 0
    #: Each day that was read from an archive, with the bytes that were fetched for it.
    archived: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FunnelAnswer(Journey):
    """Counts by step. `histogram` has rows of (from s, to s, count); `trend` counts by the day of entry."""

    steps: tuple[Step, ...] = ()
    convert: Times | None = None
    histogram: tuple[tuple[float, float, int], ...] = ()
    open: int = 0
    groups: tuple[tuple[Any, tuple[Step, ...]], ...] | None = None
    trend: tuple[tuple[datetime, tuple[int, ...]], ...] | None = None
    witness: Witness | None = None
    behind: tuple[str, ...] | None = None
    more: bool = False


@dataclass(frozen=True)
class Cohort:
    """Cells by index; None where a cell isn't finished. `can_rise` marks finished cells that may still grow."""

    start: datetime
    size: int
    returned: tuple[int | None, ...]
    rate: tuple[float | None, ...]
    complete: tuple[bool, ...]
    can_rise: tuple[bool, ...] | None = None
    value: tuple[Number | None, ...] | None = None


@dataclass(frozen=True)
class Average:
    rate: tuple[float | None, ...]
    cohorts: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """The cohorts of everybody, or of one group."""

    cohorts: tuple[Cohort, ...]
    average: Average


@dataclass(frozen=True)
class Membership:
    """One subject in a cohort: its birth, and the first return of each cell that it is counted in."""

    cohort: datetime
    birth: Matched
    returns: Mapping[int, Matched] = field(default_factory=dict)


@dataclass(frozen=True)
class RetentionAnswer(Journey):
    table: Table = Table((), Average((), ()))
    groups: tuple[tuple[Any, Table], ...] | None = None
    witness: tuple[Membership, ...] | None = None


@dataclass(frozen=True)
class State:
    """How many subjects are in a state in each period; None where that can't be said yet. `total` counts each once."""

    name: str
    values: tuple[int | None, ...]
    total: int


@dataclass(frozen=True)
class Lived:
    """One subject in a period: its first event that counts there, and its last one before the period."""

    bucket: datetime
    state: str
    event: Matched | None
    before: Matched | None


@dataclass(frozen=True)
class LifecycleAnswer(Journey):
    """The states by period, and for a witness those periods in which it has one."""

    starts: tuple[datetime, ...] = ()
    complete: tuple[bool, ...] = ()
    states: tuple[State, ...] = ()
    witness: tuple[Lived, ...] | None = None


@dataclass(frozen=True)
class Node:
    step: int
    name: Any
    count: int


@dataclass(frozen=True)
class Link:
    step: int
    source: Any
    target: Any
    count: int
    median_s: float | None


@dataclass(frozen=True)
class PathsAnswer(Journey):
    paths: int = 0
    nodes: tuple[Node, ...] = ()
    links: tuple[Link, ...] = ()
    ended: tuple[Node, ...] = ()
