"""The events of a question as columns: one row an event, sorted by subject and then in the total order.

unit       number of the subject, ascending: a subject's rows stand together
time       `@timestamp` in Unix milliseconds
bits       bit n is set where the event meets the question's n-th condition
place      which document it is: day number << 32 | row of the day's part
session    number of the `session_id`, -1 where there is none
keys       fields whose values are asked for
numbers    the sum of a field's numbers, NaN where there is none
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: A pause of more than this, or a session longer than that, opens a new session (semantics, section 6).
IDLE_MS = 30 * 60_000
LONGEST_MS = 86_400_000


@dataclass(frozen=True)
class Keys:
    """A field's values by row: `table[codes[row]]` are the typed values of a row, each once, () for none."""

    codes: Array
    table: Sequence[tuple[Any, ...]]

    def of(self, rows: Array) -> list[tuple[Any, ...]]:
        return [self.table[code] for code in self.codes[rows].tolist()]

    def taken(self, rows: Array) -> Keys:
        return Keys(self.codes[rows], self.table)


@dataclass(frozen=True)
class Columns:
    names: Sequence[str]
    unit: Array
    time: Array
    bits: Array
    place: Array
    session: Array | None = None
    keys: dict[str, Keys] = field(default_factory=dict)
    numbers: Array | None = None

    @property
    def size(self) -> int:
        return len(self.unit)

    def bit(self, number: int) -> Array:
        """Which rows meet the question's condition of this number."""
        found: Array = (self.bits >> np.uint64(number)) & np.uint64(1) != 0
        return found

    def taken(self, rows: Array) -> Columns:
        """Some of the rows, in the order given."""
        return Columns(
            self.names,
            self.unit[rows],
            self.time[rows],
            self.bits[rows],
            self.place[rows],
            None if self.session is None else self.session[rows],
            {name: keys.taken(rows) for name, keys in self.keys.items()},
            None if self.numbers is None else self.numbers[rows],
        )

    def starts(self) -> Array:
        """The first row of each subject's, ascending."""
        return firsts(self.unit)


def firsts(sorted_: Array) -> Array:
    """Where a new value begins in a sorted array."""
    if not len(sorted_):
        return np.empty(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], sorted_[1:] != sorted_[:-1])))


def distinct(values: Array) -> Array:
    """The different values, ascending. Sorting them is several times quicker than numpy's own `unique`."""
    if not (values[1:] >= values[:-1]).all():
        values = np.sort(values)
    return values[firsts(values)]


def numbered(values: Array) -> tuple[Array, Array]:
    """The different values, ascending, and the place of each value among them."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if high - low > 2 * len(values) + 1000:
        different, place = np.unique(values, return_inverse=True)
        return different, place
    # Whole numbers that lie close together are marked instead of sorted.
    seen = np.zeros(high - low + 1, bool)
    seen[values - low] = True
    return np.flatnonzero(seen) + low, (np.cumsum(seen) - 1)[values - low]


def by_unit(unit: Array) -> Array:
    """The order of rows by unit; those of one unit stay as they were. Sixteen bits at a time numpy only counts."""
    order = np.argsort((unit & 0xFFFF).astype(np.uint16), kind="stable")
    high = unit >> 16
    return order[np.argsort(high[order].astype(np.uint16), kind="stable")] if high.any() else order


def ranges(low: Array, high: Array) -> Array:
    """All whole numbers of the ranges low <= n < high, one range after another."""
    lengths = np.maximum(high - low, 0)
    total = int(lengths.sum())
    if not total:
        return np.empty(0, np.int64)
    ends = np.cumsum(lengths)
    offsets = np.repeat(low - (ends - lengths), lengths)
    found: Array = np.arange(total) + offsets
    return found


def sessions_of(columns: Columns) -> Array:
    """The session of each row, numbered within its subject from 0 by when it began.

    A row's `session_id` is its session; rows without one are cut where they pause or last too long.
    """
    made = np.full(columns.size, -1, np.int64)
    given = columns.session if columns.session is not None else np.full(columns.size, -1)
    bounds = np.append(columns.starts(), columns.size).tolist()
    times, names = columns.time.tolist(), given.tolist()
    for low, high in pairwise(bounds):
        _number_sessions(made, times, names, low, high)
    return made


def _number_sessions(made: Array, times: list[int], names: list[int], low: int, high: int) -> None:
    known: dict[int, int] = {}
    began = last = running = None
    count = 0
    for row in range(low, high):
        name = names[row]
        if name >= 0:
            if name not in known:
                known[name], count = count, count + 1
            made[row] = known[name]
            continue
        at = times[row]
        if began is None or last is None or at - last > IDLE_MS or at - began > LONGEST_MS:
            began, running, count = at, count, count + 1
        last = at
        made[row] = running
