"""Rows with their groups: pairs of a row and the number of a group that the row is in.

A row is in a group for each combination of its values. Groups are numbered as they come, per question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np

from metronome.errors import TooMuch
from metronome.parts.read import Rows, Wanted
from metronome.periods import Every, Period, from_ms, to_ms, to_text
from metronome.query.body import MAX_BUCKETS, too_many_buckets
from metronome.query.journeys.columns import Array, distinct, numbered, ranges
from metronome.query.journeys.load import KINDS, values_at
from metronome.query.journeys.wheres import TIMES
from metronome.query.persons.facts import Facts
from metronome.query.persons.numbers import AT, NOBODY, Persons
from metronome.query.persons.rules import property_of
from metronome.query.question import Grouping, Values

_QUARTER_MS = 900_000

#: Bits of a value's number in a group's.
_BITS = 22


@dataclass(frozen=True)
class Pairs:
    """`row` ascends; `of` is a group's number, a value or whatever belongs to the row."""

    row: Array
    of: Array

    def joined(self, other: Pairs) -> tuple[Array, Array]:
        """Each `of` of this one with each of the other that has the same row."""
        if not len(other.row) or (other.row[1:] > other.row[:-1]).all():
            return self._joined_one(other)
        low = np.searchsorted(other.row, self.row, "left")
        high = np.searchsorted(other.row, self.row, "right")
        return np.repeat(self.of, high - low), other.of[ranges(low, high)]

    def _joined_one(self, other: Pairs) -> tuple[Array, Array]:
        """The same where the other one has each row once at most: its places are looked up."""
        last = max(int(rows[-1]) if len(rows) else 0 for rows in (self.row, other.row))
        places = np.full(last + 1, -1, np.int64)
        places[other.row] = np.arange(len(other.row))
        found = places[self.row]
        there = found >= 0
        return (self.of, other.of[found]) if there.all() else (self.of[there], other.of[found[there]])


class Known:
    """The values of a field, numbered from 1 as they come; 0 stands for none."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.wanted = [Wanted(name, kind) for kind in KINDS]  # type: ignore[arg-type]
        self.numbers: dict[Any, int] = {None: 0}

    def of(self, rows: Rows, person: Array | None) -> Pairs:
        """Rows with each of their values once."""
        found, several = [], False
        for one in self.wanted:
            place, code, values = values_at(rows.columns[one], one.kind)
            several |= rows.columns[one].rows is not None
            found.append((place, self._numbered(values)[code]))
        row, number = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if several:
            once = distinct(row << 32 | number)
            return Pairs(once >> 32, once & 0xFFFFFFFF)
        order = np.argsort(row, kind="stable")
        return Pairs(row[order], number[order])

    def _numbered(self, values: Sequence[Any]) -> Array:
        if self.name in TIMES:
            values = [("text", to_text(from_ms(ms))) for _, ms in values]
        numbers = self.numbers
        return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


class KnownOfPerson(Known):
    """The values of a property of persons: each row has those of its person, and one of nobody has none."""

    def __init__(self, name: str, facts: Facts, persons: Persons) -> None:
        super().__init__(name)
        self.wanted = []
        self._facts, self._persons = facts, persons
        self._numbers: list[int] = []
        #: Where each person's numbers begin, and behind them the end.
        self._begins = [0]

    def of(self, rows: Rows, person: Array | None) -> Pairs:
        assert person is not None
        name = property_of(self.name)
        assert name is not None
        for one in self._persons.names[len(self._begins) - 1 :]:
            values = self._facts.values(name, one)
            self._numbers += [self.numbers.setdefault(value, len(self.numbers)) for value in values]
            self._begins.append(len(self._numbers))
        row = np.flatnonzero(person != NOBODY)
        begins = np.array(self._begins, np.int64)
        low, high = begins[person[row]], begins[person[row] + 1]
        return Pairs(np.repeat(row, high - low), np.array(self._numbers, np.int64)[ranges(low, high)])


@dataclass
class Groups:
    """The groups of a question by number, and the rows that are in them."""

    by: Sequence[Grouping]
    period: Period
    fields: dict[str, Known]
    _numbers: dict[int, int] = field(default_factory=dict)
    _starts: dict[Every, tuple[list[datetime], Array]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, rows: Rows, chosen: Array, values: dict[str, Pairs]) -> Pairs:
        """The chosen rows, ascending, with their groups."""
        row, key = chosen, np.zeros(len(chosen), np.int64)
        for grouping in self.by:
            if isinstance(grouping, Every):
                key = key << _BITS | self._bucket(grouping, rows.columns[AT].values[row])
                continue
            assert isinstance(grouping, Values)
            found = values[grouping.field]
            low, high = (np.searchsorted(found.row, row, side) for side in ("left", "right"))
            times = high - low
            none = np.flatnonzero(times == 0) if grouping.missing else np.empty(0, np.int64)
            number = np.concatenate([found.of[ranges(low, high)], np.zeros(len(none), np.int64)])
            if len(self.fields[grouping.field].numbers) >= 1 << _BITS:
                raise TooMuch(f"by: {grouping.field} has more than {1 << _BITS:,} values; take a field of fewer")
            row = np.concatenate([np.repeat(row, times), row[none]])
            key = np.concatenate([np.repeat(key, times), key[none]]) << _BITS | number
            order = np.argsort(row, kind="stable")
            row, key = row[order], key[order]
        different, place = numbered(key)
        numbers = [self._numbers.setdefault(one, len(self._numbers)) for one in different.tolist()]
        return Pairs(row, np.array(numbers, np.int64)[place])

    def _bucket(self, every: Every, times: Array) -> Array:
        """The number of each time's period."""
        _, edges = self._edges(every)
        quarters, rest = np.divmod(edges - edges[0], _QUARTER_MS)
        if not len(times) or rest.any() or quarters[-1] > len(times):
            found: Array = np.searchsorted(edges, times, "right") - 1
            return found
        # Days and hours of whatever zone begin on a quarter of an hour: a table by quarters saves the search.
        place = (times - edges[0]) // _QUARTER_MS
        table = np.searchsorted(quarters, np.arange(int(place.max()) + 1), "right") - 1
        return np.asarray(table[place])

    def keys(self) -> list[tuple[Any, ...]]:
        """The typed key of each group, by its number."""
        names = {name: list(known.numbers) for name, known in self.fields.items()}
        return [self._key(number, names) for number in self._numbers]

    def _key(self, number: int, names: dict[str, list[Any]]) -> tuple[Any, ...]:
        found: list[Any] = []
        for grouping in reversed(self.by):
            code, number = number & ((1 << _BITS) - 1), number >> _BITS
            if isinstance(grouping, Every):
                found.append(self._edges(grouping)[0][code])
            else:
                found.append(names[grouping.field][code])
        return tuple(reversed(found))

    def _edges(self, every: Every) -> tuple[list[datetime], Array]:
        if every not in self._starts:
            start, end = self.period.start, self.period.end
            assert start is not None and end is not None
            starts = list(islice(every.starts(start, end), MAX_BUCKETS + 1))
            if len(starts) > MAX_BUCKETS:
                raise too_many_buckets()
            self._starts[every] = (starts, np.array([to_ms(one) for one in starts], np.int64))
        return self._starts[every]
