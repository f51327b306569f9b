"""Paths, answered from columns: what follows a start, one event after another.

Each start opens one path, the next only after this one ended. A path ends after `depth` events, with a pause longer
than `within`, or with the session. Bit 0 of a row is the start. To look backward the rows are turned around.
Source: query contract, section 5.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np

from metronome.periods import to_ms
from metronome.query.condition import Condition
from metronome.query.journeys.answers import NONE, OTHER, Link, Node, PathsAnswer
from metronome.query.journeys.columns import Array, Columns, sessions_of
from metronome.query.journeys.questions import Paths

#: Starts between two looks at the clock.
_CHECKED = 10_000

#: A path: the number of the node of each step, and the time of each in milliseconds.
Path = tuple[tuple[int, ...], tuple[int, ...]]


def conditions(question: Paths) -> tuple[Condition, ...]:
    return (question.start,)


def fields(question: Paths) -> tuple[str, ...]:
    return (question.node,)


def answer(question: Paths, columns: Columns, now: datetime, check: Callable[[], None] = lambda: None) -> PathsAnswer:
    """The answer; `check` is called now and then and may raise to stop the work."""
    keys = columns.keys[question.node]
    # The first value of a row names its node; the same value is the same node.
    known: dict[Any, int] = {}
    names = [values[0] if values else None for values in keys.table]
    number = np.array([known.setdefault(name, len(known)) for name in names], np.int64)
    node = number[keys.codes] if len(number) else np.empty(0, np.int64)
    found = list(_walk(question, columns, node, now, check))
    return _drawn(question, found, list(known))


def _walk(question: Paths, columns: Columns, node: Array, now: datetime, check: Callable[[], None]) -> Iterator[Path]:
    assert question.period.start is not None and question.period.end is not None
    in_range = (columns.time >= to_ms(question.period.start)) & (columns.time < to_ms(question.period.end))
    starts = columns.bit(0) & in_range
    ends = _ends(question, columns, now)
    time = columns.time
    if question.backward:
        starts, node, time = starts[::-1], node[::-1], time[::-1]
    rows, nodes, times = np.flatnonzero(starts).tolist(), node.tolist(), time.tolist()
    after, stops = 0, ends.tolist()
    for count, row in enumerate(rows):
        if count % _CHECKED == 0:
            check()
        if row >= after:
            path, after = _path(question, row, nodes, times, stops)
            yield path


def _ends(question: Paths, columns: Columns, now: datetime) -> Array:
    """Whether a path that is at a row ends there: nothing of the subject, the session or the time comes next."""
    unit, time = columns.unit, columns.time
    apart = (unit[1:] != unit[:-1]) | (time[1:] - time[:-1] > question.within_ms)
    if not question.backward:
        apart |= time[1:] > to_ms(now)
    if not question.across_sessions:
        sessions = sessions_of(columns)
        apart |= sessions[1:] != sessions[:-1]
    if question.backward:
        apart = apart[::-1]
    return np.append(apart, True)


def _path(question: Paths, row: int, nodes: list[int], times: list[int], stops: list[bool]) -> tuple[Path, int]:
    """The path from a row, and the first row after it."""
    path, moments = [nodes[row]], [times[row]]
    while len(path) <= question.depth and not stops[row]:
        row += 1
        if question.collapse_repeats and nodes[row] == path[-1]:
            continue
        path.append(nodes[row])
        moments.append(times[row])
    return (tuple(path), tuple(moments)), row + 1


def _drawn(question: Paths, paths: list[Path], names: list[Any]) -> PathsAnswer:
    shown = [_shown(question, paths, names, step) for step in range(question.depth + 1)]
    nodes: Counter[tuple[int, Any]] = Counter()
    ended: Counter[tuple[int, Any]] = Counter()
    took: dict[tuple[int, Any, Any], list[int]] = {}
    for path, moments in paths:
        labels = [shown[step].get(node, OTHER) for step, node in enumerate(path)]
        nodes.update(enumerate(labels))
        if len(path) <= question.depth:
            ended[len(path) - 1, labels[-1]] += 1
        for step in range(len(path) - 1):
            pair = (step, labels[step], labels[step + 1])
            took.setdefault(pair, []).append(abs(moments[step + 1] - moments[step]))
    return PathsAnswer(
        paths=len(paths),
        nodes=tuple(Node(step, _plain(name), count) for (step, name), count in _ordered(nodes)),
        links=tuple(
            Link(step, _plain(source), _plain(target), len(times), _median(times) / 1000)
            for (step, source, target), times in sorted(took.items(), key=lambda one: _link_order(one[0], one[1]))
        ),
        ended=tuple(Node(step, _plain(name), count) for (step, name), count in _ordered(ended)),
    )


def _shown(question: Paths, paths: list[Path], names: list[Any], step: int) -> dict[int, Any]:
    """The nodes of a step that keep their names: its `top`; ties by name."""
    counts = Counter(path[step] for path, _ in paths if len(path) > step)
    order = sorted(counts, key=lambda node: (-counts[node], names[node] is None, names[node] or ()))
    return {node: NONE if names[node] is None else names[node] for node in order[: question.top]}


def _ordered(counts: Counter[tuple[int, Any]]) -> list[tuple[tuple[int, Any], int]]:
    return sorted(counts.items(), key=lambda one: (one[0][0], -one[1], _sortable(one[0][1])))


def _link_order(pair: tuple[int, Any, Any], times: list[int]) -> Any:
    return pair[0], -len(times), _sortable(pair[1]), _sortable(pair[2])


def _sortable(name: Any) -> tuple[Any, ...]:
    # ("text", "view"), then $other, then $none
    return (1, name) if isinstance(name, str) else (0, *name)


def _plain(name: Any) -> Any:
    return name if isinstance(name, str) else name[1]


def _median(times: list[int]) -> int:
    return sorted(times)[-(-len(times) // 2) - 1]
