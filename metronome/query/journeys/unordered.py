"""Funnels of order `any`: distinct events for distinct steps in one window, in whatever order.

An event counts if with it more steps are served than without: of the events of a window in order, the k-th that counts
is the k-th match. Where no event may serve two steps, that is the first event of each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metronome.query.journeys.cascade import NO, Rows, Rules
from metronome.query.journeys.columns import Array, firsts


def best(rows: Rows, entries: Array, steps: Sequence[Array], rules: Rules) -> tuple[Array, Array, Array]:
    """Of each subject with an entry: its number, the most steps that a window serves, and the first such rows."""
    entry = np.flatnonzero(entries)
    ends = rows.window_end(entry, rules)
    if (np.sum(steps, axis=0, dtype=np.int8) > 1).any():
        matched = _matched(entry, ends, steps)
    else:
        matched = _firsts(entry, ends, steps)
    level = (matched >= 0).sum(axis=1)
    order = np.lexsort((entry, -level, rows.first[entry]))
    kept = order[firsts(rows.first[entry][order])]
    return rows.unit[entry[kept]], level[kept].astype(np.int8), matched[kept]


def _firsts(entry: Array, ends: Array, steps: Sequence[Array]) -> Array:
    found = np.empty((len(entry), len(steps)), np.int64)
    beyond = np.iinfo(np.int64).max
    for k, step in enumerate(steps):
        places = np.append(np.flatnonzero(step), beyond)
        row = places[np.searchsorted(places, entry, "left")]
        found[:, k] = np.where(row <= ends, row, beyond)
    found.sort(axis=1)
    return np.where(found == beyond, NO, found)


def _matched(entry: Array, ends: Array, steps: Sequence[Array]) -> Array:
    """The same where events may serve several steps: a matching, grown event by event."""
    found = np.full((len(entry), len(steps)), NO, np.int64)
    places = np.flatnonzero(np.any(steps, axis=0))
    serves = {int(row): [k for k, step in enumerate(steps) if step[row]] for row in places}
    for number, (low, high) in enumerate(zip(entry.tolist(), ends.tolist(), strict=True)):
        served: dict[int, int] = {}
        first, last = np.searchsorted(places, [low, high + 1])
        for row in places[first:last].tolist():
            if _serve(row, serves, served, set()):
                found[number, len(served) - 1] = row
                if len(served) == len(steps):
                    break
    return found


def _serve(row: int, serves: dict[int, list[int]], served: dict[int, int], tried: set[int]) -> bool:
    """Give the row a step, moving others to further steps where that helps."""
    for step in serves[row]:
        if step in tried:
            continue
        tried.add(step)
        if step not in served or _serve(served[step], serves, served, tried):
            served[step] = row
            return True
    return False
