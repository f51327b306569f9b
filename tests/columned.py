"""Events as columns, by plain Python: what reading from day parts has to give as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metronome.query.condition import Condition, is_number, typed, values_of
from metronome.query.journeys.columns import Columns, Keys

Event = dict[str, Any]


def total_order(event: Event) -> Any:
    """Source: semantics, section 1. A missing `seq` sorts first."""
    seq = event.get("seq")
    return event["@timestamp"], seq is not None, seq or 0, event.get("received_at", 0), event.get("_id", "")


def columns_of(
    events: Sequence[Event],
    subject: str,
    conditions: Sequence[Condition],
    fields: Sequence[str] = (),
    number: str | None = None,
) -> Columns:
    """`@timestamp` in milliseconds; `place` is the event's place in `events`."""
    subjects = sorted({str(event[subject]) for event in events if event.get(subject) is not None})
    rows = [place for place, event in enumerate(events) if event.get(subject) is not None]
    rows.sort(key=lambda place: (str(events[place][subject]), total_order(events[place])))
    chosen = [events[place] for place in rows]
    sessions: dict[Any, int] = {}
    return Columns(
        subjects,
        np.array([subjects.index(str(event[subject])) for event in chosen], np.int32),
        np.array([event["@timestamp"] for event in chosen], np.int64),
        np.array([sum(1 << n for n, one in enumerate(conditions) if one.holds(event)) for event in chosen], np.uint64),
        np.array(rows, np.int64),
        np.array(
            [
                -1 if event.get("session_id") is None else sessions.setdefault(event["session_id"], len(sessions))
                for event in chosen
            ],
            np.int32,
        ),
        {name: _keys(chosen, name) for name in fields},
        np.array([_sum(event, number) for event in chosen], np.float64) if number else None,
    )


def _keys(events: Sequence[Event], name: str) -> Keys:
    table: dict[Any, int] = {}
    codes = [table.setdefault(tuple(dict.fromkeys(map(typed, values_of(event, name)))), len(table)) for event in events]
    return Keys(np.array(codes, np.int32), list(table))


def _sum(event: Event, name: str) -> float:
    numbers = [value for value in values_of(event, name) if is_number(value)]
    return float(sum(numbers)) if numbers else float("nan")
