"""What comes back of questions about persons, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from metronome.people.properties import Properties
from metronome.query.journeys.answers import Journey, Matched


@dataclass(frozen=True)
class EvidenceAnswer(Journey):
    """The subject's id, all its ids, and its events; `step` is the number of the condition that one meets, from 0."""

    subject: str = ""
    ids: tuple[str, ...] = ()
    found: tuple[Matched, ...] = ()


@dataclass(frozen=True)
class Member:
    """A person. `events` are those of the period, first and last seen are of all times; all of them meet `where`."""

    id: str
    ids: tuple[str, ...]
    properties: Properties
    first_seen: datetime
    last_seen: datetime
    events: int


@dataclass(frozen=True)
class MembersAnswer(Journey):
    """One page; `after` leads to the next one, None on the last. `total` counts all pages."""

    members: tuple[Member, ...] = ()
    after: tuple[float, str, int] | None = None
    total: int = 0
