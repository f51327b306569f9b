"""Figures from day parts: one pass over the days answers all questions of one period.

rows of a batch -> which of them each question counts -> their groups -> its measure
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from metronome.parts.read import NONE, Mask, Rows, Wanted
from metronome.parts.where import All as AllOf
from metronome.periods import Period
from metronome.query.answer import Answer
from metronome.query.condition import AnyOf, Condition
from metronome.query.door import assembled
from metronome.query.journeys.columns import Array
from metronome.query.journeys.wheres import within
from metronome.query.persons import questions as asked
from metronome.query.persons.bits import Bits, possible
from metronome.query.persons.facts import Facts
from metronome.query.persons.measures import Taking, taking
from metronome.query.persons.numbers import AT, NOBODY, Persons
from metronome.query.persons.pairs import Groups, Known, KnownOfPerson, Pairs
from metronome.query.persons.questions import FromParts
from metronome.query.persons.rules import property_of, rules_of
from metronome.query.persons.scene import Scene
from metronome.query.question import Count, Grouping, Unique, Values

#: About what a name or a key takes, with its number.
_NAME_BYTES = 100

#: What the end of a question needs beside what it has gathered.
_SORTING = 2.5


def answer(questions: Sequence[FromParts], scene: Scene, now: datetime) -> list[Answer]:
    """The answers, in order; raises TooMuch and the like. All questions have one period, with a start and an end."""
    pass_ = _Pass(questions, scene, questions[0].period)
    for rows, _ in scene.read(pass_.wanted, pass_.where):
        pass_.take(rows)
    return [assembled(question, pass_.figures(question), now) for question in questions]


@dataclass
class _Running:
    """A question on its way."""

    groups: Groups
    taking: Taking


class _Pass:
    def __init__(self, questions: Sequence[FromParts], scene: Scene, period: Period) -> None:
        self._scene = scene
        self._wheres = list(dict.fromkeys(question.where for question in questions))
        rules = [rule for where in self._wheres for rule in rules_of(where)]
        names = list(dict.fromkeys(name for question in questions for name in _different(question)))
        properties = [found for name in names if (found := property_of(name)) is not None]
        by_person = any(isinstance(question.measure, asked.Persons) for question in questions)
        self._persons = Persons(scene.view, nobody=True) if by_person or rules or properties else None
        self._facts = Facts(scene, rules, properties)
        self._bits = Bits(self._wheres, self._facts, self._persons)
        self._fields = {name: self._known(name) for name in names}
        self._numbers = {name: Wanted(name, "number") for question in questions for name in _measured(question)}
        # Questions of the same events and groups share these.
        self._groups: dict[tuple[Condition, tuple[Grouping, ...]], Groups] = {}
        self._running = {question: self._begun(question, period) for question in questions}
        self.where = AllOf((possible(AnyOf(*self._wheres)), within(period)))
        self.wanted: list[Wanted | Mask] = [
            AT,
            *self._bits.wanted,
            *(self._persons.wanted if self._persons else ()),
            *(one for known in self._fields.values() for one in known.wanted),
            *self._numbers.values(),
        ]

    def _known(self, name: str) -> Known:
        if property_of(name) is None:
            return Known(name)
        assert self._persons is not None
        return KnownOfPerson(name, self._facts, self._persons)

    def _begun(self, question: FromParts, period: Period) -> _Running:
        key = (question.where, question.by)
        groups = self._groups.setdefault(key, Groups(question.by, period, self._fields))
        return _Running(groups, taking(question.measure))

    def take(self, rows: Rows) -> None:
        person = self._persons.of(rows) if self._persons else None
        met = dict(zip(self._wheres, self._bits.of(rows, person), strict=True))
        values = {name: known.of(rows, person) for name, known in self._fields.items()}
        numbers = {name: _numbers(rows, one) for name, one in self._numbers.items()}
        chosen = {where: np.flatnonzero(holds) for where, holds in met.items()}
        pairs = {(where, by): groups.of(rows, chosen[where], values) for (where, by), groups in self._groups.items()}
        # Names of persons, values and groups stay to the end.
        named: list[Sized] = [*self._groups.values(), *(known.numbers for known in self._fields.values())]
        named += [self._persons.names] if self._persons else []
        held = _NAME_BYTES * sum(map(len, named))
        for question, running in self._running.items():
            of = self._of(question, person, values, numbers)
            running.taking.take(pairs[question.where, question.by], of)
            held += running.taking.held
        self._scene.budget.hold(int(held * _SORTING))

    def _of(
        self, question: FromParts, person: Array | None, values: dict[str, Pairs], numbers: dict[str, Pairs]
    ) -> Pairs | None:
        """What the measure looks at, by row."""
        measure = question.measure
        if isinstance(measure, Count):
            return None
        if isinstance(measure, asked.Persons):
            assert person is not None
            row = np.flatnonzero(person != NOBODY)
            return Pairs(row, person[row])
        return values[measure.field] if isinstance(measure, Unique) else numbers[measure.field]

    def figures(self, question: FromParts) -> dict[tuple[object, ...], int | float | None]:
        running = self._running[question]
        figures = running.taking.figures(len(running.groups))
        return dict(zip(running.groups.keys(), figures, strict=True))


def _different(question: FromParts) -> list[str]:
    """The fields whose different values a question asks for."""
    names = [grouping.field for grouping in question.by if isinstance(grouping, Values)]
    measure = question.measure
    if isinstance(measure, Unique) and not isinstance(measure, asked.Persons):
        names.append(measure.field)
    return names


def _measured(question: FromParts) -> list[str]:
    measure = question.measure
    return [] if isinstance(measure, Count | Unique) else [measure.field]


def _numbers(rows: Rows, wanted: Wanted) -> Pairs:
    found = rows.columns[wanted]
    there = found.values != NONE if found.values.dtype.kind == "i" else ~np.isnan(found.values)
    row = np.flatnonzero(there) if found.rows is None else found.rows[there]
    return Pairs(row, found.values[there].astype(np.float64))
