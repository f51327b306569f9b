"""Which events of one subject an answer is made of, and why it goes no further."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np

from metronome.query.journeys.answers import Lived, Matched, Membership, Stopped, Witness
from metronome.query.journeys.funnel import Engine
from metronome.query.journeys.lifecycle import Engine as Living
from metronome.query.journeys.load import Loaded
from metronome.query.journeys.questions import Funnel, Lifecycle, Retention, Window
from metronome.query.journeys.retention import Engine as Retained
from metronome.settings import Settings
from metronome.store.names import day_index


def of_funnel(question: Funnel, loaded: Loaded, now: datetime, settings: Settings) -> Witness:
    """The witness of the only subject that was loaded; level 0 where it never entered. Of attempts the first."""
    found = Engine(question, loaded.columns, now, _nothing).found()
    done = found.kept if len(found.kept.unit) else found.removed
    if not len(done.unit):
        return Witness(0, ())
    rows = [int(row) for row in done.rows[0] if row >= 0]
    events = tuple(_matched(loaded, row, step, settings) for step, row in enumerate(rows, 1))
    stopped = None
    if len(found.removed.unit):
        by = int(found.removed_by[found.removed_by >= 0][0])
        stopped = Stopped(min(len(rows) + 1, len(question.steps)), "exclusion", _matched(loaded, by, 0, settings))
    elif len(rows) < len(question.steps):
        stopped = _stopped(question, loaded, rows, now, settings)
    return Witness(len(rows), events, stopped)


def _nothing() -> None:
    """Nothing to check: one subject's events are few."""


def _stopped(question: Funnel, loaded: Loaded, rows: list[int], now: datetime, settings: Settings) -> Stopped:
    """Why the step after the last one isn't reached from the witness's entry: the rule without which it would be."""
    step = len(rows) + 1
    for reason, relaxed in _relaxed(question):
        further = _level_from(relaxed, loaded, rows[0], now)
        if len(further) >= step:
            row = _culprit(question, loaded, reason, rows, further)
            return Stopped(step, reason, _matched(loaded, row, step if reason == "window" else 0, settings))
    served = np.flatnonzero(loaded.columns.bit(step - 1))
    before = served[served != rows[0]]
    before = before[before < rows[-1]] if question.order != "any" else before[:0]
    if len(before):
        return Stopped(step, "order", _matched(loaded, int(before[-1]), step, settings))
    return Stopped(step, "no_event", None)


def _relaxed(question: Funnel) -> list[tuple[str, Funnel]]:
    """The question without one of its rules, in the order in which they are blamed."""
    longest = Window(366 * 10 * 86_400_000)
    found = []
    if any(one.mode == "stop" for one in question.exclusions):
        kept = tuple(one for one in question.exclusions if one.mode != "stop")
        found.append(("exclusion", replace(question, exclusions=kept)))
    if question.order == "strict":
        found.append(("order", replace(question, order="sequential")))
    found.append(("window", replace(question, window=longest, clip=False)))
    return found


def _level_from(question: Funnel, loaded: Loaded, entry: int, now: datetime) -> list[int]:
    """The rows matched from one entry, whatever the other entries are."""
    columns = loaded.columns.taken(np.arange(loaded.columns.size))
    bits = columns.bits.copy()
    first = np.uint64(1)
    others = np.arange(columns.size) != entry
    if question.order != "any":
        bits[others] &= ~first
    asked = replace(question, entry="first", hold=question.hold)
    found = Engine(asked, replace(columns, bits=bits), now, _nothing).found()
    done = found.kept if len(found.kept.unit) else found.removed
    return [int(row) for row in done.rows[0] if row >= 0] if len(done.unit) else []


def _culprit(question: Funnel, loaded: Loaded, reason: str, rows: list[int], further: list[int]) -> int:
    """The event that shows the reason: what was excluded, what stood between, or what came too late."""
    columns = loaded.columns
    step = len(rows)
    if reason == "window":
        return further[step]
    if reason == "order":
        scope = columns.bit(len(question.steps) + len(question.exclusions))
        between = np.flatnonzero(scope & ~columns.bit(step - 1))
        between = between[(between > further[step - 1]) & (between < further[step])]
        return int(between[0]) if len(between) else further[step]
    for number, one in enumerate(question.exclusions, len(question.steps)):
        if one.mode == "stop" and one.last <= step + 1:
            rows_ = np.flatnonzero(columns.bit(number))
            inside = rows_[(rows_ > further[one.first - 1]) & (rows_ < further[one.last - 1])]
            if len(inside):
                return int(inside[0])
    return further[step]


def of_retention(question: Retention, loaded: Loaded, now: datetime, settings: Settings) -> tuple[Membership, ...]:
    """The cohorts that the only loaded subject is in, with its first return in each cell."""
    engine = Retained(question, loaded.columns, now, _nothing)
    found = []
    for number, row in enumerate(engine.members.row.tolist()):
        own = engine.hits.member == number
        returns: dict[int, Matched] = {}
        for cell, (low, high) in enumerate(engine.cells):
            inside = engine.hits.row[own & (engine.hits.index >= low) & (engine.hits.index <= high)]
            if len(inside):
                returns[cell] = _matched(loaded, int(inside.min()), cell, settings)
        birth = _matched(loaded, row, 0, settings)
        found.append(Membership(engine.cohorts[int(engine.members.cohort[number])], birth, returns))
    return tuple(found)


def of_lifecycle(question: Lifecycle, loaded: Loaded, now: datetime, settings: Settings) -> tuple[Lived, ...]:
    """The states of the only loaded subject, with the events that show them."""
    engine = Living(question, loaded.columns, now)
    states = {int(number): name for name, (_, period) in engine.found().items() for number in period}
    found = []
    for number in sorted(states):
        inside = engine.rows[engine.counted & (engine.period == number + 1)]
        before = engine.rows[engine.period <= number]
        event = _matched(loaded, int(inside[0]), 0, settings) if len(inside) else None
        last = _matched(loaded, int(before[-1]), 0, settings) if len(before) else None
        found.append(Lived(engine.starts[number], states[number], event, last))
    return tuple(found)


def _matched(loaded: Loaded, row: int, step: int, settings: Settings) -> Matched:
    day, found = loaded.document(row)
    return Matched(step, found, day_index(settings, day), int(loaded.columns.time[row]))
