"""Who gets how far in a funnel, and by which events: attempts, from columns.

    best     one attempt a subject: the highest level, of the earliest entry that has it
    first    one attempt a subject: from its first entry
    all      one attempt after another, in rounds: each subject's next one in each round

The cascade finds them where it can. Order `any` has its own way (unordered.py), and so have steps that share events
while a grace lets them swap places (search.py), where no rule is left that one vector could stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metronome.query.journeys import search, unordered
from metronome.query.journeys.cascade import (
    NO,
    Ban,
    Rows,
    Rules,
    earliest_matches,
    first_after,
    levels,
    reaching,
)
from metronome.query.journeys.columns import Array, firsts, ranges


@dataclass(frozen=True)
class Problem:
    """What a funnel asks of the rows of some subjects.

    `entries` are the rows that may open an attempt, `steps[k]` those that may serve step k + 1. `lanes` are pairs of
    a row and a lane: the rows of one lane agree in what has to be held constant.
    """

    rows: Rows
    entries: Array
    steps: tuple[Array, ...]
    rules: Rules
    ordered: bool = True
    lanes: tuple[Array, Array] | None = None

    def taken(self, rows: Array) -> Problem:
        """The same of some of the rows, ascending."""
        lanes = None
        if self.lanes is not None:
            kept = np.isin(self.lanes[0], rows)
            lanes = (np.searchsorted(rows, self.lanes[0][kept]), self.lanes[1][kept])
        return replace(
            self,
            rows=Rows(self.rows.unit[rows], self.rows.time[rows]),
            entries=self.entries[rows],
            steps=tuple(step[rows] for step in self.steps),
            rules=self.rules.taken(rows),
            lanes=lanes,
        )


@dataclass(frozen=True)
class Attempts:
    """Subjects, how many steps each attempt reached, and the rows that served them (NO for steps not reached)."""

    unit: Array
    level: Array
    rows: Array

    def taken(self, kept: Array) -> Attempts:
        return Attempts(self.unit[kept], self.level[kept], self.rows[kept])

    def of_rows(self, origin: Array) -> Attempts:
        """The same with each row replaced by where it came from."""
        return replace(self, rows=np.where(self.rows >= 0, origin[np.maximum(self.rows, 0)], NO))


def joined(parts: list[Attempts], steps: int) -> Attempts:
    if not parts:
        return Attempts(np.empty(0, np.int64), np.empty(0, np.int8), np.empty((0, steps), np.int64))
    return Attempts(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("unit", "level", "rows")))


def attempts(problem: Problem, entry: str, check: Callable[[], None]) -> Attempts:
    """The attempts of all subjects that have an entry. `check` may raise to stop the work."""
    if entry == "all":
        return _in_rounds(problem, check)
    rows, entries = problem.rows, problem.entries
    if entry == "first":
        entries = _first_of_each(rows, entries)
    # Subjects that never entered have no rows to look at.
    entered = np.zeros(rows.size, bool)
    entered[rows.first[entries]] = True
    kept = np.flatnonzero(entered[rows.first])
    if not len(kept):
        return joined([], len(problem.steps))
    return best(replace(problem, entries=entries).taken(kept)).of_rows(kept)


def _first_of_each(rows: Rows, entries: Array) -> Array:
    found = np.flatnonzero(entries)
    first = np.zeros(rows.size, bool)
    first[found[firsts(rows.unit[found])]] = True
    return first


def _in_rounds(problem: Problem, check: Callable[[], None]) -> Attempts:
    rows, rules = problem.rows, problem.rules
    entries = np.append(np.flatnonzero(problem.entries), rows.size)
    after = rows.starts.copy()
    ends = rows.last[rows.starts]
    found: list[Attempts] = []
    while True:
        check()
        entry = entries[np.searchsorted(entries, after, "left")]
        open_ = entry <= ends
        entry, ends = entry[open_], ends[open_]
        if not len(entry):
            return joined(found, len(problem.steps))
        last = rows.window_end(entry, rules)
        low = _reach(rows, entry, rules.grace_ms * len(problem.steps))
        kept = ranges(low, last + 1)
        opened = np.zeros(rows.size, bool)
        opened[entry] = True
        attempt = best(replace(problem, entries=opened).taken(kept)).of_rows(kept)
        found.append(attempt)
        after = _next(problem, attempt, last)


def _reach(rows: Rows, entry: Array, grace_ms: int) -> Array:
    """The first row that steps which swap places may reach back to."""
    return rows.at(entry, rows.time[entry] - grace_ms, "left") if grace_ms else entry


def _next(problem: Problem, attempt: Attempts, last: Array) -> Array:
    """From which row on the next attempt may open: after the conversion, the exclusion that ended it, or the window.

    An excluded event ends an attempt if it comes after its last match, between the steps that it is about, since no
    longer match was found beyond it.
    """
    done = attempt.rows.max(axis=1)
    ended = last
    for ban in problem.rules.bans:
        about = (attempt.level > ban.first) & (attempt.level <= ban.last)
        ended = np.where(about, np.minimum(ended, first_after(ban.rows, done)), ended)
    after: Array = np.where(attempt.level == len(problem.steps), done, ended) + 1
    return after


def best(problem: Problem) -> Attempts:
    """Of each subject the attempt of the highest level; of those the earliest. All subjects have an entry."""
    if problem.lanes is not None:
        return _of_lanes(problem)
    if not problem.ordered:
        return Attempts(*unordered.best(problem.rows, problem.entries, problem.steps, problem.rules))
    if problem.rules.grace_ms and _shared(problem.steps):
        return Attempts(*search.best(problem.rows, problem.entries, problem.steps, problem.rules))
    return _by_cascade(problem)


def _shared(steps: tuple[Array, ...]) -> bool:
    """Whether any row may serve two steps."""
    return bool((np.sum(steps, axis=0, dtype=np.int8) > 1).any())


def _by_cascade(problem: Problem) -> Attempts:
    if problem.rules.limit is not None:
        return _by_level(problem)
    rows = problem.rows
    reached = levels(rows, [problem.entries, *problem.steps[1:]], problem.rules)
    lengths = np.diff(np.append(rows.starts, rows.size))
    found = []
    for level in np.unique(reached[reached > 0]).tolist():
        kept = np.flatnonzero(np.repeat(reached == level, lengths))
        part = problem.taken(kept) if len(kept) < rows.size else problem
        found.append(_at_level(part, level).of_rows(kept))
    return _sorted(joined(found, len(problem.steps)))


def _by_level(problem: Problem) -> Attempts:
    """Level by level, downwards: a window that ends with a session may be shorter for a later entry."""
    left = np.arange(problem.rows.size)
    found = []
    for level in range(len(problem.steps), 0, -1):
        part = problem.taken(left)
        attempt = _at_level(part, level).of_rows(left)
        found.append(attempt)
        left = left[~np.isin(problem.rows.unit[left], attempt.unit)]
    return _sorted(joined(found, len(problem.steps)))


def _at_level(problem: Problem, level: int) -> Attempts:
    """The attempts of the subjects that have a match of so many steps, each from its earliest entry."""
    rows, steps = problem.rows, [problem.entries, *problem.steps[1:level]]
    places = reaching(rows, steps, problem.rules)
    if places is None:
        return joined([], len(problem.steps))
    entries = places[0][firsts(rows.unit[places[0]])]
    matched = np.full((len(entries), len(problem.steps)), NO, np.int64)
    matched[:, :level] = earliest_matches(rows, places, entries, problem.rules.grace_ms)
    return Attempts(rows.unit[entries], np.full(len(entries), level, np.int8), matched)


def _sorted(attempt: Attempts) -> Attempts:
    return attempt.taken(np.argsort(attempt.unit, kind="stable"))


def _of_lanes(problem: Problem) -> Attempts:
    """Solve each lane as a subject of its own; of a subject's lanes the best one counts."""
    part, origin = _lanes(problem)
    found = best(part).of_rows(origin)
    units = problem.rows.unit[found.rows[:, 0]]
    order = np.lexsort((*found.rows[:, ::-1].T, -found.level.astype(np.int64), units))
    kept = order[firsts(units[order])]
    return Attempts(units[kept], found.level[kept], found.rows[kept])


