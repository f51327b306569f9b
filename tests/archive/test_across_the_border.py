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
from conftest import Gateway
from test_numbers import FILTERS, fill, random_events
from test_sources import QUESTIONS

from metronome.archive.asking import open_door
from metronome.people import People
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
    days = {"from": "2026-10-23", "to": "2026-10-27"}
    for order in ("newest", "oldest"):
        events = listed(gateway, {**days, "order": order, "limit": 97})
        times = [event["@timestamp"] for event in events]
        assert times == sorted(times, reverse=order == "newest")
        answers[f"events {order}"] = sorted(events, key=lambda event: event["_id"])
    journeys = {
        "funnel": {"steps": [{"event": "view"}, {"event": "buy"}], "trend": "day", "by": "browser"},
        "retention": {"start": {}, "return": {"event": "buy"}, "period": "day", "periods": 4},
        "paths": {"start": {"event": "view"}, "depth": 3},
        "properties": {},
        "values": {"field": "status"},
    }
    for kind, body in journeys.items():
        response = gateway.http.post(f"/query/{kind}", json={**days, **body})
        assert response.status_code == 200, response.text
        answers[kind] = response.json["result"]
    answers.update((f"field {row['name']}", row) for row in answers.pop("properties")["properties"])
    for number, where in enumerate(FILTERS[::one_in]):
        body = {"series": [{"event": "buy", "where": [where]}], "from": "2026-10-23", "to": "2026-10-27"}
        response = gateway.http.post("/query/trend", json=body)
        assert response.status_code == 200, response.text
        meta = response.json["meta"]
        answers[f"filter {number}"] = (response.json["result"], meta["exact"], meta["ignored_values"])
    return answers


