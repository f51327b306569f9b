"""Registers who answers questions about journeys. What computes is imported with the first question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from metronome.periods import Period
from metronome.query.door import Sources, answers
from metronome.query.journeys.questions import Funnel, Lifecycle, Paths, Retention


@answers(Funnel)
@answers(Retention)
@answers(Lifecycle)
@answers(Paths)
def _answer(questions: Sequence[Any], sources: Sources, now: datetime) -> list[Any]:
    return [_answered(question, sources, now) for question in questions]


def _answered(question: Any, sources: Sources, now: datetime) -> Any:
    # The path of a tick stays light: a worker that is never asked loads neither numpy nor DuckDB.
    from metronome.query.journeys.engine import answer

    assert sources.days is not None
    # A first event may lie on any day before, a completion on any day after.
    sources.index.refuse_closed(Period())
    # Read before the parts: what is acknowledged while they are brought up to date may be missed.
    watermark = sources.index.watermark(now)
    days = sources.days.beside(sources.archived)
    with days.turn() as budget:
        found = answer(question, days, now, budget)
        return replace(found, watermark=watermark, events=budget.events, archived=days.read_archived())
