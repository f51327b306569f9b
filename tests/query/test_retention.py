"""Retention: the engine on columns gives what the oracle gives, over random events and every option; the vector of
semantics, section 5."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from columned import columns_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import retentions as oracle

from metronome.periods import Every, Period, to_ms
from metronome.query import All, AnyOf, Is
from metronome.query.journeys import retention
from metronome.query.journeys.answers import RetentionAnswer
from metronome.query.journeys.questions import Retention

START = datetime(2026, 10, 22, 12, tzinfo=UTC)  # the clocks of Berlin change on the 25th
HOUR = 3_600_000

#: JOURNEY_CASES=30000 looks longer.
CASES = int(os.environ.get("JOURNEY_CASES", "1500"))


def answered(question: Retention, events: list[dict[str, Any]], now: datetime) -> RetentionAnswer:
    conditions, fields = retention.conditions(question), retention.fields(question)
    columns = columns_of(events, question.subject, conditions, fields, question.value)
    return retention.answer(question, columns, now)


def at(hours: float) -> int:
    return to_ms(START) + int(hours * HOUR)


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "event": st.sampled_from("AAB"),
            "@timestamp": st.integers(-20, 30).map(lambda n: at(n * 6)) | st.integers(0, 60).map(lambda n: at(n / 2)),
            "u": st.sampled_from(["u1", "u2", "u3", "u4", None]),
        },
        optional={
            "seq": st.integers(0, 2),
            "plan": st.sampled_from(["pro", 1, ["pro", "free"], [], None]),
            "price": st.sampled_from([1, 2.5, [1, 2], "3", None]),
        },
    ),
    max_size=14,
)
BERLIN = ZoneInfo("Europe/Berlin")


@st.composite
def retentions(draw: st.DrawFn) -> Retention:
    unit = draw(st.sampled_from(["hour", "day", "day", "week", "month"]))
    brackets = draw(st.sampled_from([None, None, ((1, 2), (0, 0), (3, 7))]))
    return Retention(
        draw(st.sampled_from([Is("event", "A"), All()])),
        draw(st.sampled_from([All(), Is("event", "B"), AnyOf(Is("event", "A"), Is("plan", "pro"))])),
        subject="u",
        period=Period(START - timedelta(days=1), START + timedelta(hours=draw(st.sampled_from([1, 30, 90])))),
        every=Every(
            unit, tz=draw(st.sampled_from([BERLIN, ZoneInfo("UTC")])), week_start=draw(st.sampled_from([0, 6]))
        ),
        periods=draw(st.integers(0, 5)),
        birth=draw(st.sampled_from(["first_time", "recurring"])),
        mode=draw(st.sampled_from(["calendar", "rolling"])),
        count="on" if brackets else draw(st.sampled_from(["on", "on_or_after", "on_or_before"])),
        brackets=brackets,
        zero=draw(st.sampled_from(["returned", "size"])),
        average=draw(st.sampled_from(["weighted", "simple"])),
        by=draw(st.sampled_from([None, "plan"])),
        match=draw(st.sampled_from(["birth", "both"])),
        value=draw(st.sampled_from([None, "price"])),
    )


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(retentions(), EVENTS, st.sampled_from([10, 40, 100, 2000]))
def test_the_engine_gives_what_the_oracle_gives(question: Retention, events: list[dict[str, Any]], now: int) -> None:
    events = [{**event, "_id": str(number)} for number, event in enumerate(events)]
    moment = START + timedelta(hours=now)
    assert answered(question, events, moment) == oracle.retention(question, events, moment)


@pytest.mark.parametrize(("kind", "mean"), [("weighted", 0.6), ("simple", 0.65)])
def test_cohorts_of_1000_and_500_average_60_percent_weighted_and_65_simple(kind: Any, mean: float) -> None:
    events = []
    for day, size, returned in ((0, 1000, 500), (1, 500, 400)):
        for number in range(size):
            events.append({"event": "A", "@timestamp": at(24 * day), "u": f"{day}-{number}"})
            if number < returned:
                events.append({"event": "B", "@timestamp": at(24 * day + 24), "u": f"{day}-{number}"})
    question = Retention(
        Is("event", "A"), Is("event", "B"), subject="u", period=Period(START, START + timedelta(days=2)), periods=1,
        average=kind,
    )  # fmt: skip
    average = answered(question, events, START + timedelta(days=9)).table.average
    assert average.rate[1] == pytest.approx(mean, abs=1e-12)
    assert average.cohorts == (2, 2)
