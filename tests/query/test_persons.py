"""Figures, lists and journeys of persons: from day parts they are what brute force gives, over random events with links
between ids, sessions that move, late events and ties; and where Elasticsearch can answer too, its numbers are the same.
"""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from columned import total_order
from conftest import Gateway
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from merging import WAYS, read_by
from oracles import funnels
from oracles import persons as oracle
from parted import Parted, as_document
from test_numbers import fill, random_events
from test_sources import QUESTIONS

from metronome.errors import TooMuch
from metronome.periods import Every, Period, from_ms, to_ms
from metronome.query import (
    PEOPLE,
    All,
    AnyOf,
    Count,
    Did,
    EventsOf,
    Evidence,
    FromParts,
    Funnel,
    Has,
    Ids,
    Is,
    Members,
    Not,
    OfPerson,
    Persons,
    PropertiesOf,
    Property,
    Ranges,
    Unique,
    Values,
    open_door,
)
from metronome.query.condition import Condition, typed, values_of
from metronome.query.journeys import engine
from metronome.query.persons import counting, documents, evidence, listing

START = datetime(2026, 10, 24, 12, tzinfo=UTC)  # the clocks of Berlin change on the 25th
PERIOD = Period(START, START + timedelta(days=3))
NOW = START + timedelta(days=5)
#: Later than every event arrives.
LATER = START + timedelta(days=9)
BERLIN = ZoneInfo("Europe/Berlin")

#: PERSON_CASES=5000 looks longer.
CASES = int(os.environ.get("PERSON_CASES", "60"))


def at(quarters: int) -> int:
    return to_ms(START) + quarters * 900_000


IDS = ["u1", "u2", "a1", "a2", "s1"]
TIMES = st.integers(-40, 250).map(at) | st.integers(0, 12).map(at)


def event(name: st.SearchStrategy[str], **further: Any) -> st.SearchStrategy[dict[str, Any]]:
    optional = {
        key: values
        for key, values in {
            "distinct_id": st.sampled_from(IDS),
            "session_id": st.sampled_from(["s1", "s2"]),
            "dialect": st.just("openmetrics"),
            "seq": st.integers(0, 2),
            "plan": st.sampled_from(["pro", 1, True, ["pro", "free", "pro"], [], None]),
            "price": st.sampled_from([1, 2.5, [1, 1, 2], "3"]),
            "is_robot": st.booleans(),
        }.items()
        if key not in further
    }
    given_ = {"event": name, "@timestamp": TIMES, "received_at": st.integers(0, 400).map(at)}
    return st.fixed_dictionaries({**given_, **further}, optional=optional)


def identify(session: str, user: str, when: int) -> dict[str, Any]:
    """What `/v1/setUserId` stores: it is received at the moment that it holds from."""
    ids = {"distinct_id": user, "linked_id": session, "session_id": session}
    return {"event": "$identify", "@timestamp": at(when), "received_at": at(when), "dialect": "openmetrics", **ids}


LINKS = event(
    st.sampled_from(["$identify", "$alias", "$merge"]),
    distinct_id=st.sampled_from(IDS),
    linked_id=st.sampled_from(IDS),
    merged_by=st.just("admin"),
)
SAID = st.builds(identify, st.sampled_from(["s1", "s2"]), st.sampled_from(["u1", "u2"]), st.integers(0, 300))
EVENTS = st.lists(
    event(st.sampled_from(["view", "cart", "buy"])) | event(st.just("view")) | LINKS | SAID, max_size=16
).map(lambda events: [{**one, "_id": f"e{number:02}"} for number, one in enumerate(events)])

