"""Registers who answers questions about persons. What computes is imported with the first question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from metronome.periods import Period
from metronome.query.answer import Answer
from metronome.query.condition import Condition
from metronome.query.door import Sources, answers, refuse_other_days
from metronome.query.persons.questions import Evidence, FromParts, Members
from metronome.query.persons.rules import asks_persons


@answers(FromParts)
def _count(questions: Sequence[FromParts], sources: Sources, now: datetime) -> list[Answer]:
    from metronome.query.persons import counting
    from metronome.query.persons.scene import open_scene

    assert sources.days is not None
    for period in dict.fromkeys(_needed(question.period, question.where) for question in questions):
        _refuse_missing(period, sources)
    # Read before the parts: what is acknowledged while they are brought up to date may be missed.
    watermark = sources.index.watermark(now)
    found: dict[int, Answer] = {}
    with sources.days.turn() as budget:
        scenes = {as_of: open_scene(sources.days, budget, as_of) for as_of in {one.as_of for one in questions}}
        for period, as_of in dict.fromkeys((question.period, question.as_of) for question in questions):
            numbers = [
                n for n, question in enumerate(questions) if (question.period, question.as_of) == (period, as_of)
            ]
            answered = counting.answer([questions[n] for n in numbers], scenes[as_of], now)
            found.update(zip(numbers, answered, strict=True))
    return [replace(found[number], watermark=watermark) for number in range(len(questions))]


@answers(Evidence)
@answers(Members)
def _answer(questions: Sequence[Any], sources: Sources, now: datetime) -> list[Any]:
    return [_answered(question, sources, now) for question in questions]


def _answered(question: Any, sources: Sources, now: datetime) -> Any:
    from metronome.query.persons import evidence, listing
    from metronome.query.persons.scene import open_scene

    assert sources.days is not None
    # First and last seen are of all times.
    period = Period() if isinstance(question, Members) else question.period
    _refuse_missing(_needed(period, question.where), sources)
    watermark = sources.index.watermark(now)
    with sources.days.turn() as budget:
        scene = open_scene(sources.days, budget, question.as_of)
        answer = evidence.answer if isinstance(question, Evidence) else listing.answer
        return replace(answer(question, scene, now), watermark=watermark, events=budget.events)


def _needed(period: Period, where: Condition) -> Period:
    """The days that an answer needs: what is known of a person may have been said at any time."""
    return Period() if asks_persons(where) else period


def _refuse_missing(period: Period, sources: Sources) -> None:
    """Raises BadQuestion or DaysClosed where some of these days have no part."""
    refuse_other_days(period, sources, "figures of persons")
    sources.index.refuse_closed(period)
