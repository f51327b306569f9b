"""Lifecycle: columns and day parts give what brute force gives, over random events, links and clock changes; witnesses
are those of the definition; and who is new, returns or comes back is together who a trend counts."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from columned import columns_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merging import WAYS, read_by
from oracles import lifecycles as oracle
from oracles import persons
from parted import Parted
from test_persons import EVENTS as OF_PERSONS
from test_persons import IDS, WHERES
from test_persons import NOW as LATER
from test_persons import PERIOD as DAYS
from test_retention import EVENTS, START

from metronome.periods import Every, Period
from metronome.query import All, AnyOf, FromParts, Is, Lifecycle, Persons
from metronome.query.condition import Condition
from metronome.query.journeys import engine, lifecycle, witness
from metronome.query.journeys.answers import Lived
from metronome.query.journeys.load import Loaded
from metronome.query.persons import counting
from metronome.settings import Settings

#: JOURNEY_CASES=30000 looks longer.
CASES = int(os.environ.get("JOURNEY_CASES", "600"))

ZONES = st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")])
SPLITS: Any = st.sampled_from(["lifecycle", "lifecycle", "new_returning"])
ALL_CHECKS = list(HealthCheck)


@st.composite
def lifecycles(draw: st.DrawFn) -> Lifecycle:
    unit = draw(st.sampled_from(["hour", "day", "day", "day", "week", "month"]))
    return Lifecycle(
        draw(st.sampled_from([All(), Is("event", "A"), AnyOf(Is("event", "B"), Is("plan", "pro"))])),
        subject="u",
        period=Period(
            START - timedelta(hours=draw(st.sampled_from([0, 12, 29]))),
            START + timedelta(hours=draw(st.sampled_from([1, 30, 96]))),
        ),
        every=Every(unit, tz=draw(ZONES), week_start=draw(st.sampled_from([0, 6]))),
        split=draw(SPLITS),
    )


def shown(found: Any) -> list[tuple[str, list[int | None], int]]:
    return [(one.name, list(one.values), one.total) for one in found.states]


@settings(max_examples=CASES, deadline=None, suppress_health_check=ALL_CHECKS)
@given(lifecycles(), EVENTS, st.sampled_from([10, 40, 100, 2000]))
def test_the_engine_gives_what_the_oracle_gives(question: Lifecycle, events: list[dict[str, Any]], now: int) -> None:
    events = [{**event, "_id": f"e{number:02}"} for number, event in enumerate(events)]
    moment = START + timedelta(hours=now)
    seen = oracle.lived(question, events, moment)
    columns = columns_of(events, "u", lifecycle.conditions(question))
    found = lifecycle.answer(question, columns, moment)
    assert shown(found) == oracle.states_of(question, seen, moment)
    assert list(found.starts) == list(oracle.buckets(question))
    assert list(found.complete) == [question.every.after(bucket) <= moment for bucket in found.starts]
    check_witnesses(question, events, seen, moment)


def check_witnesses(
    question: Lifecycle, events: list[dict[str, Any]], seen: list[oracle.Seen], moment: datetime
) -> None:
    for subject in {str(event["u"]) for event in events if event["u"] is not None}:
        own = [event for event in events if event["u"] == subject]
        columns = columns_of(own, "u", lifecycle.conditions(question))
        ids = [own[place]["_id"] for place in columns.place.tolist()]
        loaded = Loaded(replace(columns, place=columns.place * 0), [date(2026, 10, 24)], ids)
        found = witness.of_lifecycle(question, loaded, moment, Settings())
        assert [named(subject, one) for one in found] == [one for one in seen if one.subject == subject]


def named(subject: str, lived: Lived) -> oracle.Seen:
    event, before = (None if one is None else one.id for one in (lived.event, lived.before))
    return oracle.Seen(subject, lived.bucket, lived.state, event, before)


@settings(max_examples=CASES // 20, deadline=None, suppress_health_check=ALL_CHECKS)
@given(
    OF_PERSONS, WHERES, st.sampled_from([None, START + timedelta(days=3)]), ZONES, SPLITS, st.sampled_from(IDS), WAYS
)
def test_persons_of_day_parts_live_as_by_brute_force_and_as_a_trend_counts_them(
    events: list[dict[str, Any]],
    where: Condition,
    as_of: datetime | None,
    tz: ZoneInfo,
    split: Any,
    name: str,
    way: str,
) -> None:
    who = persons.with_persons(events, as_of)
    known = persons.Known(who, as_of)
    kept = [one for one in who if known.holds(where, one)]
    question = Lifecycle(where=where, period=DAYS, every=Every("day", tz=tz), split=split, as_of=as_of)
    seen = oracle.lived(replace(question, subject="who"), kept, LATER)
    with tempfile.TemporaryDirectory(prefix="parted") as folder, read_by(way):
        days = Parted(Path(folder), events)
        found = engine.answer(replace(question, explain=name), days, LATER, days.budget())
        trend = FromParts(where, Persons(), (question.every,), DAYS, as_of)
        (counted,) = counting.answer([trend], days.scene(as_of), LATER)
    assert shown(found) == oracle.states_of(question, seen, LATER)
    person = known.people.resolve(name)
    assert [named(person, one) for one in found.witness] == [one for one in seen if one.subject == person]
    active = [one.values for one in found.states if one.name != "dormant"]
    assert [row.value for row in counted.rows] == [sum(values) for values in zip(*active, strict=True)]


def test_the_states_of_a_small_week_are_those_that_one_counts_by_hand() -> None:
    """u1 comes on Monday, Tuesday and Thursday; u2 on Sunday before, and on Tuesday."""
    monday = datetime(2026, 10, 5, tzinfo=UTC)
    visits = {"u1": (0, 1, 3), "u2": (-1, 1)}
    events = [
        {"event": "view", "@timestamp": int((monday + timedelta(days=day, hours=9)).timestamp() * 1000), "u": subject}
        for subject, days in visits.items()
        for day in days
    ]
    question = Lifecycle(subject="u", period=Period(monday, monday + timedelta(days=5)))
    found = lifecycle.answer(question, columns_of(events, "u", (All(),)), monday + timedelta(days=4, hours=12))
    assert shown(found) == [
        ("new", [1, 0, 0, 0, 0], 1),
        ("returning", [0, 1, 0, 0, 0], 1),
        ("resurrecting", [0, 1, 0, 1, 0], 2),
        ("dormant", [1, 0, 2, 0, None], 2),
    ]
