"""Paths by brute force. Reads as the query contract, section 5, is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from columned import total_order

from metronome.periods import to_ms
from metronome.query.condition import typed, values_of
from metronome.query.journeys.questions import Paths
from oracles.sessions import sessions

Event = dict[str, Any]


def paths(question: Paths, events: Sequence[Event], now: datetime) -> list[list[tuple[Any, int]]]:
    """Every path as its nodes, typed or None, with the time of each."""
    found = []
    for name in sorted({str(event[question.subject]) for event in events if event.get(question.subject) is not None}):
        own = sorted((event for event in events if str(event.get(question.subject)) == name), key=total_order)
        rows = list(zip(own, sessions(own), strict=True))
        if question.backward:
            rows.reverse()
        place = 0
        while place < len(rows):
            if not opens(question, rows[place][0]):
                place += 1
                continue
            taken = stretch(question, rows[place:], now)
            found.append([(node(question, event), event["@timestamp"]) for event in named(question, taken)])
            place += len(taken)
    return found


def opens(question: Paths, event: Event) -> bool:
    assert question.period.start is not None and question.period.end is not None
    return to_ms(question.period.start) <= event["@timestamp"] < to_ms(question.period.end) and question.start.holds(
        event
    )


def stretch(question: Paths, rows: list[tuple[Event, int]], now: datetime) -> list[Event]:
    """The events of the path that the first row opens, collapsed ones included."""
    taken = [rows[0]]
    for row in rows[1:]:
        (before, session), (event, its) = taken[-1], row
        if len(named(question, [one for one, _ in taken])) > question.depth:
            break
        if abs(event["@timestamp"] - before["@timestamp"]) > question.within_ms:
            break
        if its != session and not question.across_sessions:
            break
        if event["@timestamp"] > to_ms(now) and not question.backward:
            break
        taken.append(row)
    return [event for event, _ in taken]


def named(question: Paths, events: list[Event]) -> list[Event]:
    """Without repeats of the node before."""
    if not question.collapse_repeats:
        return events
    return [event for n, event in enumerate(events) if not n or node(question, event) != node(question, events[n - 1])]


def node(question: Paths, event: Event) -> Any:
    values = values_of(event, question.node)
    return typed(values[0]) if values else None