def _lanes(problem: Problem) -> tuple[Problem, Array]:
    """The problem with each lane as a subject, and the row that each of its rows comes from."""
    assert problem.lanes is not None
    rows, rules = problem.rows, problem.rules
    count = int(problem.lanes[1].max(initial=0)) + 1
    row, lane = problem.lanes
    order = np.lexsort((row, lane, rows.first[row]))
    row, lane = row[order], lane[order]
    own = np.ones(len(row), bool)
    if rules.bans or rules.blocks is not None:
        # What may not stand between counts in every lane of the subject.
        begins = firsts(rows.first[row] * count + lane)
        low, high = rows.first[row[begins]], rows.last[row[begins]] + 1
        every, lanes = ranges(low, high), np.repeat(lane[begins], high - low)
        own = np.isin(every * count + lanes, row * count + lane)
        row, lane = every, lanes
    begins = firsts(rows.first[row] * count + lane)
    number = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(row))))
    limit = None
    if rules.limit is not None:
        key = number * (rows.size + 1)
        limit = np.searchsorted(key + row, key + rules.limit[row], "right") - 1
    bans = tuple(Ban(ban.rows[row], ban.first, ban.last) for ban in rules.bans)
    blocks = None if rules.blocks is None else tuple(block[row] for block in rules.blocks)
    part = Problem(
        Rows(number, rows.time[row]),
        problem.entries[row] & own,
        tuple(step[row] & own for step in problem.steps),
        Rules(rules.window_ms, rules.grace_ms, bans, blocks, limit),
        problem.ordered,
    )
    return part, row
