"""Properties of persons in every kind of question, over random histories: who has which property is what the lists of
persons say, and every figure by it and every list of events is counted again in plain Python from what was sent."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Gateway

NOW = datetime(2026, 10, 8, 12, tzinfo=UTC)
SPAN = {"from": "2026-10-01", "to": "2026-10-07"}

Event = dict[str, Any]


def random_events(rng: random.Random) -> list[Event]:
    ids = [f"u{n}" for n in range(14)]
    events = []
    for number in range(160):
        at = f"2026-10-0{rng.randrange(1, 8)}T{rng.randrange(24):02}:{rng.randrange(60):02}:00Z"
        event: Event = {"ts": at, "insert_id": f"r{number:03}", "distinct_id": rng.choice(ids)}
        event["event"] = rng.choice(["view", "view", "view", "buy", "$set", "$identify"])
        if event["event"] == "$set":
            event["set"] = {"plan": rng.choice(["pro", "free", 3, ["pro", "gold"], None])}
        elif event["event"] == "$identify":
            event["linked_id"] = rng.choice(ids)
        elif rng.random() < 0.2:
            event = {**{name: value for name, value in event.items() if name != "distinct_id"}, "session_id": "s"}
        if rng.random() < 0.5:
            event["browser"] = rng.choice(["Firefox", "Chrome"])
        events.append(event)
    return events


class History:
    def __init__(self, gateway: Gateway, seed: int) -> None:
        self.gateway, self.events = gateway, random_events(random.Random(seed))
        assert gateway.accepted(self.events)["rejected"] == []
        gateway.drain()
        gateway.app.extensions["people"].refresh()
        listed = self.result("people", limit=1000, **{"from": "2026-01-01"})["people"]
        self._person = {name: one["id"] for one in listed for name in one["ids"]}
        self._plans = {one["id"]: plans(one["properties"].get("plan", {}).get("value")) for one in listed}

    def asked(self, kind: str, status: int = 200, **question: Any) -> Any:
        answer = self.gateway.http.post(f"/query/{kind}", json={**SPAN, **question})
        assert answer.status_code == status, answer.text
        return answer.json

    def result(self, kind: str, **question: Any) -> Any:
        return self.asked(kind, **question)["result"]

    def who(self, event: Event) -> str | None:
        return None if "distinct_id" not in event else self._person[event["distinct_id"]]

    def plan(self, event: Event) -> list[Any]:
        """The values that the event's person has now."""
        who = self.who(event)
        return [] if who is None else self._plans[who]


def plans(value: Any) -> list[Any]:
    return [] if value is None else list(dict.fromkeys(value if isinstance(value, list) else [value]))


@pytest.fixture
def history(gateway_for: Callable[..., Gateway]) -> History:
    return History(gateway_for(now=NOW), 1)


def grouped(history: History, events: Iterable[Event]) -> dict[Any, list[Event]]:
    found: dict[Any, list[Event]] = defaultdict(list)
    for event in events:
        for value in history.plan(event) or ["$none"]:
            found[value].append(event)
    return found


def persons(history: History, events: Iterable[Event]) -> int:
    return len({history.who(event) for event in events} - {None})


def test_figures_are_grouped_by_a_property_of_the_person(history: History) -> None:
    series = [{"name": "A"}, {"name": "B", "measure": "unique"}]
    lines = history.result("trend", series=series, by=["person.plan"], interval="total")["series"]
    found = {(line["name"], line["group"][0]): line["total"] for line in lines}
    groups = grouped(history, history.events)
    assert len(groups) == 5
    counts = {("A", name): len(own) for name, own in groups.items()}
    assert found == counts | {("B", name): persons(history, own) for name, own in groups.items()}


def test_the_rest_of_the_groups_is_counted_anew(history: History) -> None:
    question = {"series": [{"measure": "unique"}], "by": ["person.plan"], "top": 1, "interval": "total"}
    first, other, none = history.result("trend", **question)["series"]
    groups = grouped(history, history.events)
    ranked = sorted((name for name in groups if name != "$none"), key=lambda name: -persons(history, groups[name]))
    rest = [event for event in history.events if set(history.plan(event)) - {ranked[0]}]
    assert (other["group"], other["total"]) == (["$other"], persons(history, rest))
    assert first["total"] == persons(history, groups[ranked[0]])
    assert (none["group"], none["total"]) == (["$none"], persons(history, groups["$none"]))


