"""Matches of steps in order, over all subjects at once: the cascade.

A match is a vector of rows m1, m2, …, mk. Each rule that there is bounds an earlier row from below by a function of a
later one that never falls:

    order        m(k) lies before m(k+1); with a grace, at most that long after it
    window       m(1) isn't earlier than the window's length before m(k)
    exclusion    m(a) isn't before the last excluded event before m(b)
    strict       m(k) isn't before the last event that may not stand between, before m(k+1)

So of two vectors that obey the rules, the row-wise later of both obeys them, and so does the row-wise earlier. Hence
one vector a step is enough. Forward, the latest one says how far each subject gets. Backward, the earliest one says
from which entries a level can be reached, and by which rows. Greedy matching would be wrong with exclusions.
Each pass is a few operations of numpy a step. Source: semantics, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metronome.query.journeys.columns import Array, firsts

#: Where there is no row.
NO = -1


@dataclass(frozen=True)
class Ban:
    """No row of `rows` between the matches of steps `first` and `last`, which count from 0 here."""

    rows: Array
    first: int
    last: int


@dataclass(frozen=True)
class Rules:
    """What a match has to obey. `blocks[k]` are the rows that may not stand between the matches of steps k and k+1.

    The window is `window_ms`, or `limit`: the last row that a match may have, by the row of its entry.
    """

    window_ms: int | None
    grace_ms: int = 0
    bans: tuple[Ban, ...] = ()
    blocks: tuple[Array, ...] | None = None
    limit: Array | None = None

    def without(self, *, bans: bool = False, blocks: bool = False, window: bool = False) -> Rules:
        """The same rules but for these."""
        return Rules(
            None if window else self.window_ms,
            self.grace_ms,
            () if bans else self.bans,
            None if blocks else self.blocks,
            None if window else self.limit,
        )

    def taken(self, rows: Array) -> Rules:
        """The rules of some rows, ascending, that hold each of their subjects' rows up to the limits."""
        limit = None
        if self.limit is not None:
            limit = np.searchsorted(rows, self.limit[rows], "right") - 1
        bans = tuple(Ban(ban.rows[rows], ban.first, ban.last) for ban in self.bans)
        blocks = None if self.blocks is None else tuple(block[rows] for block in self.blocks)
        return Rules(self.window_ms, self.grace_ms, bans, blocks, limit)


class Rows:
    """Rows sorted by subject and time, with the bounds of each subject."""

    def __init__(self, unit: Array, time: Array) -> None:
        self.unit, self.time, self.size = unit, time, len(unit)
        starts = firsts(unit)
        lengths = np.diff(np.append(starts, self.size))
        self.starts = starts
        self.first = np.repeat(starts, lengths).astype(np.int64)
        self.last = np.repeat(starts + lengths - 1, lengths).astype(np.int64)
        # Times that rise over all subjects: one search finds a moment within a subject.
        self._shift: Array | None = None

    def upto(self, rows: Array, grace_ms: int) -> Array:
        """The last row that may match a step before one that is matched at `rows`."""
        if not grace_ms:
            return rows - 1
        found = self.at(rows, self.time[rows] + grace_ms, "right") - 1
        within: Array = np.minimum(found, self.last[rows])
        return within

    def since(self, rows: Array, grace_ms: int) -> Array:
        """The first row that may match a step after one that is matched at `rows`."""
        if not grace_ms:
            return rows + 1
        found: Array = np.maximum(self.at(rows, self.time[rows] - grace_ms, "left"), self.first[rows])
        return found

    def at(self, rows: Array, times: Array, side: Any) -> Array:
        """Where a time would stand among the rows of the same subject, by bisection of all at once."""
        low, high = self.first[rows].copy(), self.last[rows] + 1
        while (open_ := low < high).any():
            middle = (low + high) // 2
            inside = np.minimum(middle, self.size - 1)
            found = self.time[inside]
            later = found <= times if side == "right" else found < times
            low = np.where(open_ & later, middle + 1, low)
            high = np.where(open_ & ~later, middle, high)
        return low

    def window_end(self, rows: Array, rules: Rules) -> Array:
        """The last row within the window of each entry."""
        if rules.limit is not None:
            return rules.limit[rows]
        if rules.window_ms is None:
            return self.last[rows]
        return self.at(rows, self.time[rows] + rules.window_ms, "right") - 1


