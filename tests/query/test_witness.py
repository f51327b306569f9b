"""A witness is a match by the definition: the oracle's own, event by event."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
from columned import columns_of
from oracles import funnels as oracle
from test_funnel import CASES, FAMILIES, START, dense, family

from metronome.query.journeys import funnel, witness
from metronome.query.journeys.load import Loaded
from metronome.settings import Settings


@pytest.mark.parametrize("name", FAMILIES)
def test_the_witness_is_the_oracles_match_and_says_why_it_ends(name: str) -> None:
    rng = random.Random(name)
    now = START + timedelta(days=3)
    for _ in range(CASES // 10):
        question = replace(family(name, rng), entry="best")
        events = dense(rng, "ABCD"[: len(question.steps)] + "X", 9)
        columns = columns_of(events, "u", funnel.conditions(question), funnel.fields(question))
        ids = [events[place]["_id"] for place in columns.place.tolist()]
        loaded = Loaded(replace(columns, place=columns.place * 0), [date(2026, 10, 24)], ids)
        found = witness.of_funnel(question, loaded, now, Settings())
        subject = oracle.subjects_of(question, events, now)["u1"]
        expected = [subject.events[place]["_id"] for match in subject.attempts() for place in match]
        assert [event.id for event in found.events] == expected
        through = len(expected) == len(question.steps) and not any(map(subject.is_removed, subject.attempts()))
        assert (found.stopped is None) == (through or not expected)