def test_a_property_stands_beside_a_field_of_events(history: History) -> None:
    question = {"series": [{}], "by": ["browser", "person.plan"], "top": None, "interval": "total"}
    expected: dict[tuple[Any, Any], int] = defaultdict(int)
    for event in history.events:
        for value in history.plan(event) or ["$none"]:
            expected[event.get("browser", "$none"), value] += 1
    lines = history.result("trend", **question)["series"]
    assert {tuple(line["group"]): line["total"] for line in lines} == expected


def test_values_of_a_property_are_listed_with_those_who_have_it(history: History) -> None:
    groups = {name: own for name, own in grouped(history, history.events).items() if name != "$none"}
    expected = {name: (len(own), persons(history, own)) for name, own in groups.items()}
    found = history.result("values", field="person.plan")["values"]
    assert {one["value"]: (one["events"], one["subjects"]) for one in found} == expected
    searched = history.result("values", field="person.plan", search="ro")["values"]
    assert [(one["value"], one["events"]) for one in searched] == [("pro", expected["pro"][0])]


def test_journeys_are_grouped_by_it(history: History) -> None:
    steps = [{"event": "view"}, {"event": "buy"}]
    groups = history.result("funnel", steps=steps, by="person.plan")["groups"]
    viewed = grouped(history, (event for event in history.events if event["event"] == "view"))
    expected = {name: number for name, own in viewed.items() if (number := persons(history, own))}
    assert {one["group"]: one["steps"][0]["count"] for one in groups} == expected
    born = history.result("retention", start={"event": "view"}, by="person.plan", periods=0)["groups"]
    assert {one["group"]: sum(row["size"] for row in one["cohorts"]) for one in born} == expected


WHERE = {"field": "person.plan", "op": "is", "value": "pro"}
OTHERS = {"field": "person.plan", "op": "is_not", "value": "pro"}


def test_events_are_listed_by_it_page_by_page(history: History) -> None:
    for where, keep in ((WHERE, True), (OTHERS, False)):
        own = [event for event in history.events if ("pro" in history.plan(event)) is keep]
        for order in ("oldest", "newest"):
            question = {"where": [where], "order": order, "limit": 40}
            found, cursor = [], None
            while cursor or not found:
                answer = history.asked("events", **question, cursor=cursor)
                assert (answer["result"]["total"], answer["meta"]["engine"]) == (len(own), "parts")
                found += answer["result"]["events"]
                cursor = answer["result"]["cursor"]
            times = [event["@timestamp"] for event in found]
            assert times == sorted(times, reverse=order == "newest")
            assert {event["_id"] for event in found} == {event["insert_id"] for event in own}
            assert len(found) == len(own)


def test_what_came_meanwhile_shifts_no_page(history: History) -> None:
    question = {"where": [WHERE], "limit": 5}
    first = history.result("events", **question)
    expected = history.result("events", **{**question, "limit": 10})["events"][5:]
    name = first["events"][0]["distinct_id"]
    history.gateway.now = NOW.replace(hour=13)
    history.gateway.accepted([{"ts": event["@timestamp"], "distinct_id": name} for event in first["events"]])
    history.gateway.drain()
    assert history.result("events", **question, cursor=first["cursor"])["events"] == expected


def test_fields_are_those_of_the_persons_events(history: History) -> None:
    """The same fields, counted by Elasticsearch where the persons are named by their ids."""
    ids = sorted({event["distinct_id"] for event in history.events if "pro" in history.plan(event)})
    named = history.result("properties", where=[{"field": "distinct_id", "op": "in", "value": ids}])
    asked = history.asked("properties", where=[WHERE])
    # What is set changes its type, so Elasticsearch can't see all of its values.
    mine, theirs = ([row for row in one["properties"] if row["name"] != "set.plan"] for one in (asked["result"], named))
    assert (mine, asked["meta"]["engine"]) == (theirs, "parts")
    (plan,) = (row for row in asked["result"]["properties"] if row["name"] == "set.plan")
    assert plan["types"] == ["number", "string"]


def test_a_persons_timeline_may_ask_who_the_person_is(history: History) -> None:
    name = next(event["distinct_id"] for event in history.events if "pro" in history.plan(event))
    question = {"subject_id": name, "limit": 1000}
    plain = history.result("timeline", **question)
    assert history.result("timeline", **question, where=[WHERE]) == plain
    other = history.result("timeline", **question, where=[OTHERS])
    assert (other["events"], other["total"], other["person"]) == ([], 0, plain["person"])
    pro = {"person": {"field": "plan", "op": "is", "value": "pro"}}
    assert history.result("timeline", **question, segment=pro) == plain
