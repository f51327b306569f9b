"""Retention, answered from columns.

    members      subjects by cohort: once in all history, or once in each period that holds a start
    hits         for each member the cells that some later event falls in
    cells        counts, sums, rates; None where a cell isn't finished

Bit 0 of a row is the start, bit 1 the return. Source: semantics, section 5; query contract, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from metronome.periods import to_ms
from metronome.query.condition import Condition
from metronome.query.journeys.answers import Average, Cohort, RetentionAnswer, Table
from metronome.query.journeys.columns import Array, Columns, firsts
from metronome.query.journeys.grouping import Grouped, named, paired_by_keys
from metronome.query.journeys.questions import DAY_MS, Retention

#: Length of a rolling period.
LENGTHS_MS = {"hour": 3_600_000, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS}


def conditions(question: Retention) -> tuple[Condition, ...]:
    return question.start, question.returns


def fields(question: Retention) -> tuple[str, ...]:
    return (question.by,) if question.by else ()


@dataclass(frozen=True)
class Members:
    """Births: the row of each, and the number of its cohort."""

    row: Array
    cohort: Array


@dataclass(frozen=True)
class Hits:
    """Pairs of a member and a return of it: the member's number, the cell's index, the row. `value` is a group's."""

    member: Array
    index: Array
    row: Array
    value: Array


def answer(
    question: Retention, columns: Columns, now: datetime, check: Callable[[], None] = lambda: None
) -> RetentionAnswer:
    """The answer; `check` is called now and then and may raise to stop the work."""
    engine = Engine(question, columns, now, check)
    everybody = np.arange(len(engine.members.row))
    table = engine.table(everybody, engine.hits)
    groups = None
    if question.by is not None:
        groups = tuple(engine.groups())
    return RetentionAnswer(table=table, groups=groups)


