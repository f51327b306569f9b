"""Funnels: the engine on columns gives what the oracle gives, over random events and every option; the table of
semantics, section 4, by name."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from columned import columns_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles import funnels as oracle

from metronome.periods import Every, Period, to_ms
from metronome.query import All, AnyOf, Is
from metronome.query.journeys import funnel
from metronome.query.journeys.answers import FunnelAnswer
from metronome.query.journeys.questions import Exclusion, Funnel, Window

START = datetime(2026, 10, 24, 20, tzinfo=UTC)  # the clocks of Berlin change on the 25th
MINUTE = 60_000


def at(minutes: float) -> int:
    return to_ms(START) + int(minutes * MINUTE)


def answered(question: Funnel, events: list[dict[str, Any]], now: datetime) -> FunnelAnswer:
    columns = columns_of(events, question.subject, funnel.conditions(question), funnel.fields(question))
    return replace(funnel.answer(question, columns, now), histogram=())


#: JOURNEY_CASES=30000 looks longer.
CASES = int(os.environ.get("JOURNEY_CASES", "1000"))
NAMES = "ABCX"


def random_event() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "event": st.sampled_from(NAMES),
            "@timestamp": st.integers(0, 14).map(lambda n: at(n * 7)) | st.integers(0, 3000).map(at),
            "u": st.sampled_from(["u1", "u1", "u1", "u2", None]),
        },
        optional={
            "seq": st.integers(0, 3),
            "received_at": st.integers(0, 2),
            "_id": st.sampled_from("abcdefgh"),
            "session_id": st.sampled_from(["s1", "s2"]),
            "plan": st.sampled_from(["pro", 1, True, ["pro", "free"], ["free", 1.0], [], None]),
            "z": st.sampled_from(["p", "q", ["p", "q"]]),
        },
    )


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With ids of their own, so that the order is total."""
    return [{**event, "_id": f"{event.get('_id', '')}{number}"} for number, event in enumerate(events)]


STEPS = st.sampled_from(
    [*(Is("event", name) for name in "ABC"), AnyOf(Is("event", "A"), Is("event", "B")), All(), Is("z", "p")]
)


@st.composite
def funnels(draw: st.DrawFn) -> Funnel:
    count = draw(st.integers(2, 4))
    plain = draw(st.booleans())
    steps = tuple(Is("event", name) for name in "ABCX"[:count]) if plain else tuple(draw(STEPS) for _ in range(count))
    order = draw(st.sampled_from(["sequential", "sequential", "strict", "any"]))
    exclusions: list[Exclusion] = []
    for _ in range(draw(st.integers(0, 2)) if order != "any" else 0):
        first = draw(st.integers(1, count - 1))
        where = draw(st.sampled_from([Is("event", "X"), Is("event", "B"), Is("z", "q")]))
        exclusions.append(
            Exclusion(where, first, draw(st.integers(first + 1, count)), draw(st.sampled_from(["stop", "remove"])))
        )
    window = draw(
        st.sampled_from([0, 7, 20, 60, 10_000]).map(lambda minutes: Window(minutes * MINUTE))
        | st.integers(1, 3).map(lambda n: Window(None, n))
    )
    low = draw(st.sampled_from([0, 20, 50]))
    return Funnel(
        steps,
        subject="u",
        period=Period(
            START + timedelta(minutes=low), START + timedelta(minutes=draw(st.sampled_from([low + 1, 90, 3000])))
        ),
        window=window,
        order=order,
        entry=draw(st.sampled_from(["best", "first", "all"])),
        exclusions=tuple(exclusions),
        by=draw(st.sampled_from([None, "plan"])),
        attribution=draw(st.sampled_from(["first", "last", "all", 1, 2])),
        hold=tuple(draw(st.sampled_from([[], [], [], ["plan"], ["plan", "z"]]))),
        trend=draw(st.sampled_from([None, None, Every("day", tz=ZoneInfo("Europe/Berlin")), Every("hour")])),
        clip=draw(st.booleans()),
        tie_grace_ms=draw(st.sampled_from([0, 0, 0, 8 * MINUTE])) if order == "sequential" else 0,
        collapse_repeats=draw(st.booleans()),
        strict_scope=draw(st.sampled_from([All(), Is("z", "p")])),
    )


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(funnels(), st.lists(random_event(), max_size=9), st.sampled_from([40, 100, 5000]))
def test_the_engine_gives_what_the_oracle_gives(question: Funnel, events: list[dict[str, Any]], now: int) -> None:
    events = numbered(events)
    moment = START + timedelta(minutes=now)
    assert answered(question, events, moment) == oracle.funnel(question, events, moment)


def dense(rng: random.Random, names: str, count: int) -> list[dict[str, Any]]:
    """Events of one subject that nearly all matter."""
    return numbered(
        [
            {
                "event": rng.choice(names),
                "@timestamp": at(rng.randrange(3 * count) if rng.random() < 0.7 else rng.randrange(6) * 5),
                "u": "u1",
                "z": rng.choice(["p", "q"]),
                **({"seq": rng.randrange(3)} if rng.random() < 0.5 else {}),
                **({"session_id": rng.choice(["s1", "s2", "s3"])} if rng.random() < 0.3 else {}),
            }
            for _ in range(rng.randrange(2, count))
        ]
    )


