"""Funnels, answered from columns.

    conditions    steps, then exclusions, then the scope of strictness: bit n of a row is the n-th of these
    attempts      who gets how far, by which events; subjects in slices, so that memory stays bounded
    removal       exclusions that remove their subjects, looked for on what was found without them
    figures       counts, times, groups, a trend by day of entry

Source: semantics, section 4; query contract, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import product

import numpy as np

from metronome.periods import to_ms
from metronome.query.condition import Condition
from metronome.query.journeys.answers import FunnelAnswer
from metronome.query.journeys.attempts import Attempts, Problem, attempts, joined
from metronome.query.journeys.cascade import NO, Ban, Rows, Rules, first_after
from metronome.query.journeys.columns import IDLE_MS, Array, Columns, ranges, sessions_of
from metronome.query.journeys.figures import groups_of, histogram, steps_of, times_of
from metronome.query.journeys.questions import Funnel

#: Rows that are worked on at one time.
SLICE = 1_000_000


def conditions(question: Funnel) -> tuple[Condition, ...]:
    """The conditions whose bits `answer` reads, in their order."""
    scope = (question.strict_scope,) if question.order == "strict" else ()
    return (*question.steps, *(one.where for one in question.exclusions), *scope)


def reads_all(question: Funnel) -> bool:
    """Whether rows that meet no condition matter too: they are part of sessions."""
    return question.window.sessions is not None


def fields(question: Funnel) -> tuple[str, ...]:
    """The fields whose values are asked for."""
    return tuple(dict.fromkeys([*question.hold, *([question.by] if question.by else [])]))


@dataclass(frozen=True)
class Found:
    """All attempts, with the rows that excluded them where they were removed, and which of them are still open."""

    kept: Attempts
    removed: Attempts
    removed_by: Array
    open: int


def answer(question: Funnel, columns: Columns, now: datetime, check: Callable[[], None] = lambda: None) -> FunnelAnswer:
    """The answer; `check` is called between slices and may raise to stop the work."""
    found = Engine(question, columns, now, check).found()
    done, time = found.kept, columns.time
    matched = np.where(done.rows >= 0, time[np.maximum(done.rows, 0)], 0)
    complete = done.level == len(question.steps)
    took = matched[complete, -1] - matched[complete, 0]
    groups = trend = None
    if question.by is not None:
        groups = groups_of(question, done, matched, columns.keys[question.by])
    if question.trend is not None:
        trend = tuple(_trend(question, columns, now, check))
    behind, more = _behind(question, done, columns)
    return FunnelAnswer(
        behind=behind,
        more=more,
        steps=steps_of(len(question.steps), done.level, matched),
        convert=times_of(took),
        histogram=histogram(took),
        open=found.open,
        groups=groups,
        trend=trend,
    )


def _behind(question: Funnel, done: Attempts, columns: Columns) -> tuple[tuple[str, ...] | None, bool]:
    """The subjects behind a step, by name, and whether there are more."""
    asked = question.behind
    if asked is None:
        return None, False
    reached = done.level >= asked.step
    chosen = reached if asked.state == "reached" else ~reached & (done.level >= asked.step - 1)
    names = sorted({columns.names[unit] for unit in done.unit[chosen].tolist()})
    names = [name for name in names if asked.after is None or name > asked.after]
    return tuple(names[: asked.limit]), len(names) > asked.limit


def _trend(
    question: Funnel, columns: Columns, now: datetime, check: Callable[[], None]
) -> Iterator[tuple[datetime, tuple[int, ...]]]:
    """One funnel a bucket of entry; a subject that enters in two of them is in both."""
    assert question.trend is not None and question.period.start is not None and question.period.end is not None
    starts = list(question.trend.starts(question.period.start, question.period.end))
    starts = [start for start in starts if start < question.period.end]
    engine = Engine(question, columns, now, check)
    for start in starts:
        low, high = to_ms(start), to_ms(question.trend.after(start))
        done = engine.found((low, high)).kept
        counts = steps_of(len(question.steps), done.level, None)
        yield start, tuple(step.count for step in counts)


class Engine:
    """A funnel's question, bound to columns."""

    def __init__(self, question: Funnel, columns: Columns, now: datetime, check: Callable[[], None]) -> None:
        assert question.period.start is not None and question.period.end is not None
        self.question, self.columns, self._check = question, columns, check
        self.now_ms = to_ms(now)
        self._from_ms, self._to_ms = to_ms(question.period.start), to_ms(question.period.end)
        self.sessions = sessions_of(columns) if question.window.sessions is not None else None

    def found(self, entered: tuple[int, int] | None = None) -> Found:
        """Attempts of all subjects; with `entered`, of entries between two times only."""
        kept, removed, by, open_ = [], [], [], 0
        for low, high in self._slices():
            self._check()
            rows = np.arange(low, high)
            part = self.columns.taken(rows)
            problem = self._problem(part, rows, entered)
            done = attempts(problem, self.question.entry, self._check)
            excluded = self._excluded(part, problem, done)
            gone = np.isin(done.unit, done.unit[excluded >= 0])
            stays = done.taken(~gone)
            open_ += int(self._open(problem, stays, rows).sum())
            kept.append(stays.of_rows(rows))
            removed.append(done.taken(gone).of_rows(rows))
            by.append(np.where(excluded >= 0, excluded + low, NO)[gone])
        steps = len(self.question.steps)
        return Found(joined(kept, steps), joined(removed, steps), np.concatenate([*by, np.empty(0, np.int64)]), open_)

    def _slices(self) -> Iterator[tuple[int, int]]:
        """Stretches of rows, each of whole subjects, of about SLICE rows."""
        starts = np.append(self.columns.starts(), self.columns.size)
        low = 0
        while low < self.columns.size:
            place = int(np.searchsorted(starts, low + SLICE, "right")) - 1
            high = int(starts[place]) if starts[place] > low else int(starts[place + 1])
            yield low, high
            low = high

    def _problem(self, part: Columns, rows: Array, entered: tuple[int, int] | None) -> Problem:
        """What is asked of a stretch of whole subjects."""
        question = self.question
        served = [part.bit(k) for k in range(len(question.steps))]
        low, high = entered or (self._from_ms, self._to_ms)
        in_range = (part.time >= max(low, self._from_ms)) & (part.time < min(high, self._to_ms))
        in_time = part.time <= self.now_ms
        if question.clip:
            in_time &= part.time < self._to_ms
        ordered = question.order != "any"
        steps = tuple(step & (in_time if ordered and k else in_time | in_range) for k, step in enumerate(served))
        entries = in_range & (served[0] if ordered else np.any(served, axis=0))
        rules, lanes = self._rules(part, served, rows), self._lanes(part, steps)
        return Problem(Rows(part.unit, part.time), entries, steps, rules, ordered, lanes)

    def _rules(self, part: Columns, served: list[Array], rows: Array) -> Rules:
        question, count = self.question, len(self.question.steps)
        bans = tuple(
            Ban(part.bit(count + number), one.first - 1, one.last - 1)
            for number, one in enumerate(question.exclusions)
            if one.mode == "stop"
        )
        blocks = None
        if question.order == "strict":
            scope = part.bit(count + len(question.exclusions))
            blocks = tuple(scope & ~step if question.collapse_repeats else scope for step in served)
        grace_ms = question.tie_grace_ms if question.order == "sequential" else 0
        if self.sessions is None:
            return Rules(question.window.ms, grace_ms, bans, blocks)
        assert question.window.sessions is not None
        limit = _session_ends(part.starts(), self.sessions[rows], question.window.sessions)
        return Rules(None, grace_ms, bans, blocks, limit)

    def _lanes(self, part: Columns, steps: tuple[Array, ...]) -> tuple[Array, Array] | None:
        """Pairs of a row that serves a step, and a combination of the values to hold constant that it has."""
        if not self.question.hold:
            return None
        used = np.flatnonzero(np.any(steps, axis=0))
        codes = np.stack([part.keys[name].codes[used] for name in self.question.hold])
        different, which = np.unique(codes, axis=1, return_inverse=True)
        known: dict[tuple[object, ...], int] = {}
        lanes = []
        for column in different.T.tolist():
            values = [
                part.keys[name].table[code] or (None,) for name, code in zip(self.question.hold, column, strict=True)
            ]
            lanes.append([known.setdefault(one, len(known)) for one in product(*values)])
        lengths = np.array([len(one) for one in lanes], np.int64)
        flat = np.array([lane for one in lanes for lane in one], np.int64)
        begins = np.cumsum(lengths) - lengths
        which = which.ravel()
        return np.repeat(used, lengths[which]), flat[ranges(begins[which], begins[which] + lengths[which])]

    def _excluded(self, part: Columns, problem: Problem, done: Attempts) -> Array:
        """Of each attempt the first row that removes it; NO where none does."""
        question, size = self.question, problem.rows.size
        first = np.full(len(done.unit), size, np.int64)
        ends = problem.rows.window_end(done.rows[:, 0], problem.rules) + 1
        for number, one in enumerate(question.exclusions, len(question.steps)):
            if one.mode == "remove":
                begun = done.level >= one.first
                place = first_after(part.bit(number), done.rows[:, one.first - 1])
                until = np.where(done.level >= one.last, done.rows[:, one.last - 1], ends)
                first = np.where(begun & (place < until), np.minimum(first, place), first)
        return np.where(first < size, first, NO)

    def _open(self, problem: Problem, done: Attempts, rows: Array) -> Array:
        """Attempts that aren't through, and have time left."""
        left = done.level < len(self.question.steps)
        entry, time = done.rows[:, 0], problem.rows.time
        if self.question.window.ms is not None:
            return np.asarray(left & (time[entry] + self.question.window.ms > self.now_ms))
        assert problem.rules.limit is not None and self.sessions is not None
        end = problem.rules.limit[entry]
        final = problem.rows.last[entry]
        seen = np.maximum.reduceat(self.sessions[rows], problem.rows.starts) if len(rows) else rows
        most = seen[np.searchsorted(problem.rows.starts, problem.rows.first[entry])]
        further = self.sessions[rows][entry] + (self.question.window.sessions or 0) - 1
        return np.asarray(left & (end == final) & ((further > most) | (time[end] + IDLE_MS > self.now_ms)))


def _session_ends(starts: Array, session: Array, count: int) -> Array:
    """The last row within so many sessions from each row's on; sessions that overlap end with the last of them."""
    lengths = np.diff(np.append(starts, len(session)))
    most = np.maximum.reduceat(session, starts) if len(starts) else np.empty(0, np.int64)
    base = np.cumsum(most + 1) - (most + 1)
    number = np.repeat(base, lengths) + session
    last = np.zeros(int((most + 1).sum()), np.int64)
    last[number] = np.arange(len(session))
    last = np.maximum.accumulate(last)
    final = np.repeat(base + most, lengths)
    return np.asarray(last[np.minimum(number + count - 1, final)])
