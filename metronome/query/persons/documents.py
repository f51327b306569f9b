"""Events themselves, and the fields they have, where it takes persons to tell which events they are.

Elasticsearch can't ask who an event's person is, so both are read from day parts. A page is read in two passes: the
first looks at times alone, and finds from when to when the page's events lie; the second reads their documents. A later
page leaves out what was received after the first one was asked for, so that nothing changes place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from metronome.parts import where
from metronome.parts.read import NONE, Mask, Rows, Wanted
from metronome.periods import from_ms, to_ms
from metronome.query.answer import Page, Property
from metronome.query.condition import Condition, typed, values_of
from metronome.query.journeys.columns import Array
from metronome.query.journeys.wheres import within
from metronome.query.listing import event_of, flat
from metronome.query.persons.bits import Bits, possible
from metronome.query.persons.facts import Facts
from metronome.query.persons.numbers import AT, RECEIVED, SEQ, Persons
from metronome.query.persons.questions import EventsOf, PropertiesOf
from metronome.query.persons.rules import rules_of
from metronome.query.persons.scene import Scene
from metronome.store.names import day_index

_ID, _SOURCE = (Wanted(name, "text", plain=True) for name in ("_id", "_source"))

#: About what a document takes in memory beside its text, and a value of a field.
_DOCUMENT_BYTES = 1000
_VALUE_BYTES = 200

#: What no time of arrival stands behind: an event that never passed intake.
_NEVER = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class _Found:
    """Some rows of a batch: their places in it, and of each the number of its day."""

    rows: Rows
    place: Array
    day: Array


class _Reading:
    """Which events a question is about."""

    def __init__(self, scene: Scene, condition: Condition, *further: where.Where) -> None:
        self._scene = scene
        self._persons = Persons(scene.view, nobody=True)
        self._bits = Bits((condition,), Facts(scene, rules_of(condition)), self._persons)
        self._asked = (possible(condition), *further)

    def found(self, wanted: list[Wanted | Mask], *further: where.Where) -> Iterator[_Found]:
        asked = where.All((*self._asked, *further))
        columns = [AT, *wanted, *self._persons.wanted, *self._bits.wanted]
        for rows, day in self._scene.read(columns, asked):
            place = np.flatnonzero(self._bits.of(rows, self._persons.of(rows))[0])
            yield _Found(rows, place, day[place])


def listed(question: EventsOf, scene: Scene, now: datetime) -> Page:
    """One page, in the total order or its reverse; raises TooMuch and the like."""
    after = question.after
    cut = to_ms(now) if after is None else after["cut"]
    further = [within(question.period)]
    if after is not None:
        arrived = where.Between("received_at", lte=cut)
        further.append(where.Any((arrived, where.Not(where.Exists("received_at")))))
    reading = _Reading(scene, question.where, *further)
    total, bounds = _bounds(question, reading, scene)
    rows = sorted(_documents(reading, scene, bounds), key=lambda row: row[0], reverse=question.newest_first)
    if after is not None:
        last = tuple(after["last"])
        rows = [row for row in rows if (row[0] < last if question.newest_first else row[0] > last)]
    page = rows[: question.limit]
    more = {"cut": cut, "last": list(page[-1][0])} if len(rows) > len(page) else None
    return Page(tuple(_event(scene, day, row, source) for row, day, source in page), more, total)


def _bounds(question: EventsOf, reading: _Reading, scene: Scene) -> tuple[int, where.Where]:
    """How many events there are, and between which times the page's lie, with one more."""
    last = None if question.after is None else question.after["last"][0]
    sign = -1 if question.newest_first else 1
    total, held = 0, np.empty(0, np.int64)
    for found in reading.found([]):
        total += len(found.place)
        times = sign * found.rows.columns[AT].values[found.place]
        held = np.concatenate([held, times if last is None else times[times >= sign * last]])
        # Those of the cursor's own millisecond may be on the page before.
        wanted = question.limit + 1 + (0 if last is None else int((held == sign * last).sum()))
        if len(held) > wanted:
            # Equal times are all kept: what stands first among them is told by more than the time.
            held = held[held <= np.partition(held, wanted - 1)[wanted - 1]]
        scene.budget.hold(held.nbytes * 2)
    if not len(held):
        return total, where.Any(())
    ends = sorted((int(sign * held.min()), int(sign * held.max())))
    return total, where.Between("@timestamp", gte=ends[0], lte=ends[1])


_Row = tuple[tuple[int, int, int, str], int, str]


def _documents(reading: _Reading, scene: Scene, bounds: where.Where) -> Iterator[_Row]:
    """The place in the order, the number of the day, and the document of each event within the bounds."""
    held = 0
    for found in reading.found([SEQ, RECEIVED, _ID, _SOURCE], bounds):
        columns = [found.rows.columns[one].values[found.place].tolist() for one in (AT, SEQ, RECEIVED, _ID, _SOURCE)]
        held += sum(_DOCUMENT_BYTES + len(source) for source in columns[-1])
        scene.budget.hold(held)
        for at, seq, received, name, source, day in zip(*columns, found.day.tolist(), strict=True):
            yield (at, seq, _NEVER if received == NONE else received, name), day, source


def _event(scene: Scene, day: int, row: tuple[int, int, int, str], source: str) -> dict[str, Any]:
    index = day_index(scene.days.settings, scene.there[day])
    return event_of({"_id": row[-1], "_index": index, "_source": orjson.loads(source)})


@dataclass
class _Field:
    types: set[str] = field(default_factory=set)
    values: set[Any] = field(default_factory=set)
    events: int = 0
    first: int = _NEVER
    last: int = NONE


#: The kinds of typed values as JSON calls them.
_TYPES = {"text": "string", "number": "number", "flag": "boolean"}


def described(question: PropertiesOf, scene: Scene) -> tuple[Property, ...]:
    """The fields of the events, as their documents have them; raises TooMuch and the like."""
    fields: dict[str, _Field] = {}
    held = 0
    for found in _Reading(scene, question.where, within(question.period)).found([_SOURCE]):
        sources = found.rows.columns[_SOURCE].values[found.place].tolist()
        for at, source in zip(found.rows.columns[AT].values[found.place].tolist(), sources, strict=True):
            for name, value in flat(orjson.loads(source)):
                held += _take(fields.setdefault(name, _Field()), at, values_of({name: value}, name))
        scene.budget.check()
        scene.budget.hold(held)
    rows = [
        Property(
            name, tuple(sorted(one.types)), one.events, len(one.values), True, from_ms(one.first), from_ms(one.last)
        )
        for name, one in fields.items()
        if one.events
    ]
    return tuple(sorted(rows, key=lambda row: (-row.events, row.name)))


def _take(known: _Field, at: int, values: list[Any]) -> int:
    """Take an event's values of a field in; says about how much memory that took."""
    if not values:
        return 0
    before = len(known.values)
    found = [typed(value) for value in values]
    known.types.update(_TYPES[kind] for kind, _ in found)
    known.values.update(found)
    known.events += 1
    known.first, known.last = min(known.first, at), max(known.last, at)
    return (len(known.values) - before) * _VALUE_BYTES
