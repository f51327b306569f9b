"""More than one source: a period is cut among those that hold its days, and the merged answers equal the whole."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from conftest import Gateway
from test_numbers import fill, random_events

from metronome.event.fields import Event
from metronome.periods import Every, Period
from metronome.query import (
    PEOPLE,
    All,
    Answer,
    Between,
    Count,
    Is,
    Max,
    Mean,
    Min,
    Percentile,
    Question,
    Ranges,
    Sum,
    Unique,
    Values,
    open_door,
)
from metronome.query.door import Sources, cut
from metronome.query.partial import Partial, tallied

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 10, 23, tzinfo=UTC)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


class Memory:
    """A source of some whole days, in memory: plain loops over their events."""

    def __init__(self, events: list[Event], held: list[Period]) -> None:
        self.events = [{"@timestamp": event["at"], **event} for event in events]
        self.held = held
        self.asked: list[Period] = []

    def holds(self, period: Period) -> list[Period]:
        return [part for part in self.held if _inside(part, period)]

    def partials(self, questions: Sequence[Question], *, alone: bool) -> list[Partial]:
        period = questions[0].period
        assert period.start is not None and period.end is not None
        self.asked.append(period)
        events = [event for event in self.events if period.start <= event["at"] < period.end]
        return [tallied(question, events) for question in questions]


def _inside(part: Period, period: Period) -> bool:
    assert part.start is not None and part.end is not None
    return (period.start is None or period.start <= part.start) and (period.end is None or part.end <= period.end)


QUESTIONS = [
    Question(PEOPLE, measure, by)
    for measure in (
        Count(),
        Unique("distinct_id"),
        Sum("price"),
        Mean("price"),
        Min("price"),
        Max("price"),
        Percentile("price", 90),
    )
    for by in (
        (),
        (Every("day", tz=BERLIN),),
        (Values("tag", missing=True),),
        (Every("hour"), Values("mixed")),
        (Ranges("price", ((None, 2), (2, 6), (5, None))), Every("week", tz=BERLIN, week_start=6)),
    )
] + [
    Question(All(Is("event", "buy"), Between("price", gt=2)), Count(), (Every("minute", 10, tz=BERLIN),)),
    Question(PEOPLE, Unique("tag"), (Every("day", 2),)),
]


@pytest.mark.parametrize(
    "held",
    [
        pytest.param([Period(day(1), day(2)), Period(day(3), day(4))], id="two days in the middle"),
        pytest.param([Period(day(0), day(3))], id="the first days"),
        pytest.param([Period(day(0), day(5))], id="all days"),
        pytest.param([], id="none"),
    ],
)
def test_answers_merged_from_two_sources_equal_the_whole(gateway: Gateway, held: list[Period]) -> None:
    events = random_events(random.Random(11), START, 5, 150)
    fill(gateway, [event for event in events if not any(_holds(part, event["at"]) for part in held)])
    memory = Memory(events, held)
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: day(6), memory)
    period = Period(day(0), day(5))
    questions = [Question(q.where, q.measure, q.by, period) for q in QUESTIONS]
    everything = open_door(gateway.elasticsearch, gateway.settings, lambda: day(6), Memory(events, [period]))
    for question, merged, whole in zip(questions, ask(*questions), everything(*questions), strict=True):
        assert rounded(merged) == rounded(whole), question
        assert merged.exact
    assert memory.asked == held


def _holds(part: Period, at: datetime) -> bool:
    assert part.start is not None and part.end is not None
    return part.start <= at < part.end


def rounded(answer: Answer) -> Any:
    rows = [(row.key, row.value if row.value is None else round(row.value, 9)) for row in answer.rows]
    return rows, answer.complete


@pytest.mark.parametrize(
    ("period", "stretches"),
    [
        pytest.param(Period(), [Period(None, day(1)), Period(day(2), day(3)), Period(day(4), None)], id="open"),
        pytest.param(
            Period(day(0), day(5)),
            [Period(day(0), day(1)), Period(day(2), day(3)), Period(day(4), day(5))],
            id="closed",
        ),
        pytest.param(Period(day(1), day(2)), [], id="a day that is held"),
        pytest.param(Period(day(2), day(4)), [Period(day(2), day(3))], id="held at the end"),
    ],
)
def test_a_period_is_cut_without_holes_and_without_overlaps(period: Period, stretches: list[Period]) -> None:
    memory, index = Memory([], [Period(day(1), day(2)), Period(day(3), day(4))]), object()
    found = cut(period, Sources(index, (memory,)))  # type: ignore[arg-type]
    assert [stretch for source, stretch in found if source is index] == stretches
    assert [stretch for source, stretch in found if source is memory] == memory.holds(period)
