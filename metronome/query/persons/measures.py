"""Measures of groups, batch by batch: what each takes of a batch's pairs, and its figures at the end.

count                  how often a group occurs
persons, unique        the different numbers that occur with a group
sum, mean, min, max    how many numbers, their sum, least and greatest
percentile             all numbers of a group, in order
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from metronome.query.answer import Number
from metronome.query.journeys.columns import Array, distinct
from metronome.query.kinds import plain
from metronome.query.persons.pairs import Pairs
from metronome.query.question import Count, Max, Mean, Measure, Min, Percentile, Sum

#: Marks, a byte each, that may be made for a pair before sorting the pairs is better.
_MARKS = 16


class Counting:
    """`count`."""

    def __init__(self) -> None:
        self._counts = np.zeros(0, np.int64)

    @property
    def held(self) -> int:
        return self._counts.nbytes

    def take(self, groups: Pairs, values: Pairs | None) -> None:
        found = np.bincount(groups.of, minlength=len(self._counts))
        found[: len(self._counts)] += self._counts
        self._counts = found

    def figures(self, count: int) -> list[Number | None]:
        return [*self._counts.tolist(), *[0] * (count - len(self._counts))]


class Different:
    """`persons` and `unique`: values are numbers, each stands for one."""

    def __init__(self) -> None:
        self._found: list[Array] = []

    @property
    def held(self) -> int:
        return sum(one.nbytes for one in self._found)

    def take(self, groups: Pairs, values: Pairs | None) -> None:
        assert values is not None
        group, value = groups.joined(values)
        self._found.append(_pairs(group, value))

    def figures(self, count: int) -> list[Number | None]:
        different = distinct(np.concatenate([np.empty(0, np.int64), *self._found]))
        found: list[Number | None] = np.bincount(different >> 32, minlength=count).tolist()
        return found


def _pairs(group: Array, value: Array) -> Array:
    """The different pairs, ascending, as group << 32 | value."""
    if not len(group):
        return np.empty(0, np.int64)
    width = int(value.max()) + 1
    if (int(group.max()) + 1) * width <= _MARKS * len(group):
        marks = np.zeros((int(group.max()) + 1) * width, bool)
        marks[group * width + value] = True
        at = np.flatnonzero(marks)
        groups = at // width
        return np.asarray(groups << 32 | at - groups * width)
    both = group << 32 | value
    # Rows stand by subject, so most repeats are neighbours; it is quicker to leave these out first.
    return distinct(both[np.concatenate(([True], both[1:] != both[:-1]))])


class Numbers:
    """`sum`, `mean`, `min` and `max`."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._of: dict[int, tuple[int, list[float], float, float]] = {}

    @property
    def held(self) -> int:
        return 200 * len(self._of)

    def take(self, groups: Pairs, values: Pairs | None) -> None:
        assert values is not None
        for group, numbers in _by_group(*groups.joined(values)):
            count, sums, low, high = self._of.get(group, (0, [], math.inf, -math.inf))
            sums.append(math.fsum(numbers.tolist()))
            least, most = float(numbers.min()), float(numbers.max())
            self._of[group] = (count + len(numbers), sums, min(low, least), max(high, most))

    def figures(self, count: int) -> list[Number | None]:
        return [self._figure(group) for group in range(count)]

    def _figure(self, group: int) -> Number | None:
        if group not in self._of:
            return 0 if isinstance(self._measure, Sum) else None
        count, sums, low, high = self._of[group]
        if isinstance(self._measure, Mean):
            return math.fsum(sums) / count
        found = {Sum: math.fsum(sums), Min: low, Max: high}[type(self._measure)]
        number: Number = plain(found)
        return number


class Ranks:
    """`percentile`."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._groups: list[Array] = []
        self._numbers: list[Array] = []

    @property
    def held(self) -> int:
        return sum(one.nbytes for one in (*self._groups, *self._numbers))

    def take(self, groups: Pairs, values: Pairs | None) -> None:
        assert values is not None
        group, number = groups.joined(values)
        self._groups.append(group)
        self._numbers.append(number)

    def figures(self, count: int) -> list[Number | None]:
        found: list[Number | None] = [None] * count
        groups = np.concatenate([np.empty(0, np.int64), *self._groups])
        for group, numbers in _by_group(groups, np.concatenate([np.empty(0), *self._numbers])):
            rank = -(-len(numbers) * self._percent // 100) - 1
            found[group] = plain(float(np.partition(numbers, rank)[rank]))
        return found


def _by_group(groups: Array, numbers: Array) -> list[tuple[int, Array]]:
    """The numbers of each group that has any."""
    order = np.argsort(groups, kind="stable")
    groups, numbers = groups[order], numbers[order]
    different, begins = np.unique(groups, return_index=True)
    bounds = pairwise([*begins.tolist(), len(groups)])
    return [(group, numbers[low:high]) for group, (low, high) in zip(different.tolist(), bounds, strict=True)]


Taking = Counting | Different | Numbers | Ranks


def taking(measure: Measure) -> Taking:
    """What adds up the figures of a measure."""
    if isinstance(measure, Count):
        return Counting()
    if isinstance(measure, Percentile):
        return Ranks(measure.percent)
    return Numbers(measure) if isinstance(measure, Sum | Mean | Min | Max) else Different()