BUY, VIEW, CART = (Is("event", name) for name in ("buy", "view", "cart"))
RULES: list[Condition] = [
    Did(BUY, PERIOD),
    Did(VIEW, Period(None, PERIOD.end), at_least=2, at_most=3),
    Did(BUY, Period(START + timedelta(days=1), PERIOD.end), at_least=0, at_most=0),
    Ids(frozenset(("a1", "u2", "nobody"))),
    All(Did(VIEW, PERIOD), Not(AnyOf(Did(BUY, PERIOD), Ids(frozenset(("s1",)))))),
]
WHERES = st.sampled_from([
    PEOPLE,
    All(),
    All(PEOPLE, Has("plan")),
    *(OfPerson(rule, somebody=True) for rule in RULES),
    All(PEOPLE, AnyOf(OfPerson(RULES[0]), Is("plan", "pro"))),
    Not(OfPerson(RULES[1])),
])  # fmt: skip
SORTS = st.sampled_from(["last_seen", "first_seen", "events"])
AS_OF = st.sampled_from([None, None, START + timedelta(hours=20)])
SETTINGS = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(EVENTS, WHERES, AS_OF, SORTS, st.sampled_from(IDS), WAYS)
def test_counts_lists_journeys_and_evidence_of_persons_are_those_of_brute_force(
    events: list[dict[str, Any]], where: Condition, as_of: datetime | None, sort: Any, name: str, way: str
) -> None:
    who = oracle.with_persons(events, as_of)
    known = oracle.Known(who, as_of)
    kept = [one for one in who if known.holds(where, one)]
    with tempfile.TemporaryDirectory(prefix="parted") as folder, read_by(way):
        days = Parted(Path(folder), events)
        check_counts(days, where, as_of, kept)
        check_pages(days, Members(where, PERIOD, sort, 2, None, as_of), events)
        check_funnel(days, Funnel((VIEW, BUY), where=where, period=PERIOD, by="plan", as_of=as_of), kept)
        check_evidence(days, Evidence((VIEW, AnyOf(BUY, VIEW)), name, where, PERIOD, as_of=as_of), kept, known)