class Engine:
    def __init__(self, question: Retention, columns: Columns, now: datetime, check: Callable[[], None]) -> None:
        assert question.period.start is not None and question.period.end is not None
        self.question, self.columns, self._check = question, columns, check
        self.now_ms = to_ms(now)
        every = question.every
        last = question.period.end - timedelta(milliseconds=1)
        self.cohorts = list(every.starts(question.period.start, last))
        # Edges of periods from the first cohort's on, past now and past the last cell.
        edges = [*self.cohorts, every.after(self.cohorts[-1])]
        wanted = len(self.cohorts) + 1 + max([question.periods, *(high for _, high in question.brackets or ())])
        while len(edges) < wanted or to_ms(edges[-1]) <= self.now_ms:
            edges.append(every.after(edges[-1]))
        self.edges = np.array([to_ms(edge) for edge in edges], np.int64)
        self.members = self._members()
        self.hits = self._hits()
        self.cells = question.brackets or tuple(self._cell(k) for k in range(question.periods + 1))

    def _cell(self, k: int) -> tuple[int, int]:
        """The indices that count in cell k, both ends included."""
        if self.question.count == "on":
            return k, k
        if self.question.count == "on_or_before":
            return 1, k
        return k, int(np.iinfo(np.int64).max)

    def _members(self) -> Members:
        columns, question = self.columns, self.question
        assert question.period.start is not None and question.period.end is not None
        low, high = to_ms(question.period.start), to_ms(question.period.end)
        started = columns.bit(0)
        in_range = (columns.time >= low) & (columns.time < high)
        if question.birth == "first_time":
            rows = np.flatnonzero(started)
            rows = rows[firsts(columns.unit[rows])]
            rows = rows[in_range[rows]]
            return Members(rows, self._cohort(rows))
        rows = np.flatnonzero(started & in_range)
        cohort = self._cohort(rows)
        first = firsts(columns.unit[rows].astype(np.int64) * len(self.edges) + cohort)
        return Members(rows[first], cohort[first])

    def _cohort(self, rows: Array) -> Array:
        found: Array = np.searchsorted(self.edges, self.columns.time[rows], "right") - 1
        return found

    def _hits(self) -> Hits:
        """All returns of all members, in rounds of which each has a subject once."""
        returns = np.flatnonzero(self.columns.bit(1) & (self.columns.time <= self.now_ms))
        found = list(self._rounds(returns))
        if not found:
            empty = np.empty(0, np.int64)
            return Hits(empty, empty, empty, empty)
        member, row = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Hits(member, self._index(member, row), row, np.zeros(len(row), np.int64))

    def _rounds(self, returns: Array) -> Iterator[tuple[Array, Array]]:
        members, unit = self.members, self.columns.unit
        rounds = [np.arange(len(members.row))]
        if self.question.birth == "recurring":
            rounds = [np.flatnonzero(members.cohort == number) for number in range(len(self.cohorts))]
        member_of = np.full(len(self.columns.names), -1, np.int64)
        for chosen in rounds:
            self._check()
            member_of[:] = -1
            member_of[unit[members.row[chosen]]] = chosen
            member = member_of[unit[returns]]
            kept = member >= 0
            kept[kept] = returns[kept] > members.row[member[kept]]
            yield member[kept], returns[kept]

    def _index(self, member: Array, row: Array) -> Array:
        time = self.columns.time
        if self.question.mode == "rolling":
            found: Array = (time[row] - time[self.members.row[member]]) // LENGTHS_MS[self.question.every.unit]
            return found
        return self._cohort(row) - self.members.cohort[member]

    def complete(self) -> Array:
        """By cohort and cell, whether the cell has ended."""
        last = np.array([high if high < np.iinfo(np.int64).max else low for low, high in self.cells], np.int64)
        if self.question.count == "on_or_before" and not self.question.brackets:
            last = np.maximum(last, 0)
        numbers = np.arange(len(self.cohorts))
        if self.question.mode == "calendar":
            return np.asarray(self.edges[numbers[:, None] + last[None, :] + 1] <= self.now_ms)
        # A cohort's latest birth; of an empty one, the last moment of its period.
        births = self.edges[1 : len(self.cohorts) + 1] - 1
        births = births.copy()
        seen = np.unique(self.members.cohort)
        births[seen] = np.iinfo(np.int64).min
        np.maximum.at(births, self.members.cohort, self.columns.time[self.members.row])
        return np.asarray(births[:, None] + (last[None, :] + 1) * LENGTHS_MS[self.question.every.unit] <= self.now_ms)

    def table(self, members: Array, hits: Hits) -> Table:
        """The cohorts of some members, with some of their hits."""
        shape = (len(self.cohorts), len(self.cells))
        size = np.bincount(self.members.cohort[members], minlength=shape[0])
        returned, value = np.zeros(shape, np.int64), np.zeros(shape)
        cohort = self.members.cohort[hits.member]
        for cell, (low, high) in enumerate(self.cells):
            self._check()
            inside = (hits.index >= low) & (hits.index <= high)
            found = np.unique(hits.member[inside])
            returned[:, cell] = np.bincount(self.members.cohort[found], minlength=shape[0])
            if self.columns.numbers is not None:
                rows = np.stack([hits.member[inside], hits.row[inside]])
                _, once = np.unique(rows, axis=1, return_index=True)
                numbers = np.nan_to_num(self.columns.numbers[hits.row[inside][once]])
                value[:, cell] = np.bincount(cohort[inside][once], numbers, minlength=shape[0])
        if self.question.zero == "size" and self.question.brackets is None:
            returned[:, 0] = size
        complete = self.complete()
        cohorts = tuple(
            self._drawn(number, int(size[number]), returned[number], value[number], complete[number])
            for number in range(shape[0])
        )
        return Table(cohorts, _average(cohorts, shape[1], self.question.average))

    def _drawn(self, number: int, size: int, returned: Array, value: Array, complete: Array) -> Cohort:
        done = complete.tolist()
        counts = tuple(int(one) if ended else None for one, ended in zip(returned.tolist(), done, strict=True))
        rates = tuple(None if one is None or not size else one / size for one in counts)
        sums = None
        if self.columns.numbers is not None:
            sums = tuple(_plain(one) if ended else None for one, ended in zip(value.tolist(), done, strict=True))
        rising = None
        if self.question.count == "on_or_after" and self.question.brackets is None:
            rising = tuple(done)
        return Cohort(self.cohorts[number], size, counts, rates, tuple(done), rising, sums)

    def groups(self) -> Iterator[tuple[object, Table]]:
        """A table a group of members by their value at birth; with `match` both, of returns that have it too."""
        assert self.question.by is not None
        keys = self.columns.keys[self.question.by]
        born = paired_by_keys(np.arange(len(self.members.row)), keys, self.members.row)
        for name, numbers in named(born):
            chosen = np.isin(born.numbers, numbers)
            members = np.unique(born.members[chosen])
            kept = np.isin(self.hits.member, members)
            if self.question.match == "both":
                kept[kept] = self._alike(born, numbers, kept)
            hits = Hits(*(getattr(self.hits, part)[kept] for part in ("member", "index", "row", "value")))
            yield name, self.table(members, hits)

    def _alike(self, born: Grouped, numbers: list[int], kept: Array) -> Array:
        """Whether a return has one of the group's values that its member was born with."""
        assert self.question.by is not None
        keys = self.columns.keys[self.question.by]
        chosen = np.isin(born.numbers, numbers)
        count = len(born.values)
        pairs = born.members[chosen] * count + born.numbers[chosen]
        place = {value: number for number, value in enumerate(born.values)}
        codes = keys.codes[self.hits.row[kept]]
        found = np.zeros(len(codes), bool)
        for code in np.unique(codes).tolist():
            at = np.flatnonzero(codes == code)
            for value in keys.table[code] or (None,):
                if value in place:
                    found[at] |= np.isin(self.hits.member[kept][at] * count + place[value], pairs)
        return found


def _plain(number: float) -> float | int:
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _average(cohorts: tuple[Cohort, ...], cells: int, kind: str) -> Average:
    """Over complete cells of cohorts that have members: all returned of all members, or the mean of the rates."""
    rates: list[float | None] = []
    counts: list[int] = []
    for cell in range(cells):
        rows = [(one.returned[cell] or 0, one.size) for one in cohorts if one.size and one.complete[cell]]
        counts.append(len(rows))
        if not rows:
            rates.append(None)
        elif kind == "weighted":
            rates.append(sum(returned for returned, _ in rows) / sum(size for _, size in rows))
        else:
            rates.append(sum(returned / size for returned, size in rows) / len(rows))
    return Average(tuple(rates), tuple(counts))