def levels(rows: Rows, steps: Sequence[Array], rules: Rules) -> Array:
    """How many steps each subject reaches, in the order of subjects; the entries are `steps[0]`. Not with a limit."""
    reached = np.zeros(len(rows.starts), np.int8)
    number = np.zeros(rows.size, np.int32)
    number[rows.starts] = 1
    number = np.cumsum(number) - 1
    needed = [{0, k, *(ban.first for ban in rules.bans if ban.first <= k < ban.last)} for k in range(len(steps))]
    found = np.flatnonzero(steps[0])
    reached[number[found]] = 1
    latest = {0: _latest(rows.size, found, found)}
    for k in range(1, len(steps)):
        found = np.flatnonzero(steps[k])
        before = rows.upto(found, rules.grace_ms)
        fits = before >= rows.first[found]
        found, before = found[fits], before[fits]
        entry = latest[0][before]
        fits = entry >= rows.first[found]
        if rules.window_ms is not None:
            fits &= rows.time[found] - rows.time[entry] <= rules.window_ms
        for ban in rules.bans:
            if ban.last == k:
                fits &= latest[ban.first][before] >= _last_before(ban.rows, found)
        if rules.blocks is not None:
            fits &= latest[k - 1][before] >= _last_before(rules.blocks[k - 1], found)
        found, before = found[fits], before[fits]
        if not len(found):
            break
        reached[number[found]] = k + 1
        latest = {
            part: _latest(rows.size, found, found if part == k else latest[part][before])
            for part in needed[k]
            if k < len(steps) - 1
        }
    return reached


def _latest(size: int, rows: Array, values: Array) -> Array:
    """For each row the greatest of the values that stand at or before it."""
    running = np.full(size, NO, np.int32)
    running[rows] = values
    return np.maximum.accumulate(running, out=running)


def _earliest(size: int, rows: Array, values: Array) -> Array:
    """For each row the least of the values that stand at or after it; `size` where there is none."""
    running = np.full(size + 1, size, np.int32)
    running[rows] = values
    return np.minimum.accumulate(running[::-1])[::-1]


def _last_before(wanted: Array, rows: Array) -> Array:
    """The last wanted row before each row."""
    places = np.flatnonzero(wanted)
    if not len(places):
        return np.full(len(rows), NO)
    found = np.searchsorted(places, rows, "left") - 1
    return np.where(found >= 0, places[np.maximum(found, 0)], NO)


def first_after(wanted: Array, rows: Array) -> Array:
    """The first wanted row after each row; the number of rows where there is none."""
    places = np.append(np.flatnonzero(wanted), len(wanted))
    return places[np.searchsorted(places, rows, "right")]


def reaching(rows: Rows, steps: Sequence[Array], rules: Rules) -> list[Array] | None:
    """For each step the rows that can serve it in a match of all steps; None where there is no such match.

    The first has the entries, within their windows. From an entry, the earliest match has of each step the first of
    these rows after (with a grace: not too long before) that of the step before.
    """
    last = len(steps) - 1
    found = np.flatnonzero(steps[last])
    places = [found]
    earliest: dict[int | str, Array] = {last: _earliest(rows.size, found, found)}
    earliest["far"] = earliest[last]
    for k in range(last - 1, -1, -1):
        found = np.flatnonzero(steps[k])
        since = rows.since(found, rules.grace_ms)
        fits = earliest[k + 1][since] <= rows.last[found]
        for ban in rules.bans:
            if ban.first == k and ban.last <= last:
                fits &= earliest[ban.last][since] <= first_after(ban.rows, found)
        if rules.blocks is not None:
            fits &= earliest[k + 1][since] <= first_after(rules.blocks[k], found)
        found, since = found[fits], since[fits]
        far = np.maximum(earliest["far"][since], found)
        if k == 0:
            within = (
                far <= rows.window_end(found, rules) if rules.limit is not None else _timely(rows, found, far, rules)
            )
            places.append(found[within])
            break
        places.append(found)
        kept = {ban.last for ban in rules.bans if ban.first < k < ban.last <= last}
        carried: dict[int | str, Array] = {part: _earliest(rows.size, found, earliest[part][since]) for part in kept}
        carried["far"] = _earliest(rows.size, found, far)
        carried[k] = _earliest(rows.size, found, found)
        earliest = carried
    return places[::-1] if len(places[-1]) else None


def _timely(rows: Rows, entries: Array, far: Array, rules: Rules) -> Array:
    if rules.window_ms is None:
        return np.ones(len(entries), bool)
    found: Array = rows.time[far] - rows.time[entries] <= rules.window_ms
    return found


def earliest_matches(rows: Rows, places: Sequence[Array], entries: Array, grace_ms: int) -> Array:
    """The earliest match from each entry, a row of rows an entry."""
    matched = [entries]
    for served in places[1:]:
        since = rows.since(matched[-1], grace_ms)
        matched.append(served[np.searchsorted(served, since, "left")])
    return np.stack(matched, axis=1)
