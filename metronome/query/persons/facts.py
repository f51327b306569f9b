"""What rules ask of persons: their properties, how often they did something, their ids. Read before the question is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from metronome.parts import where
from metronome.query.condition import All, AnyOf, Condition, Not, typed, values_of
from metronome.query.journeys.wheres import as_where, within
from metronome.query.persons.numbers import NOBODY, SOMEBODY, Persons
from metronome.query.persons.properties import properties_of
from metronome.query.persons.rules import Did, Ids, OfPerson, leaves_of
from metronome.query.persons.scene import Scene

#: About what the count of one person takes.
_COUNT_BYTES = 250


class Facts:
    """All that these conditions ask about persons, and these properties; raises TooMuch and the like."""

    def __init__(self, scene: Scene, asked: Iterable[OfPerson], properties: Iterable[str] = ()) -> None:
        leaves = list(dict.fromkeys(leaf for one in asked for leaf in leaves_of(one.rule)))
        self._ids = {leaf: frozenset(scene.view.resolve(sorted(leaf.ids))) for leaf in leaves if isinstance(leaf, Ids)}
        self._counts = {leaf: _counts(scene, leaf) for leaf in leaves if isinstance(leaf, Did)}
        names = {*properties, *(name for leaf in leaves for name in leaf.fields())}
        self._properties: dict[str, dict[str, Any]] = {}
        if names:
            found = properties_of(scene, names=names)
            self._properties = {
                person: {name: one.value for name, one in known.items()} for person, known in found.items()
            }

    def values(self, name: str, person: str) -> tuple[Any, ...]:
        """The typed values of a person's property, each once."""
        return tuple(dict.fromkeys(map(typed, values_of(self._properties.get(person, {}), name))))

    def holds(self, rule: Condition, person: str | None) -> bool:
        """Whether the person meets the rule; None is somebody of whom nothing is known."""
        if isinstance(rule, All):
            return all(self.holds(part, person) for part in rule.parts)
        if isinstance(rule, AnyOf):
            return any(self.holds(part, person) for part in rule.parts)
        if isinstance(rule, Not):
            return not self.holds(rule.part, person)
        if isinstance(rule, Did):
            return rule.fits(self._counts[rule].get(person, 0))
        if isinstance(rule, Ids):
            return person in self._ids[rule]
        return rule.holds({} if person is None else self._properties.get(person, {}))


def _counts(scene: Scene, did: Did) -> Mapping[str | None, int]:
    """How many such events each person has; who has none isn't in it."""
    persons = Persons(scene.view, nobody=False)
    asked = where.All((as_where(did.where), SOMEBODY, within(did.period)))
    found: Counter[int] = Counter()
    for rows, _ in scene.read(persons.wanted, asked):
        numbers, times = np.unique(persons.of(rows), return_counts=True)
        found.update(dict(zip(numbers.tolist(), times.tolist(), strict=True)))
        scene.budget.hold(_COUNT_BYTES * len(found))
    found.pop(NOBODY, None)  # an event of `/v1` that names no session
    return {persons.names[number]: times for number, times in found.items()}
