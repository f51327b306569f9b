"""Matches where steps may swap places and one event may fit several of them: a search, subject by subject.

That an event serves one step only is a rule about any two steps then, which no single vector stands for (cascade.py).
The search remembers what it found for each step, event, and rows that a later step could still ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from metronome.query.journeys.cascade import NO, Rows, Rules
from metronome.query.journeys.columns import Array


def best(rows: Rows, entries: Array, steps: Sequence[Array], rules: Rules) -> tuple[Array, Array, Array]:
    """Of each subject with an entry: its number, the highest level, and the rows of the earliest match of it."""
    units, found = [], []
    bounds = np.append(rows.starts, rows.size).tolist()
    ends = np.full(rows.size, NO)
    entry = np.flatnonzero(entries)
    ends[entry] = rows.window_end(entry, rules)
    for low, high in pairwise(bounds):
        subject = _Subject(rows, steps, rules, low, high)
        matches = [subject.longest(low + int(row), int(ends[low + row])) for row in np.flatnonzero(entries[low:high])]
        if matches:
            units.append(rows.unit[low])
            found.append(max(matches, key=len))
    matched = np.full((len(found), len(steps)), NO, np.int64)
    for number, rows_ in enumerate(found):
        matched[number, : len(rows_)] = rows_
    level = np.array([len(rows_) for rows_ in found], np.int8)
    return np.array(units, rows.unit.dtype), level, matched


class _Subject:
    def __init__(self, rows: Rows, steps: Sequence[Array], rules: Rules, low: int, high: int) -> None:
        self._times = dict(zip(range(low, high), rows.time[low:high].tolist(), strict=True))
        self._steps = [(low + np.flatnonzero(step[low:high])).tolist() for step in steps]
        self._bans = [((low + np.flatnonzero(ban.rows[low:high])).tolist(), ban.first, ban.last) for ban in rules.bans]
        self._grace_ms = rules.grace_ms

    def longest(self, entry: int, end: int) -> tuple[int, ...]:
        """The longest match from an entry, whose window ends with the row `end`; of those the earliest."""
        self._end = end
        self._known: dict[object, tuple[int, ...]] = {}
        return (entry, *self._rest((entry,)))

    def _rest(self, matched: tuple[int, ...]) -> tuple[int, ...]:
        k, last = len(matched), matched[-1]
        if k == len(self._steps):
            return ()
        reach = self._times[last] - self._grace_ms * (len(self._steps) - k)
        taken = frozenset(row for row in matched if self._times[row] >= reach)
        pending = tuple(matched[first] for _, first, until in self._bans if first < k <= until)
        key = (k, last, taken, pending)
        if key not in self._known:
            self._known[key] = self._found(matched)
        return self._known[key]

    def _found(self, matched: tuple[int, ...]) -> tuple[int, ...]:
        k, last = len(matched), matched[-1]
        longest: tuple[int, ...] = ()
        for row in self._steps[k]:
            if (
                row > self._end
                or row in matched
                or (row < last and self._times[last] - self._times[row] > self._grace_ms)
            ):
                continue
            if any(until == k and any(matched[first] < x < row for x in xs) for xs, first, until in self._bans):
                continue
            found = (row, *self._rest((*matched, row)))
            if len(found) > len(longest):
                longest = found
            if len(longest) == len(self._steps) - k:
                break
        return longest
