"""Which rows meet conditions, those that ask about the event's person included.

What an event says itself is a bit of a mask, which the parts fill. What is known of persons is looked up by the number
of the row's person. All, AnyOf and Not over both are taken together row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metronome.parts import where
from metronome.parts.read import Mask, Rows
from metronome.parts.where import Where
from metronome.query.condition import All, AnyOf, Condition, Not
from metronome.query.journeys.columns import Array
from metronome.query.journeys.wheres import as_where
from metronome.query.persons.facts import Facts
from metronome.query.persons.numbers import Persons
from metronome.query.persons.rules import OfPerson, asks_persons

#: Conditions of one mask.
_MOST = 64


def possible(condition: Condition) -> Where:
    """A condition of the parts that holds wherever this one can."""
    if not asks_persons(condition):
        return as_where(condition)
    if isinstance(condition, All):
        return where.All(tuple(map(possible, condition.parts)))
    if isinstance(condition, AnyOf):
        return where.Any(tuple(map(possible, condition.parts)))
    return where.All(())


class Bits:
    """`wanted` are the masks to read, `persons` says whether rows need persons."""

    def __init__(self, conditions: Sequence[Condition], facts: Facts, persons: Persons | None) -> None:
        self._conditions = conditions
        self._facts, self._persons = facts, persons
        self._places: dict[Where, int] = {}
        for condition in conditions:
            self._note(condition)
        leaves = list(self._places)
        self.wanted = [Mask(tuple(leaves[n : n + _MOST])) for n in range(0, max(len(leaves), 1), _MOST)]
        self._met: dict[OfPerson, list[bool]] = {}

    def _note(self, condition: Condition) -> None:
        if not asks_persons(condition):
            self._places.setdefault(as_where(condition), len(self._places))
        elif isinstance(condition, All | AnyOf):
            for part in condition.parts:
                self._note(part)
        elif isinstance(condition, Not):
            self._note(condition.part)

    def of(self, rows: Rows, person: Array | None) -> list[Array]:
        """For each condition which rows meet it. `person` has the numbers of the rows' persons, where one asks."""
        return [self._holds(condition, rows, person) for condition in self._conditions]

    def packed(self, rows: Rows, person: Array | None) -> Array:
        """The same as numbers: bit n says whether the row meets the n-th condition, of at most 64."""
        if not any(map(asks_persons, self._conditions)) and len(self._places) == len(self._conditions):
            return rows.columns[self.wanted[0]].values.astype(np.uint64)
        found = np.zeros(rows.count, np.uint64)
        for number, met in enumerate(self.of(rows, person)):
            found |= met.astype(np.uint64) << np.uint64(number)
        return found

    def _holds(self, condition: Condition, rows: Rows, person: Array | None) -> Array:
        if isinstance(condition, OfPerson):
            assert person is not None
            return self._of_persons(condition, person)
        if not asks_persons(condition):
            mask, bit = divmod(self._places[as_where(condition)], _MOST)
            met: Array = (rows.columns[self.wanted[mask]].values >> np.uint64(bit)) & np.uint64(1) != 0
            return met
        if isinstance(condition, Not):
            return ~self._holds(condition.part, rows, person)
        assert isinstance(condition, All | AnyOf)
        parts = [self._holds(part, rows, person) for part in condition.parts]
        together = np.logical_and if isinstance(condition, All) else np.logical_or
        found: Array = together.reduce(parts)
        return found

    def _of_persons(self, condition: OfPerson, person: Array) -> Array:
        assert self._persons is not None
        met = self._met.setdefault(condition, [])
        met += [self._facts.holds(condition.rule, name) for name in self._persons.names[len(met) :]]
        # The last one is found by the number of nobody, -1.
        table = np.array([*met, not condition.somebody and self._facts.holds(condition.rule, None)], bool)
        return table[person]
