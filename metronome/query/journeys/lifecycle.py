"""Lifecycle, answered from columns: in which state each subject is in each period.

    new            active, and never before the period
    returning      active, and in the period before as well
    resurrecting   active, not in the period before, but earlier
    dormant        not active, but in the period before

Bit 0 of a row says that the subject is active. A subject counts as active in a period by its events within the
question's range, so these three add up to the unique subjects of a trend. What was before or after the range, in whole
periods, is history: it says who is new, and who was only away from the range. Source: semantics, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

import numpy as np

from metronome.periods import to_ms
from metronome.query.body import MAX_BUCKETS, too_many_buckets
from metronome.query.condition import Condition
from metronome.query.journeys.answers import LifecycleAnswer, State
from metronome.query.journeys.columns import Array, Columns, distinct, firsts
from metronome.query.journeys.questions import Lifecycle

STATES = ("new", "returning", "resurrecting", "dormant")


def conditions(question: Lifecycle) -> tuple[Condition, ...]:
    return (question.active,)


def periods(question: Lifecycle) -> list[datetime]:
    """The starts of the periods that the range touches, and behind them the end of the last one."""
    start, end = question.period.start, question.period.end
    assert start is not None and end is not None
    starts = list(islice(question.every.starts(start, end - timedelta(milliseconds=1)), MAX_BUCKETS + 1))
    if len(starts) > MAX_BUCKETS:
        raise too_many_buckets()
    return [*starts, question.every.after(starts[-1])]


def answer(question: Lifecycle, columns: Columns, now: datetime) -> LifecycleAnswer:
    engine = Engine(question, columns, now)
    count = len(engine.starts)
    states = []
    for name, (unit, period) in engine.found().items():
        values: list[int | None] = np.bincount(period, minlength=count).tolist()
        if name == "dormant":
            # Who was away so far may still come while the period runs.
            values = [value if ended else None for value, ended in zip(values, engine.complete, strict=True)]
        states.append(State(name, tuple(values), len(distinct(unit))))
    return LifecycleAnswer(starts=tuple(engine.starts), complete=tuple(engine.complete), states=tuple(states))


@dataclass(frozen=True)
class Pairs:
    """Subjects with the periods that they are active in, as ascending keys: subject * width + number of the period.

    Period 0 is the one before the first that is asked for.
    """

    keys: Array

    def has(self, keys: Array) -> Array:
        """Which of the keys are there."""
        place = np.searchsorted(self.keys, keys)
        found = np.zeros(len(keys), bool)
        inside = place < len(self.keys)
        found[inside] = self.keys[place[inside]] == keys[inside]
        return found


class Engine:
    """`starts` are the periods asked for, `complete` says of each whether it has ended."""

    def __init__(self, question: Lifecycle, columns: Columns, now: datetime) -> None:
        assert question.period.start is not None and question.period.end is not None
        *self.starts, end = periods(question)
        before = question.every.start_of(self.starts[0] - timedelta(milliseconds=1))
        self.edges = np.array([to_ms(edge) for edge in (before, *self.starts, end)], np.int64)
        self.complete = [bool(edge <= to_ms(now)) for edge in self.edges[2:]]
        self._by_lifecycle = question.split == "lifecycle"
        self.rows = np.flatnonzero(columns.bit(0) & (columns.time < self.edges[-1]))
        self.unit, self.time = columns.unit[self.rows].astype(np.int64), columns.time[self.rows]
        # -1 is all that was before.
        self.period = np.searchsorted(self.edges, self.time, "right") - 1
        low, high = to_ms(question.period.start), to_ms(question.period.end)
        self.counted = (self.time >= low) & (self.time < high)
        self.width = len(self.edges) + 1
        self._first = np.full(len(columns.names), -1, np.int64)
        begins = firsts(self.unit)
        self._first[self.unit[begins]] = self.period[begins]

    def found(self) -> dict[str, tuple[Array, Array]]:
        """The subjects of each state, each with the number of its period from 0: those that `split` tells apart."""
        held = self._pairs(self.period >= 0)
        keys = self._pairs(self.counted).keys
        unit, period = np.divmod(keys, self.width)
        new = self._first[unit] == period
        states = {"new": new, "returning": ~new}
        if self._by_lifecycle:
            before = held.has(keys - 1) & ~new
            states |= {"returning": before, "resurrecting": ~new & ~before}
        found = {name: (unit[chosen], period[chosen] - 1) for name, chosen in states.items()}
        return found | {"dormant": self._dormant(held)} if self._by_lifecycle else found

    def _pairs(self, chosen: Array) -> Pairs:
        keys = self.unit[chosen] * self.width + self.period[chosen]
        return Pairs(keys[firsts(keys)])

    def _dormant(self, held: Pairs) -> tuple[Array, Array]:
        unit, period = np.divmod(held.keys[~held.has(held.keys + 1)], self.width)
        kept = period < len(self.starts)
        kept[kept] = np.array(self.complete, bool)[period[kept]]
        return unit[kept], period[kept]