# The questions don't depend on where the archive is, so each kind of S3 is asked some of them.
@pytest.mark.parametrize(
    ("kind", "seed", "one_in"), [("folder", 1, 3), ("moto", 3, 6), ("seaweed", 4, 8), ("minio", 5, 8)]
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
    after = everything(found, one_in)
    assert {name: after[name] for name in before if after[name] != before[name]} == {}, before
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
    sizes = {one.key.split("/")[1].split("-")[0]: one.bytes for one in installation.objects.list("")}
    assert first["bytes"] == sizes["summary"]
    assert again == {**first, "bytes": 0}
    deep = installation.gateway.http.post("/query/trend", json={**body, "by": ["n"]}).json["meta"]["archive"]
    assert deep == {**first, "bytes": sizes["part"]}
    assert alone["meta"]["archive"] == {"asked": False, "days": [], "bytes": 0}


@pytest.mark.parametrize("kind", ["folder", "seaweed"])
def test_late_events_are_counted_once(installation_for: Callable[..., Installation], kind: str) -> None:
    installation = installation_for(kind)
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
    assert len(installation.keys()) == 3
    assert gateway.tock("x")["views"] == {"2026-10-23": 8}
    assert installation.work.care.verify(DAYS[0], deep=True).problems == ()


def test_an_item_is_known_though_all_its_days_are_archived(installation: Installation) -> None:
    gateway = installation.gateway
    gateway.accepted({"id": "x", "@timestamp": "2026-10-23T10:00:00Z"})
    gateway.drain()
    installation.archive(DAYS[0])
    assert gateway.tock("x", strict="1", from_="2026-10-25", to="2026-10-25")["views"] == {"2026-10-25": 0}
    assert gateway.http.get("/tock/y.json?strict=1").status_code == 404


def test_a_cursor_goes_on_over_archived_days_and_not_past_a_day_that_was_archived_meanwhile(
    installation: Installation,
) -> None:
    gateway = installation.gateway
    fill(gateway, random_events(random.Random(3), START, 3, 40))
    installation.archive(DAYS[1])
    body = {"from": "2026-10-23", "to": "2026-10-25", "limit": 7}
    whole = gateway.http.post("/query/events", json={**body, "limit": 1000}).json["result"]
    assert listed(gateway, body) == whole["events"]
    assert len(whole["events"]) == whole["total"]
    first = gateway.http.post("/query/events", json=body).json["result"]
    installation.archive(DAYS[0])
    moved = gateway.http.post("/query/events", json={**body, "cursor": first["cursor"]})
    assert (moved.status_code, "first page again" in moved.json["error"]["message"]) == (400, True)


def test_an_event_that_came_again_late_is_listed_and_followed_once(installation: Installation) -> None:
    gateway = installation.gateway
    early = [
        {"id": "x", "@timestamp": f"2026-10-23T10:0{n}:00Z", "insert_id": f"e{n}", "distinct_id": "u1"}
        for n in range(5)
    ]
    gateway.accepted(early)
    gateway.drain()
    installation.archive(DAYS[0])
    late = {"id": "x", "event": "buy", "@timestamp": "2026-10-23T11:00:00Z", "insert_id": "l", "distinct_id": "u1"}
    gateway.accepted([late, *early[:2]])
    gateway.drain()
    body = {"from": "2026-10-23", "to": "2026-10-23"}
    found = gateway.http.post("/query/events", json=body).json["result"]
    assert ([event["_id"] for event in found["events"]], found["total"]) == (["l", "e4", "e3", "e2", "e1", "e0"], 6)
    steps = [{"event": "view"}, {"event": "buy"}]
    funnel = gateway.http.post("/query/funnel", json={**body, "steps": steps}).json
    assert [step["count"] for step in funnel["result"]["steps"]] == [1, 1]
    assert funnel["meta"]["archive"]["days"] == ["2026-10-23"]
    person = gateway.http.get("/people/u1").json
    assert (person["events"], person["first_seen"], person["last_seen"]) == (
        6,
        "2026-10-23T10:00:00.000Z",
        "2026-10-23T11:00:00.000Z",
    )


def test_who_is_whom_is_known_from_archived_days(installation_for: Callable[..., Installation]) -> None:
    found = installation_for()
    gateway = found.gateway
    said = {"event": "$identify", "distinct_id": "u1", "linked_id": "anon", "@timestamp": "2026-10-23T10:00:00Z"}
    plan = {"event": "$set", "distinct_id": "u1", "set": {"plan": "pro"}, "@timestamp": "2026-10-23T10:01:00Z"}
    viewed = {"id": "x", "distinct_id": "anon", "@timestamp": "2026-10-23T09:00:00Z"}
    bought = {"id": "x", "event": "buy", "distinct_id": "u1", "@timestamp": "2026-10-24T09:00:00Z"}
    gateway.accepted([said, plan, viewed, bought])
    gateway.drain()
    steps = {"steps": [{"event": "view"}, {"event": "buy"}], "from": "2026-10-23", "to": "2026-10-25"}

    def known(people: People) -> Any:
        people.refresh()
        person = people.person("anon")
        return person.id, set(person.ids), person.properties, person.events, person.first_seen, person.last_seen

    before = known(People(found.settings, found.client))
    assert before[:2] == ("u1", {"u1", "anon"})
    assert found.archive(DAYS[0]).deleted
    # A process that starts only now, and one that was there.
    assert known(People(found.settings, found.client, found.work.links)) == before
    funnel = gateway.http.post("/query/funnel", json=steps).json["result"]
    assert [step["count"] for step in funnel["steps"]] == [1, 1]
    found.work.restorer.restore(DAYS[0])
    assert known(People(found.settings, found.client, found.work.links)) == before


def listed(gateway: Gateway, body: dict[str, Any]) -> list[dict[str, Any]]:
    """All events of a question, page by page."""
    events: list[dict[str, Any]] = []
    cursor = None
    while True:
        response = gateway.http.post("/query/events", json={**body, "cursor": cursor})
        assert response.status_code == 200, response.text
        events += response.json["result"]["events"]
        cursor = response.json["result"]["cursor"]
        if cursor is None:
            return events
