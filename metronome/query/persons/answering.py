"""Registers who answers questions about persons. What computes is imported with the first question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from metronome.periods import Period
from metronome.query.answer import Answer
from metronome.query.condition import Condition
from metronome.query.door import Sources, answers
from metronome.query.persons.questions import EventsOf, Evidence, FromParts, Members, PropertiesOf
from metronome.query.persons.rules import Did, Ids, leaves_of, rules_of

if TYPE_CHECKING:
    from metronome.query.journeys.days import Budget
    from metronome.query.persons.scene import Scene


@answers(FromParts)
def _count(questions: Sequence[FromParts], sources: Sources, now: datetime) -> list[Answer]:
    from metronome.query.persons import counting
    from metronome.query.persons.scene import open_scene

    assert sources.days is not None
    for period in dict.fromkeys(_needed(question.period, question.where) for question in questions):
        sources.index.refuse_closed(period)
    # Read before the parts: what is acknowledged while they are brought up to date may be missed.
    watermark = sources.index.watermark(now)
    found: dict[int, Answer] = {}
    days = sources.days.beside(sources.archived)
    with days.turn() as budget:
        scenes = {as_of: open_scene(days, budget, as_of) for as_of in {one.as_of for one in questions}}
        for period, as_of in dict.fromkeys((question.period, question.as_of) for question in questions):
            numbers = [
                n for n, question in enumerate(questions) if (question.period, question.as_of) == (period, as_of)
            ]
            answered = counting.answer([questions[n] for n in numbers], scenes[as_of], now)
            found.update(zip(numbers, answered, strict=True))
    archived = days.read_archived()
    return [replace(found[number], watermark=watermark, archived=archived) for number in range(len(questions))]


@answers(Evidence)
@answers(Members)
def _answer(questions: Sequence[Any], sources: Sources, now: datetime) -> list[Any]:
    return [_answered(question, sources, now) for question in questions]


def _answered(question: Any, sources: Sources, now: datetime) -> Any:
    from metronome.query.persons import evidence, listing

    # First and last seen are of all times.
    period = Period() if isinstance(question, Members) else question.period
    watermark = sources.index.watermark(now)
    with _opened(question, period, sources) as (scene, budget):
        answer = evidence.answer if isinstance(question, Evidence) else listing.answer
        return replace(answer(question, scene, now), watermark=watermark, events=budget.events)


@answers(EventsOf)
@answers(PropertiesOf)
def _read(questions: Sequence[Any], sources: Sources, now: datetime) -> list[Any]:
    return [_documents(question, sources, now) for question in questions]


def _documents(question: Any, sources: Sources, now: datetime) -> Any:
    from metronome.query.persons import documents

    with _opened(question, question.period, sources) as (scene, _):
        if isinstance(question, EventsOf):
            return documents.listed(question, scene, now)
        return documents.described(question, scene)


@contextmanager
def _opened(question: Any, period: Period, sources: Sources) -> Iterator[tuple[Scene, Budget]]:
    """Everybody as the question wants them known, and what it may use. Raises DaysClosed."""
    from metronome.query.persons.scene import open_scene

    assert sources.days is not None
    sources.index.refuse_closed(_needed(period, question.where))
    days = sources.days.beside(sources.archived)
    with days.turn() as budget:
        yield open_scene(days, budget, question.as_of), budget


def _needed(period: Period, where: Condition) -> Period:
    """The days that an answer needs, with those that tell who meets its rules."""
    asked = [period]
    for leaf in (leaf for one in rules_of(where) for leaf in leaves_of(one.rule)):
        if not isinstance(leaf, Ids):
            # A property may have been set at any time.
            asked.append(leaf.period if isinstance(leaf, Did) else Period())
    starts, ends = [one.start for one in asked], [one.end for one in asked]
    return Period(
        None if None in starts else min(start for start in starts if start is not None),
        None if None in ends else max(end for end in ends if end is not None),
    )
