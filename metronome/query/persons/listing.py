"""Persons with what is known of them, page by page.

All history is read for first and last seen: times and persons only. The properties are read for one page's persons.
A later page leaves out what was received after the first one was asked for, so that nobody changes place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from metronome.parts import where
from metronome.parts.read import NONE, Rows
from metronome.periods import from_ms, to_ms
from metronome.query.journeys.columns import Array
from metronome.query.persons.answers import Member, MembersAnswer
from metronome.query.persons.bits import Bits, possible
from metronome.query.persons.facts import Facts
from metronome.query.persons.numbers import AT, NOBODY, RECEIVED, SOMEBODY, Persons
from metronome.query.persons.properties import properties_of
from metronome.query.persons.questions import Members
from metronome.query.persons.rules import rules_of
from metronome.query.persons.scene import Scene

_LATE, _EARLY = np.iinfo(np.int64).max, np.iinfo(np.int64).min


def answer(question: Members, scene: Scene, now: datetime) -> MembersAnswer:
    cut = to_ms(now) if question.after is None else question.after[2]
    seen = _Seen(question, scene, cut)
    there = np.flatnonzero(seen.events)
    key = {"last_seen": seen.last, "first_seen": seen.first, "events": seen.events}[question.sort]
    page, more = _page(question, there, key, seen.persons.names)
    known = properties_of(scene, persons=[seen.persons.names[number] for number in page]) if page else {}
    members = []
    for number in page:
        name = seen.persons.names[number]
        first, last = from_ms(int(seen.first[number])), from_ms(int(seen.last[number]))
        events = int(seen.events[number])
        members.append(Member(name, scene.view.ids_of(name), known.get(name, {}), first, last, events))
    after = (float(key[page[-1]]), members[-1].id, cut) if more else None
    return MembersAnswer(members=tuple(members), after=after, total=len(there))


class _Seen:
    """First and last time, and the number of events in the period, of each person by number."""

    def __init__(self, question: Members, scene: Scene, cut_ms: int) -> None:
        self._question, self._scene = question, scene
        self.persons = Persons(scene.view, nobody=False)
        self.first, self.last, self.events = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64)
        bits = Bits((question.where,), Facts(scene, rules_of(question.where)), self.persons)
        parts: list[where.Where] = [possible(question.where), SOMEBODY, where.Exists("@timestamp")]
        if question.after is not None:
            arrived = where.Between("received_at", lte=cut_ms)
            parts.append(where.Any((arrived, where.Not(where.Exists("received_at")))))
        for rows, _ in scene.read([AT, RECEIVED, *self.persons.wanted, *bits.wanted], where.All(tuple(parts))):
            person = self.persons.of(rows)
            kept = bits.of(rows, person)[0] & (person != NOBODY) & (rows.columns[AT].values != NONE)
            self._take(person[kept], rows, kept)

    def _take(self, person: Array, rows: Rows, kept: Array) -> None:
        start, end = self._question.period.start, self._question.period.end
        assert start is not None and end is not None
        more = len(self.persons.names) - len(self.first)
        self.first = np.concatenate([self.first, np.full(more, _LATE)])
        self.last = np.concatenate([self.last, np.full(more, _EARLY)])
        self.events = np.concatenate([self.events, np.zeros(more, np.int64)])
        self._scene.budget.hold(200 * len(self.first))
        time = rows.columns[AT].values[kept]
        np.minimum.at(self.first, person, time)
        np.maximum.at(self.last, person, time)
        inside = person[(time >= to_ms(start)) & (time < to_ms(end))]
        self.events += np.bincount(inside, minlength=len(self.events))


def _page(question: Members, there: Array, key: Array, names: Sequence[str]) -> tuple[list[int], bool]:
    """The numbers of a page's persons, those with the greatest key first, ties by id; and whether there are more."""
    if question.after is not None:
        value, last, _ = question.after
        beside = [number for number in there[key[there] == value].tolist() if names[number] > last]
        there = np.concatenate([there[key[there] < value], np.array(beside, np.int64)])
    wanted = question.limit + 1
    if len(there) > wanted:
        # Names are compared among those of equal key only, and among those that may be on the page.
        least = np.partition(key[there], len(there) - wanted)[len(there) - wanted]
        there = there[key[there] >= least]
    order = sorted(there.tolist(), key=lambda number: (-int(key[number]), names[number]))
    return order[: question.limit], len(order) > question.limit