@settings(SETTINGS, max_examples=CASES // 4)
@given(EVENTS, WHERES, AS_OF, st.booleans(), WAYS)
def test_events_and_fields_of_persons_are_those_of_brute_force(
    events: list[dict[str, Any]], where: Condition, as_of: datetime | None, newest: bool, way: str
) -> None:
    who = oracle.with_persons(events, as_of)
    known = oracle.Known(who, as_of)
    kept = [one for one in who if known.holds(where, one)]
    with tempfile.TemporaryDirectory(prefix="parted") as folder, read_by(way):
        days = Parted(Path(folder), events)
        check_documents(days, EventsOf(where, PERIOD, 4, newest, True, None, as_of), kept)
        check_properties(days, PropertiesOf(where, PERIOD, as_of), kept)


def in_period(event: dict[str, Any]) -> bool:
    assert PERIOD.start is not None and PERIOD.end is not None
    return PERIOD.start <= from_ms(event["@timestamp"]) < PERIOD.end


def check_counts(days: Parted, where: Condition, as_of: datetime | None, kept: list[dict[str, Any]]) -> None:
    by: list[tuple[Any, ...]] = [
        (),
        (Every("day", tz=BERLIN),),
        (Values("plan", missing=True),),
        (Every("hour", tz=BERLIN), Values("event"), Values("plan")),
    ]
    measures = (Count(), Persons(), Unique("session_id"))
    questions = [FromParts(where, measure, groups, PERIOD, as_of) for groups in by for measure in measures]
    answers = counting.answer(questions, days.scene(as_of), NOW)
    for question, answer in zip(questions, answers, strict=True):
        expected: dict[Any, list[dict[str, Any]]] = {}
        for one in filter(in_period, kept):
            for key in keys(question, one):
                expected.setdefault(key, []).append(one)
        found = {tuple(map(typed, row.key)): row.value for row in answer.rows if row.value}
        assert found == {key: size for key, own in expected.items() if (size := measured(question, own))}


def keys(question: FromParts, one: dict[str, Any]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = [()]
    for grouping in question.by:
        if isinstance(grouping, Every):
            values: list[Any] = [typed(grouping.start_of(from_ms(one["@timestamp"])))]
        else:
            assert isinstance(grouping, Values)
            values = list(dict.fromkeys(map(typed, values_of(one, grouping.field))))
            values = values or ([typed(None)] if grouping.missing else [])
        found = [(*key, value) for key in found for value in values]
    return found


def measured(question: FromParts, own: list[dict[str, Any]]) -> int:
    if isinstance(question.measure, Persons):
        return len({one["who"] for one in own} - {None})
    return len(own) if isinstance(question.measure, Count) else len({one.get("session_id") for one in own} - {None})


def check_pages(days: Parted, question: Members, events: list[dict[str, Any]]) -> None:
    expected = oracle.members(question, events)
    people = oracle.people_of(events, question.as_of)
    found, after, more = [], None, True
    while more:
        page = listing.answer(replace(question, after=after), days.scene(question.as_of), NOW)
        assert page.total == len(expected)
        found += [(one.id, to_ms(one.first_seen), to_ms(one.last_seen), one.events) for one in page.members]
        assert [set(one.ids) for one in page.members] == [people.ids(one.id) for one in page.members]
        after, more = page.after, page.after is not None
    assert found == expected


def check_funnel(days: Parted, question: Funnel, kept: list[dict[str, Any]]) -> None:
    found = engine.answer(question, days, NOW, days.budget())
    expected = funnels.funnel(replace(question, where=All(), subject="who"), kept, NOW)
    assert replace(found, events=0, histogram=()) == replace(expected, histogram=())


def check_documents(days: Parted, question: EventsOf, kept: list[dict[str, Any]]) -> None:
    """Every event once, in the total order or its reverse, as it was sent."""
    expected = sorted(filter(in_period, kept), key=total_order, reverse=question.newest_first)
    found: list[dict[str, Any]] = []
    after, more = None, True
    while more:
        page = documents.listed(replace(question, after=after), days.scene(question.as_of), LATER)
        assert (page.total, len(page.events) <= question.limit) == (len(expected), True)
        found += page.events
        after, more = page.after, page.after is not None
    assert [one["_id"] for one in found] == [one["_id"] for one in expected]
    for one, sent in zip(found, expected, strict=True):
        document = as_document({name: value for name, value in sent.items() if name != "who"})
        assert {name: one[name] for name in document} == document


def check_properties(days: Parted, question: PropertiesOf, kept: list[dict[str, Any]]) -> None:
    own = [(one["@timestamp"], as_document(one)) for one in filter(in_period, kept)]
    names = {name for _, document in own for name in document} - {"who"}
    expected = []
    for name in names:
        having = [(at_, values_of(document, name)) for at_, document in own if values_of(document, name)]
        if having:
            values = {typed(value) for _, several in having for value in several}
            kinds = {{"text": "string", "number": "number", "flag": "boolean"}[kind] for kind, _ in values}
            times = [at_ for at_, _ in having]
            seen = from_ms(min(times)), from_ms(max(times))
            expected.append(Property(name, tuple(sorted(kinds)), len(having), len(values), True, *seen))
    expected.sort(key=lambda one: (-one.events, one.name))
    assert documents.described(question, days.scene(question.as_of)) == tuple(expected)


def check_evidence(days: Parted, question: Evidence, kept: list[dict[str, Any]], known: oracle.Known) -> None:
    """Every event of the subject that is counted, and no other, in the total order."""
    found = evidence.answer(question, days.scene(question.as_of), NOW)
    person = known.people.resolve(question.of)
    assert (found.subject, set(found.ids)) == (person, known.people.ids(question.of))
    own = sorted((one for one in kept if one["who"] == person and in_period(one)), key=total_order)
    expected = [
        (number, one["_id"])
        for one in own
        for number, condition in enumerate(question.conditions)
        if condition.holds(one)
    ]
    assert [(one.step, one.id) for one in found.found] == expected


def test_day_parts_give_elasticsearchs_numbers_of_every_measure_and_grouping(gateway: Gateway) -> None:
    start = datetime(2026, 10, 23, tzinfo=UTC)
    fill(gateway, random_events(random.Random(5), start, 5, 200))
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: start + timedelta(days=6))
    period = Period(start + timedelta(hours=7), start + timedelta(days=5))
    questions = [replace(one, period=period) for one in QUESTIONS if not any(isinstance(by, Ranges) for by in one.by)]
    from_parts = [FromParts(one.where, one.measure, one.by, one.period) for one in questions]
    for question, engine_, parts in zip(questions, ask(*questions), ask(*from_parts), strict=True):
        assert engine_.exact
        assert rounded(engine_) == rounded(parts), question


def rounded(answer: Any) -> Any:
    rows = [(row.key, row.value if row.value is None else round(row.value, 9)) for row in answer.rows]
    return rows, answer.complete


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("query_events", 3, "reads more than 3 events"), ("query_bytes", 10, "holds more than 10 bytes")],
)
def test_what_costs_too_much_is_refused(tmp_path: Path, setting: str, value: int, said: str) -> None:
    events = [
        {"event": "view", "@timestamp": at(n), "received_at": at(n), "distinct_id": f"u{n}", "_id": f"e{n}"}
        for n in range(20)
    ]
    days = Parted(tmp_path, events, **{setting: value})
    with pytest.raises(TooMuch, match=said):
        counting.answer([FromParts(All(), Persons(), (), PERIOD)], days.scene(), NOW)
    with pytest.raises(TooMuch, match=said):
        listing.answer(Members(All(), PERIOD), days.scene(), NOW)
    with pytest.raises(TooMuch, match=said):
        evidence.answer(Evidence((All(),), "view", All(), PERIOD, subject="event"), days.scene(), NOW)
