"""What was asked before days were archived is answered the same after it, and once more after they were restored."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from archive_places import (  # noqa: F401  (fixtures)
    opened_credentials,
    opened_installation,
    opened_installation_for,
    opened_minio,
    opened_moto,
    opened_place,
    opened_seaweed,
)
from archiving import Installation, numbers
from test_numbers import FILTERS, fill, random_events
from test_sources import QUESTIONS

from metronome.archive.asking import open_door
from metronome.periods import Period
from metronome.query import Question

START = datetime(2026, 10, 23, tzinfo=UTC)
DAYS = [START.date() + timedelta(days=n) for n in range(5)]
WHOLE = Period(START, START + timedelta(days=5))
PERIODS = (WHOLE, Period(START + timedelta(hours=30), START + timedelta(hours=77)), Period())

ITEMS = ["a", "b/c", "7", "ü"]


def with_items(rng: random.Random, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events as those of items, some of robots, some with referers and media types."""
    for event in events:
        event["id"] = rng.choice(ITEMS)
        if rng.random() < 0.3:
            event["referer"] = rng.choice(["https://a.example/x?y=1", "http://www.b.example/", "https://c.example/z#f"])
        if event["event"] == "download":
            event["format"] = rng.choice(["csv", "KML", "json"])
        elif rng.random() < 0.3:
            del event["event"]
            event["accept"] = rng.choice(["text/html", "text/csv", "*/*", "application/json"])
    return events


def everything(found: Installation, one_in: int = 1) -> dict[str, Any]:
    """Every tock and question that the tests know, or one in so many of the questions, answered."""
    gateway = found.gateway
    ask = open_door(found.settings, found.client, lambda: START + timedelta(days=6))
    questions = [Question(q.where, q.measure, q.by, period) for period in PERIODS for q in QUESTIONS[::one_in]]
    answers: dict[str, Any] = {"questions": numbers(ask, questions)}
    for item in ITEMS:
        for query in ({}, {"tz": "Asia/Kolkata", "from": "2026-10-24"}, {"include": "hits,visitors,robots,errors,geo"}):
            response = gateway.http.get(f"/tock/{item}.json", query_string={"interval": "day", **query})
            answers[f"tock {item} {query}"] = (response.status_code, response.json)
    for number, where in enumerate(FILTERS[::one_in]):
        body = {"series": [{"event": "buy", "where": [where]}], "from": "2026-10-23", "to": "2026-10-27"}
        response = gateway.http.post("/query/trend", json=body)
        assert response.status_code == 200, response.text
        meta = response.json["meta"]
        answers[f"filter {number}"] = (response.json["result"], meta["exact"], meta["ignored_values"])
    return answers


# The questions don't depend on where the archive is, so each kind of S3 is asked some of them.
@pytest.mark.parametrize(
    ("kind", "seed", "one_in"), [("folder", 1, 1), ("folder", 2, 3), ("moto", 3, 4), ("seaweed", 4, 4), ("minio", 5, 4)]
)
def test_archived_and_restored_days_answer_as_before(
    installation_for: Callable[..., Installation], kind: str, seed: int, one_in: int
) -> None:
    found = installation_for(kind)
    rng = random.Random(seed)
    fill(found.gateway, with_items(rng, random_events(rng, START, 5, 160)))
    before, sources = everything(found, one_in), found.sources()
    archived = rng.sample(DAYS, 3)
    for day in archived:
        done = found.archive(day)
        assert (done.deleted, done.problem) == (True, "")
    assert set(found.days()).isdisjoint(archived)
    assert everything(found, one_in) == before
    for day in archived:
        found.work.restorer.restore(day)
    assert found.sources() == sources
    assert everything(found, one_in) == before
    for day in archived:
        again = found.work.restorer.restore(day)
        assert (again.created, again.events > 0) == (0, True)
    assert found.sources() == sources
    for day in DAYS:
        assert found.archive(day).deleted
    assert found.days() == []
    assert everything(found, one_in) == before


def test_an_answer_says_which_days_came_from_the_archive(installation: Installation) -> None:
    fill(installation.gateway, random_events(random.Random(3), START, 2, 40))
    body = {"series": [{"event": "buy"}], "from": "2026-10-23", "to": "2026-10-24"}
    assert "archive" not in installation.gateway.http.post("/query/trend", json=body).json["meta"]
    installation.archive(DAYS[0])
    first = installation.gateway.http.post("/query/trend", json=body).json["meta"]["archive"]
    again = installation.gateway.http.post("/query/trend", json=body).json["meta"]["archive"]
    alone = installation.gateway.http.post("/query/trend?archive=no", json=body).json
    assert (first["asked"], first["days"]) == (True, ["2026-10-23"])
    assert first["bytes"] == sum(one.bytes for one in installation.objects.list("") if one.key.endswith("parquet"))
    assert again == {**first, "bytes": 0}
    assert alone["meta"]["archive"] == {"asked": False, "days": [], "bytes": 0}


def test_late_events_are_counted_once(installation: Installation) -> None:
    gateway = installation.gateway
    early = [{"id": "x", "@timestamp": "2026-10-23T10:00:00Z", "insert_id": f"e{n}"} for n in range(5)]
    late = [{"id": "x", "@timestamp": "2026-10-23T11:00:00Z", "insert_id": f"l{n}", "new": "n"} for n in range(3)]
    gateway.accepted(early)
    gateway.drain()
    installation.archive(DAYS[0])
    # Two of them were archived already: they were sent again.
    gateway.accepted([*late, *early[:2]])
    gateway.drain()
    assert gateway.tock("x")["views"] == {"2026-10-23": 8}
    done = installation.archive(DAYS[0])
    assert (done.events, done.added, done.deleted) == (8, 3, True)
    assert gateway.tock("x")["views"] == {"2026-10-23": 8}
    where = [{"field": "new", "op": "is", "value": "n"}]
    body = {"series": [{"event": "view", "where": where}], "from": "2026-10-23", "to": "2026-10-23"}
    trend = gateway.http.post("/query/trend", json=body).json["result"]
    assert trend["series"][0]["total"] == 3
    lease = installation.work.lease()
    with lease.held():
        folded = installation.work.care.compact(DAYS[0], lease, installation.work.state)
    assert folded is not None and folded.parts_before == 2
    assert len(installation.keys()) == 2
    assert gateway.tock("x")["views"] == {"2026-10-23": 8}
    assert installation.work.care.verify(DAYS[0], deep=True).problems == ()


def test_an_item_is_known_though_all_its_days_are_archived(installation: Installation) -> None:
    gateway = installation.gateway
    gateway.accepted({"id": "x", "@timestamp": "2026-10-23T10:00:00Z"})
    gateway.drain()
    installation.archive(DAYS[0])
    assert gateway.tock("x", strict="1", from_="2026-10-25", to="2026-10-25")["views"] == {"2026-10-25": 0}
    assert gateway.http.get("/tock/y.json?strict=1").status_code == 404


def test_events_themselves_are_refused_of_archived_days_rather_than_left_out(installation: Installation) -> None:
    fill(installation.gateway, random_events(random.Random(3), START, 2, 10))
    installation.archive(DAYS[0])
    body = {"from": "2026-10-23", "to": "2026-10-24"}
    refused = installation.gateway.http.post("/query/events", json=body)
    assert (refused.status_code, "2026-10-23" in refused.json["error"]["message"]) == (400, True)
    assert installation.gateway.http.post("/query/events?archive=no", json=body).status_code == 200
    assert installation.gateway.http.post("/query/events", json={**body, "from": "2026-10-24"}).status_code == 200
