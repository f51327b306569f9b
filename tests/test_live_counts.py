"""Live counters count persons: as brute force does, over links, sessions of `/v1`, and sessions that moved."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Gateway
from oracles import persons as oracle
from parted import as_document

from metronome.periods import to_ms
from metronome.query import All, Condition, Is, open_door
from metronome.streams import live_counts
from metronome.streams.live_counts import counted

NOW = datetime(2026, 10, 24, 12, 10, tzinfo=UTC)
#: The events are of 40 minutes, across midnight of no day: some are too old, and some haven't happened yet.
FIRST = NOW - timedelta(minutes=36)

IDS = [f"u{n}" for n in range(40)]
SESSIONS = [f"s{n}" for n in range(15)]
BUYS = Is("event", "buy")


def random_events(rng: random.Random, count: int) -> list[dict[str, Any]]:
    events = []
    for number in range(count):
        at = to_ms(FIRST) + rng.randrange(40 * 60_000)
        event: dict[str, Any] = {"_id": f"e{number}", "@timestamp": at, "received_at": at, "dialect": "tick"}
        event["event"] = rng.choice(["view", "view", "buy"])
        kind = rng.random()
        if kind < 0.4:
            event["distinct_id"] = rng.choice(IDS)
        elif kind < 0.7:
            event |= {"dialect": "openmetrics", "session_id": rng.choice(SESSIONS)}
        elif kind < 0.8:
            event["session_id"] = rng.choice(SESSIONS)  # nobody's
        elif kind < 0.9:
            session = rng.choice(SESSIONS)
            ids = {"distinct_id": rng.choice(IDS), "linked_id": session, "session_id": session}
            event |= {"event": "$identify", "dialect": "openmetrics", **ids}
        else:
            event |= {"event": "$alias", "distinct_id": rng.choice(IDS), "linked_id": rng.choice(IDS)}
        events.append(event)
    return events


@pytest.fixture
def filled(gateway: Gateway) -> tuple[Gateway, list[dict[str, Any]]]:
    gateway.drain()  # the templates are there from here on
    events = random_events(random.Random(11), 260)
    name = f"{gateway.settings.index_prefix}-2026.10.24"
    operations = [row for one in events for row in ({"create": {"_index": name, "_id": one["_id"]}}, as_document(one))]
    assert not gateway.elasticsearch.bulk(operations=operations, refresh=True)["errors"]
    gateway.app.extensions["people"].refresh()
    return gateway, events


def expected(events: list[dict[str, Any]], where: Condition, now: datetime) -> dict[str, Any]:
    found = {}
    for name, span in live_counts.WINDOWS.items():
        low, high = to_ms(now - span), to_ms(now + timedelta(seconds=1))
        own = [one for one in oracle.with_persons(events) if low <= one["@timestamp"] < high and where.holds(one)]
        subjects = len({one["who"] for one in own} - {None})
        names = dict(Counter(one["event"] for one in own))
        found[name] = {"events": len(own), "subjects": subjects, "by_event": names}
    return found


def test_counters_tell_as_many_persons_as_brute_force(filled: tuple[Gateway, list[dict[str, Any]]]) -> None:
    gateway, events = filled
    people = gateway.app.extensions["people"]
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: NOW)
    view = people.view()
    assert {one.get("session_id") for one in events} & view.moves.keys()  # else nothing moves here
    for minutes in (0, 3, -8, -20):
        now = NOW + timedelta(minutes=minutes)
        for where in (All(), BUYS, Is("dialect", "openmetrics")):
            assert counted(ask, people, where, now) == expected(events, where, now), (minutes, where)


def test_more_ids_than_can_be_read_are_counted_as_ids_and_marked(
    filled: tuple[Gateway, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, events = filled
    monkeypatch.setattr(live_counts, "MOST_IDS", 5)
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: NOW)
    found = counted(ask, gateway.app.extensions["people"], BUYS, NOW)["30m"]
    low, high = to_ms(NOW - timedelta(minutes=30)), to_ms(NOW) + 1000
    own = [one for one in events if low <= one["@timestamp"] < high and BUYS.holds(one)]
    of_v1 = [one for one in own if one["dialect"] == "openmetrics" and "distinct_id" not in one]
    ids = {one.get("distinct_id") for one in own} - {None} | {one["session_id"] for one in of_v1}
    assert (found["subjects"], found["estimated"]) == (len(ids), True)
