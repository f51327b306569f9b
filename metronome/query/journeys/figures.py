"""A funnel's figures: counts by step, times, groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from metronome.query.journeys.answers import Step, Times
from metronome.query.journeys.attempts import Attempts
from metronome.query.journeys.columns import Array, Keys
from metronome.query.journeys.grouping import Grouped, grouped, paired, paired_by_keys
from metronome.query.journeys.questions import Funnel

#: Edges of the histogram, in seconds: a minute, ten, an hour, six, a day, three, a week, thirty days.
EDGES_S = (0, 60, 600, 3600, 21_600, 86_400, 259_200, 604_800, 2_592_000)


def steps_of(count: int, level: Array, matched: Array | None) -> tuple[Step, ...]:
    """Counts by step; with the times of the matched events also how long each step took."""
    found = []
    for k in range(count):
        reached = level > k
        took = None
        if k and matched is not None:
            took = times_of(matched[reached, k] - matched[reached, k - 1])
        found.append(Step(int(reached.sum()), took))
    return tuple(found)


def times_of(took_ms: Array) -> Times:
    """Figures of durations; median and p90 by nearest rank."""
    count = len(took_ms)
    if not count:
        return Times(0, None, None, None, None, None)
    ordered = np.sort(took_ms)
    median, p90 = (int(ordered[-(-count * percent // 100) - 1]) / 1000 for percent in (50, 90))
    mean = int(ordered.sum()) / count / 1000
    return Times(count, mean, median, p90, int(ordered[0]) / 1000, int(ordered[-1]) / 1000)


def histogram(took_ms: Array) -> tuple[tuple[float, float, int], ...]:
    """Rows of (from s, to s, count), the end excluded, up to the longest; the last one ends after it."""
    if not len(took_ms):
        return ()
    low, high = int(took_ms.min()) / 1000, int(took_ms.max()) / 1000
    edges: list[float] = [low] if low < 0 else []
    edges += [edge for edge in EDGES_S if edge <= max(high, 0)]
    further = [edge for edge in EDGES_S if edge > high]
    edges.append(further[0] if further else int(high) + 1)
    counts, _ = np.histogram(took_ms / 1000, edges)
    return tuple((low, high, int(count)) for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True))


def groups_of(question: Funnel, done: Attempts, matched: Array, keys: Keys) -> tuple[tuple[Any, tuple[Step, ...]], ...]:
    """Steps by group: largest first, ties by value, then `$other` and `$none`."""
    steps = len(question.steps)
    return tuple(
        (name, steps_of(steps, done.level[members], matched[members]))
        for name, members in grouped(_attributed(question, done, keys))
    )


def _attributed(question: Funnel, done: Attempts, keys: Keys) -> Grouped:
    """Each attempt with the values that it belongs to."""
    everybody = np.arange(len(done.unit))
    if question.attribution == "all":
        return paired(everybody, [_shared(keys, rows[rows >= 0]) for rows in done.rows])
    if question.attribution == "first":
        members, place = everybody, np.zeros_like(everybody)
    elif question.attribution == "last":
        members, place = everybody, done.level.astype(np.int64) - 1
    else:
        members = np.flatnonzero(done.level >= question.attribution)
        place = np.full(len(members), question.attribution - 1)
    return paired_by_keys(members, keys, done.rows[members, place])


def _shared(keys: Keys, rows: Array) -> tuple[Any, ...]:
    """The values that all of the rows have; None where none of them has any."""
    found = [keys.table[code] for code in np.unique(keys.codes[rows]).tolist()]
    if not any(found):
        return (None,)
    return tuple(value for value in found[0] if all(value in others for others in found[1:]))