def family(name: str, rng: random.Random) -> Funnel:
    """A random question about one of the things that funnels can be asked."""
    count = rng.randrange(2, 5)
    names = "ABCD"[:count]
    steps: list[Any] = [Is("event", one) for one in names]
    if name in ("overlapping", "any", "strict") and rng.random() < 0.6:
        steps[rng.randrange(count)] = rng.choice([AnyOf(Is("event", "A"), Is("event", "B")), Is("z", "p"), All()])
    question = Funnel(
        tuple(steps),
        subject="u",
        period=Period(START, START + timedelta(days=9)),
        window=Window(rng.choice([5, 10, 20, 600]) * MINUTE),
        entry=rng.choice(["best", "first", "all"]),
    )
    if name in ("exclusions", "overlapping"):
        bans = []
        for _ in range(rng.randrange(1, 3)):
            first = rng.randrange(1, count)
            where = rng.choice([Is("event", "X"), Is("event", rng.choice(names)), Is("z", "q")])
            bans.append(
                Exclusion(where, first, rng.randrange(first + 1, count + 1), rng.choice(["stop", "stop", "remove"]))
            )
        question = replace(question, exclusions=tuple(bans), order=rng.choice(["sequential", "sequential", "strict"]))
    if name == "strict":
        question = replace(
            question,
            order="strict",
            collapse_repeats=rng.random() < 0.6,
            strict_scope=rng.choice([All(), Is("z", "p")]),
        )
    if name == "grace" or (
        name in ("overlapping", "exclusions") and question.order == "sequential" and rng.random() < 0.4
    ):
        question = replace(question, tie_grace_ms=rng.choice([1, 4]) * MINUTE)
    if name == "any":
        question = replace(question, order="any")
    if name == "sessions":
        question = replace(question, window=Window(None, rng.randrange(1, 4)))
    if name == "held":
        question = replace(question, hold=("z",), order=rng.choice(["sequential", "strict", "any"]))
    return question


FAMILIES = ["plain", "exclusions", "overlapping", "strict", "grace", "any", "sessions", "held"]


@pytest.mark.parametrize("name", FAMILIES)
def test_dense_events_of_one_subject_are_matched_as_the_oracle_matches_them(name: str) -> None:
    rng = random.Random(name)
    for _ in range(CASES // 2):
        question = family(name, rng)
        names = "ABCD"[: len(question.steps)] + "X" * (name == "exclusions")
        events = dense(rng, names, 10)
        now = START + timedelta(minutes=rng.choice([15, 5000]))
        assert (question, events, answered(question, events, now)) == (
            question,
            events,
            oracle.funnel(question, events, now),
        )


def told(text: str) -> list[dict[str, Any]]:
    """`"A A B"` as events of one subject, a minute apart; `"A@0 B@45"` at these minutes."""
    events = []
    for number, word in enumerate(text.split()):
        name, _, minute = word.partition("@")
        when = at(float(minute)) if minute else at(number)
        events.append({"event": name, "@timestamp": when, "seq": number, "u": "u1", "_id": str(number)})
    return events


X23 = (Exclusion(Is("event", "X"), 2, 3),)
HOUR = Window(60 * MINUTE)
EXAMPLES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "first": ("A@0 A@30 B@45 C@75", "ABC", {"window": HOUR, "entry": "first"}, 2),
    "best": ("A@0 A@30 B@45 C@75", "ABC", {"window": HOUR}, 3),
    "all of A B D C D E": ("A B D C D E", "ABCDE", {}, 5),
    "D is missing": ("A B C E", "ABCDE", {}, 3),
    "strict with repeats": ("A A B B C C", "ABC", {"order": "strict"}, 3),
    "strict, repeats count": ("A A B B C C", "ABC", {"order": "strict", "collapse_repeats": False}, 2),
    "strict, D between A and B": ("A D B C", "ABC", {"order": "strict"}, 1),
    "strict, D after B": ("A A B B D C C", "ABC", {"order": "strict"}, 2),
    "excluded, second B": ("A B X B C", "ABC", {"exclusions": X23}, 3),
    "one event for two steps": ("A", "AA", {}, 1),
    "equal times by seq": ("A@0 B@0", "AB", {}, 2),
    "equal times, seq swapped": ("B@0 A@0", "AB", {}, 1),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_worked_examples_have_their_levels(name: str) -> None:
    text, steps, options, level = EXAMPLES[name]
    period = Period(START, START + timedelta(days=1))
    question = Funnel(tuple(Is("event", one) for one in steps), subject="u", period=period, **options)
    found = answered(question, told(text), START + timedelta(days=30))
    assert sum(step.count for step in found.steps) == level
    assert found == oracle.funnel(question, told(text), START + timedelta(days=30))


def test_best_converts_from_the_later_entry_in_45_minutes() -> None:
    question = Funnel(
        tuple(Is("event", one) for one in "ABC"),
        subject="u",
        window=HOUR,
        period=Period(START, START + timedelta(days=1)),
    )
    found = answered(question, told("A@0 A@30 B@45 C@75"), START + timedelta(days=30))
    assert found.convert is not None and (found.convert.n, found.convert.low) == (1, 45 * 60.0)


def test_200_groups_keep_their_names_and_the_rest_is_other() -> None:
    events = [
        {"event": name, "@timestamp": at(n), "u": f"u{n}", "plan": f"p{n % 250:03}", "_id": f"{n}{name}"}
        for n in range(600)
        for name in "AB"[: 1 + n % 2]
    ]
    question = Funnel(
        (Is("event", "A"), Is("event", "B")), subject="u", by="plan", period=Period(START, START + timedelta(days=1))
    )
    found = answered(question, events, START + timedelta(days=30))
    assert found.groups is not None
    counts = {name: [step.count for step in steps] for name, steps in found.groups}
    # 250 values: 100 of three subjects each, 150 of two; the last 50 of these are together.
    assert (len(counts), next(iter(counts)), list(counts)[-2:]) == (201, "p000", ["p199", "$other"])
    assert counts["$other"] == [100, 50]
    assert sum(count for count, _ in counts.values()) == found.steps[0].count == 600
