"""Journeys through both doors: what was posted a moment ago is asked, and the answer is the oracles'."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Gateway
from merging import merged_at_once
from oracles import funnels, retentions, walks
from test_paths import drawn

from metronome.errors import QuestionsWait, TooMuch
from metronome.periods import Every, Period, read_time, to_ms, to_text
from metronome.query import All, AnyOf, Between, Funnel, Has, Is, Missing, Not, Paths, Retention, Window, open_door
from metronome.query.condition import StartsWith
from metronome.query.journeys.questions import Exclusion

START = datetime(2026, 10, 24, 12, tzinfo=UTC)
NOW = datetime(2026, 10, 29, 12, tzinfo=UTC)
PERIOD = Period(START, START + timedelta(days=3))

PEOPLE = [None, "u1", "u2", "u3", "ü4", "u5"]
AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0"


def sent(rng: random.Random, number: int) -> dict[str, Any]:
    """An event as a client sends it: fields of all types, missing ones, late ones, equal times."""
    at = START + timedelta(minutes=rng.choice([rng.randrange(5000), 10 * rng.randrange(60), -rng.randrange(3000)]))
    optional = {
        "distinct_id": rng.choice(PEOPLE),
        "session_id": rng.choice(["s1", "s2", "s3", None]),
        "seq": rng.randrange(3),
        "plan": rng.choice(["pro", "free", 3, "3", True, ["pro", 3], [], None, "a{b}'c"]),
        "price": rng.choice([1, 2.5, [4, 5], "12", None]),
        "user_agent": rng.choice([AGENT, "Googlebot/2.1"]),
    }
    event = {"event": rng.choice(["view", "cart", "buy"]), "@timestamp": to_text(at), "insert_id": f"n{number}"}
    return event | {name: value for name, value in optional.items() if rng.random() < 0.8 and value is not None}


@pytest.fixture
def filled(gateway_for: Any) -> Gateway:
    found: Gateway = gateway_for(now=NOW)
    rng = random.Random(11)
    events = [sent(rng, number) for number in range(400)]
    for low in range(0, len(events), 100):
        assert found.accepted(events[low : low + 100])["rejected"] == []
        found.drain()
    return found


def known(gateway: Gateway) -> list[dict[str, Any]]:
    """The documents as the oracles take events: times in milliseconds."""
    found = []
    for document in gateway.documents():
        at = to_ms(read_time(document["@timestamp"]))
        found.append({**document, "@timestamp": at, "received_at": to_ms(read_time(document["received_at"]))})
    return found


def test_everything_posted_is_in_the_answers_and_they_are_the_oracles(filled: Gateway) -> None:
    ask = open_door(filled.elasticsearch, filled.settings, lambda: NOW)
    check_answers(filled, ask)
    with merged_at_once() as batches:
        check_answers(filled, ask)
    # `plan` and `price` have arrays, which aren't merged: questions about them are answered from the parts.
    assert batches["merged"] > 10


def check_answers(filled: Gateway, ask: Any) -> None:
    for round_ in range(2):
        events = [event for event in known(filled) if not event.get("is_robot")]
        for question in FUNNELS:
            (found,) = ask(question)
            expected = funnels.funnel(replace(question, subject=field(question.subject)), events, NOW)
            assert found == replace(expected, histogram=found.histogram, watermark=found.watermark, events=found.events)
        for asked in RETENTIONS:
            (table,) = ask(asked)
            expected_table = retentions.retention(replace(asked, subject=field(asked.subject)), events, NOW)
            assert table == replace(expected_table, watermark=table.watermark, events=table.events)
        for walk in PATHS:
            (paths,) = ask(walk)
            walked = walks.paths(replace(walk, subject=field(walk.subject)), events, NOW)
            assert paths == replace(drawn(walk, walked), watermark=paths.watermark, events=paths.events)
        rng = random.Random(round_)
        filled.accepted([sent(rng, 1000 + number) for number in range(60)])
        filled.drain()


def field(subject: str) -> str:
    return {"person": "distinct_id", "session": "session_id"}.get(subject, subject)


VIEW, CART, BUY = (Is("event", name) for name in ("view", "cart", "buy"))
STEPS = (VIEW, CART, BUY)
BASE = Funnel(STEPS, period=PERIOD)
FUNNELS = [
    BASE,
    replace(BASE, subject="session", by="plan"),
    replace(BASE, order="strict", by="plan", attribution="last", strict_scope=Has("plan")),
    replace(BASE, order="any", window=Window(3_600_000), trend=Every("day")),
    replace(BASE, window=Window(None, 2), entry="all"),
    replace(BASE, exclusions=(Exclusion(Is("plan", 3), 1, 2), Exclusion(Is("plan", True), 1, 3, "remove"))),
    replace(BASE, hold=("plan",), entry="first"),
    replace(BASE, steps=(All(), AnyOf(Is("plan", "3"), Is("plan", "a{b}'c")), Between("price", gte=2, lt=4.5))),
    replace(BASE, steps=(Not(Is("plan", 3)), Missing("price"), StartsWith("plan", "p")), tie_grace_ms=600_000),
]
RETENTIONS = [
    Retention(VIEW, period=PERIOD, periods=4),
    Retention(VIEW, BUY, period=PERIOD, periods=3, birth="recurring", by="plan", match="both", value="price"),
    Retention(All(), BUY, period=PERIOD, subject="session", mode="rolling", count="on_or_after", periods=3),
]
PATHS = [
    Paths(VIEW, period=PERIOD, within_ms=7_200_000, top=2),
    Paths(BUY, backward=True, period=PERIOD, node="plan", across_sessions=True, within_ms=7_200_000),
    Paths(VIEW, period=PERIOD, subject="session", collapse_repeats=False, within_ms=7_200_000),
]


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("query_events", 10, "reads more than 10 events"), ("query_bytes", 1000, "holds more than 1,000 bytes")],
)
def test_a_question_that_costs_too_much_is_refused_with_what_to_narrow(
    filled: Gateway, setting: str, value: int, said: str
) -> None:
    ask = open_door(filled.elasticsearch, replace(filled.settings, **{setting: value}), lambda: NOW)
    with pytest.raises(TooMuch, match=f"{said}; ask for fewer days") as refused:
        ask(BASE)
    assert refused.value.status == 422


def test_who_waits_for_a_turn_too_long_is_told_to_come_again(filled: Gateway) -> None:
    from metronome.query.journeys.days import Days

    days = Days(replace(filled.settings, query_parallel=1, query_seconds=1), filled.elasticsearch)
    with days.turn(), pytest.raises(QuestionsWait) as refused, days.turn():
        pytest.fail("two at a time")
    assert (refused.value.status, refused.value.retry_after_s) == (503, 5)
    with days.turn():
        pass
