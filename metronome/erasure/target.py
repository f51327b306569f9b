"""What is to go, as values: each decides about a document by its bytes.

A person's events are those under one of the person's ids: `distinct_id`, else `session_id`. A session that
`/v1/setUserId` has moved to somebody else is theirs from then on. Of anybody else's events only the values that are one
of the ids go, so that no byte of an id is left and everybody else's numbers stay.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from metronome.archive.rows import facts
from metronome.erasure.rewrite import with_ids_replaced, without_names
from metronome.event.fields import Event
from metronome.event.identity import SET
from metronome.parts.values import parse, subject_of, time_ms
from metronome.people import owner_of
from metronome.people.fold import Moves
from metronome.periods import Period, from_ms, to_ms
from metronome.query import Condition

#: What `$set` says of a person: gone when the person is made anonymous.
_OF_A_PERSON = ("set", "set_once", "add", "unset")


class Target(Protocol):
    """What is to go. `needles`: a document without any of them, and without a backslash, stays; empty for all."""

    @property
    def needles(self) -> tuple[str, ...]: ...

    def decide(self, source: bytes) -> bytes | None:
        """The document as it should be: the same bytes, other bytes, or None where it should go."""
        ...


@dataclass(frozen=True)
class Whose:
    """A person, by all ids. With `pseudonym` the events stay, under that id and without what `$set` said."""

    ids: frozenset[str]
    pseudonym: str = ""
    moves: Moves[str] = field(default_factory=dict)

    @cached_property
    def own(self) -> frozenset[str]:
        """Ids that nobody else has: not those of sessions that were moved."""
        return self.ids - self.moves.keys()

    @property
    def needles(self) -> tuple[str, ...]:
        return tuple(sorted(self.ids))

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        return tuple(name.encode("utf-8", "surrogatepass") for name in self.ids)

    def decide(self, source: bytes) -> bytes | None:
        if b"\\" not in source and not any(name in source for name in self._bytes):
            return source
        try:
            event = parse(source)
        except (ValueError, AttributeError):  # what was posted and couldn't be read is in quarantine as it came
            return None if any(name in source for name in self._bytes) else source
        mine = self._owner(event, source) in self.ids
        if mine and not self.pseudonym:
            return None
        if mine and event.get("event") == SET:
            source = without_names(source, _OF_A_PERSON)
        return with_ids_replaced(source, self.own, json.dumps(self.pseudonym or None).encode())

    def _owner(self, event: Event, source: bytes) -> str | None:
        subject = subject_of(event, source)
        if subject is None or event.get("distinct_id") is not None or subject not in self.moves:
            return subject
        return owner_of(subject, time_ms(event.get("received_at")) or 0, self.moves)


@dataclass(frozen=True)
class Events:
    """The events of a period that meet a condition; with `name`, not the events go but what they have under it."""

    period: Period = field(default_factory=Period)
    where: Condition | None = None
    name: str = ""

    @property
    def needles(self) -> tuple[str, ...]:
        return (self.name.rpartition(".")[2],) if self.name else ()

    def decide(self, source: bytes) -> bytes | None:
        try:
            event = parse(source)
        except (ValueError, AttributeError):
            return source
        if not self._holds(event):
            return source
        return without_names(source, (self.name,)) if self.name else None

    def _holds(self, event: Event) -> bool:
        if self.period != Period():
            ms = time_ms(event.get("@timestamp"))
            if ms is None or not _is_within(ms, self.period):
                return False
        return self.where is None or self.where.holds(_timed(facts(event)))


def _timed(event: Event) -> Event:
    ms = time_ms(event.get("@timestamp"))
    return {**event, "@timestamp": None if ms is None else from_ms(ms)}


def _is_within(ms: int, period: Period) -> bool:
    return (period.start is None or ms >= to_ms(period.start)) and (period.end is None or ms < to_ms(period.end))


@dataclass(frozen=True)
class Asked:
    """An erasure as it was asked for. `ids` are any ids of a person; else the events of `where` and period, or `name`.

    `where` is a filter as `/query` takes it, as JSON.
    """

    ids: tuple[str, ...] = ()
    mode: str = "erase"
    where: Any = None
    start: datetime | None = None
    end: datetime | None = None
    name: str = ""

    @property
    def period(self) -> Period:
        return Period(self.start, self.end)

    def described(self, hashes: Collection[str], hash_of: Any) -> dict[str, Any]:
        """What was asked for without any value: ids and filter as keyed hashes."""
        if self.ids:
            return {"ids": sorted(hashes)}
        found: dict[str, Any] = {"field": self.name} if self.name else {}
        if self.where is not None:
            found["where"] = hash_of(json.dumps(self.where, sort_keys=True))
        for name, at in (("from", self.start), ("to", self.end)):
            if at is not None:
                found[name] = at.isoformat()
        return found
