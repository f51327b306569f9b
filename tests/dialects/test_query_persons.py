"""Persons through HTTP: trends and values of persons, timeline, people, segments, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Gateway
from keyed import Kept

from metronome.query import index, partial

NOW = datetime(2026, 10, 8, 12, tzinfo=UTC)
SPAN = {"from": "2026-10-05", "to": "2026-10-07"}

#: jane came as a visitor, signed up, and buys; joe views; a tick of a session alone is nobody's.
EVENTS = [
    {"ts": "2026-10-05T10:00Z", "event": "view", "distinct_id": "visitor", "browser": "Firefox"},
    {"ts": "2026-10-05T10:00Z", "event": "view", "distinct_id": "visitor", "seq": 1},
    {"ts": "2026-10-06T09:00Z", "event": "$identify", "distinct_id": "jane", "linked_id": "visitor"},
    {"ts": "2026-10-06T09:01Z", "event": "$set", "distinct_id": "jane", "set": {"plan": "pro", "age": None}},
    {"ts": "2026-10-06T10:00Z", "event": "buy", "distinct_id": "jane", "browser": "Chrome"},
    {"ts": "2026-10-07T10:00Z", "event": "buy", "distinct_id": "jane", "browser": "Firefox"},
    {"ts": "2026-10-05T11:00Z", "event": "view", "distinct_id": "joe", "browser": "Firefox"},
    {"ts": "2026-10-06T11:00Z", "event": "$set", "distinct_id": "joe", "set": {"plan": "free"}},
    {"ts": "2026-10-07T11:00Z", "event": "view", "session_id": "s1"},
]


@pytest.fixture
def shop(gateway_for: Callable[..., Gateway]) -> Gateway:
    gateway = gateway_for(now=NOW)
    gateway.accepted([{"insert_id": f"e{n}", **event} for n, event in enumerate(EVENTS)])
    gateway.drain()
    gateway.app.extensions["people"].refresh()
    return gateway


def asked(gateway: Gateway, kind: str, status: int = 200, **question: Any) -> Any:
    answer = gateway.http.post(f"/query/{kind}", json={**SPAN, **question})
    assert answer.status_code == status, answer.text
    return answer.json


def result(gateway: Gateway, kind: str, **question: Any) -> Any:
    return asked(gateway, kind, **question)["result"]


def totals(gateway: Gateway, **question: Any) -> list[Any]:
    question = {"series": [{"measure": "unique"}], "interval": "total", **question}
    return [line["total"] for line in result(gateway, "trend", **question)["series"]]


def test_a_person_of_several_ids_counts_once_and_events_of_nobody_count_as_events_only(shop: Gateway) -> None:
    series = [{"name": name, "measure": name} for name in ("count", "unique", "per_subject", "active_days")]
    answer = asked(shop, "trend", series=series)
    lines = {line["name"]: (line["values"], line["total"]) for line in answer["result"]["series"]}
    assert lines == {
        "count": ([3, 4, 2], 9),
        "unique": ([2, 2, 1], 2),
        "per_subject": ([1.5, 2.0, 2.0], 4.5),
        "active_days": ([1.0, 1.0, 1.0], 2.5),
    }
    assert (answer["meta"]["engine"], answer["meta"]["exact"]) == ("parts", True)
    assert answer["meta"]["watermark"] is not None
    ids = {"series": [{"measure": "unique"}], "interval": "total", "subject": "distinct_id"}
    assert [line["total"] for line in result(shop, "trend", **ids)["series"]] == [3]


def test_what_elasticsearch_could_only_estimate_is_counted_from_day_parts(
    gateway_for: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = gateway_for(now=NOW)
    gateway.accepted([{"ts": f"2026-10-0{5 + n % 3}", "session_id": f"s{n % 60}"} for n in range(120)])
    gateway.drain()
    monkeypatch.setattr(index, "MAX_ROWS", 10)
    monkeypatch.setattr(partial, "EXACT_UNIQUES", 10)
    answer = asked(gateway, "trend", series=[{"measure": "unique"}], subject="session")
    (line,) = answer["result"]["series"]
    assert (line["values"], line["total"]) == ([20, 20, 20], 60)
    assert (answer["meta"]["engine"], answer["meta"]["exact"]) == ("parts", True)


def test_persons_are_grouped_with_the_rest_and_those_without_a_value(shop: Gateway) -> None:
    lines = result(shop, "trend", series=[{"measure": "unique"}], by=["browser"], top=1, interval="total")["series"]
    assert [(line["group"], line["total"]) for line in lines] == [(["Firefox"], 2), (["$other"], 1), (["$none"], 2)]
    values = result(shop, "values", field="browser")["values"]
    assert values == [
        {"value": "Firefox", "events": 3, "subjects": 2},
        {"value": "Chrome", "events": 1, "subjects": 1},
    ]


def test_as_of_takes_persons_as_they_were_known_then(shop: Gateway) -> None:
    assert totals(shop, as_of="2026-10-06T08:59Z") == [3]
    assert totals(shop, as_of="2026-10-06T09:00Z") == [2]
    assert asked(shop, "trend", series=[{}], as_of="2026-10-06")["meta"]["as_of"] == "2026-10-06T00:00:00.000Z"
    steps = [{"event": "view"}, {"event": "buy"}]
    counts = [step["count"] for step in result(shop, "funnel", steps=steps)["steps"]]
    before = [step["count"] for step in result(shop, "funnel", steps=steps, as_of="2026-10-06T08:00Z")["steps"]]
    assert (counts, before) == ([2, 1], [2, 0])


def test_a_trend_names_the_events_that_make_it_count_a_person(shop: Gateway) -> None:
    question = {
        "series": [{"name": "A", "measure": "unique"}, {"name": "B", "event": "buy", "measure": "unique"}],
        "explain": {"subject": "visitor"},
    }
    found = result(shop, "trend", **question)["witness"]
    short = {
        one["name"]: (one["events"], [(row["bucket"], row["id"], row["index"][-10:]) for row in one["first"]])
        for one in found["series"]
    }
    assert (found["id"], found["ids"]) == ("jane", ["jane", "visitor"])
    assert short == {
        "A": (6, [("2026-10-05", "e0", "2026.10.05"), ("2026-10-06", "e2", "2026.10.06"), ("2026-10-07", "e5", "2026.10.07")]),
        "B": (2, [("2026-10-06", "e4", "2026.10.06"), ("2026-10-07", "e5", "2026.10.07")]),
    }  # fmt: skip


def test_a_persons_events_come_with_the_ids_they_were_sent_with_page_by_page(shop: Gateway) -> None:
    question = {"subject_id": "visitor", "limit": 4, "order": "oldest"}
    first = result(shop, "timeline", **question)
    shop.accepted({"ts": "2026-10-06T09:30Z", "event": "late", "distinct_id": "jane"})
    shop.drain()
    rest = result(shop, "timeline", **question, cursor=first["cursor"])
    assert [(event["_id"], event["distinct_id"]) for event in first["events"] + rest["events"]] == [
        ("e0", "visitor"),
        ("e1", "visitor"),
        ("e2", "jane"),
        ("e3", "jane"),
        ("e4", "jane"),
        ("e5", "jane"),
    ]
    assert (first["total"], rest["cursor"]) == (6, None)
    assert first["person"] == {
        "id": "jane",
        "ids": ["jane", "visitor"],
        "properties": {
            "age": {"value": None, "set_at": "2026-10-06T09:01:00.000Z"},
            "plan": {"value": "pro", "set_at": "2026-10-06T09:01:00.000Z"},
        },
        "first_seen": "2026-10-05T10:00:00.000Z",
        "last_seen": "2026-10-07T10:00:00.000Z",
        "events": 6,
    }
    newest = result(shop, "timeline", subject_id="jane", where=[{"field": "event", "op": "is", "value": "view"}])
    assert [event["_id"] for event in newest["events"]] == ["e1", "e0"]
    unknown = result(shop, "timeline", subject_id="nobody")
    assert (unknown["person"]["ids"], unknown["events"], unknown["total"]) == (["nobody"], [], 0)


def test_a_page_isnt_read_on_once_the_person_is_another(shop: Gateway) -> None:
    first = result(shop, "timeline", subject_id="jane", limit=1)
    shop.accepted({"ts": "2026-10-07T12:00Z", "event": "$alias", "distinct_id": "jane", "linked_id": "mail"})
    shop.drain()
    shop.app.extensions["people"].refresh()
    error = asked(shop, "timeline", 400, subject_id="jane", limit=1, cursor=first["cursor"])["error"]
    assert error["message"] == "cursor: it belongs to another question; ask the same one for its next page"


def test_a_session_has_a_timeline_too(shop: Gateway) -> None:
    found = result(shop, "timeline", subject_id="s1", subject="session")
    at = "2026-10-07T11:00:00.000Z"
    assert found["session"] == {"id": "s1", "first_seen": at, "last_seen": at, "events": 1}
    assert [event["_id"] for event in found["events"]] == ["e8"]
    assert result(shop, "timeline", subject_id="s1")["events"] == []


def test_people_are_listed_with_what_is_known_of_them(shop: Gateway) -> None:
    found = result(shop, "people")
    assert [(one["id"], one["events"]) for one in found["people"]] == [("jane", 6), ("joe", 2)]
    assert (found["total"], found["cursor"]) == (2, None)
    for one in found["people"]:
        known = shop.http.get(f"/people/{one['id']}").json
        assert one == {name: known[name] for name in one}
    by_events = result(shop, "people", sort="first_seen", limit=1)
    rest = result(shop, "people", sort="first_seen", limit=1, cursor=by_events["cursor"])
    assert [one["id"] for one in by_events["people"] + rest["people"]] == ["joe", "jane"]
    views = result(shop, "people", where=[{"field": "event", "op": "is", "value": "view"}])["people"]
    assert [(one["id"], one["events"], one["last_seen"][:10]) for one in views] == [
        ("joe", 1, "2026-10-05"),
        ("jane", 2, "2026-10-05"),
    ]


def test_the_lists_are_tables_too(shop: Gateway) -> None:
    table = shop.http.post("/query/people?format=csv", json=SPAN).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [(row["id"], json.loads(row["ids"]), row["events"]) for row in rows] == [
        ("jane", ["jane", "visitor"], "6"),
        ("joe", ["joe"], "2"),
    ]
    lines = shop.http.get("/query/timeline?format=ndjson&q=" + quote(json.dumps({**SPAN, "subject_id": "joe"}))).text
    assert [json.loads(line)["_id"] for line in lines.splitlines()] == ["e7", "e6"]


BUYERS = {"did": {"event": "buy"}, "at_least": 2}
PRO = {"person": {"field": "plan", "op": "is", "value": "pro"}}


@pytest.mark.parametrize(
    ("segment", "people"),
    [
        pytest.param(BUYERS, ["jane"], id="who did it twice"),
        pytest.param({"did": {"event": "buy"}, "at_least": 0, "at_most": 0}, ["joe"], id="who never did it"),
        pytest.param({**BUYERS, "within": "1d"}, [], id="who did it twice within a day of the end"),
        pytest.param({"did": {"event": "buy"}, "within": "1d"}, ["jane"], id="who did it within a day of the end"),
        pytest.param(PRO, ["jane"], id="whose property is"),
        pytest.param({"person": {"field": "person.plan", "op": "is_not", "value": "pro"}}, ["joe"], id="whose property isn't"),
        pytest.param({"person": {"field": "age", "op": "missing"}}, ["jane", "joe"], id="null is no value"),
        pytest.param({"ids": ["visitor", "nobody"]}, ["jane"], id="any id of the person"),
        pytest.param({"not": {"ids": ["visitor"]}}, ["joe"], id="not these"),
        pytest.param({"all": [PRO, {"any": [{"ids": ["joe"]}, BUYERS]}]}, ["jane"], id="a tree"),
        pytest.param({"all": []}, ["jane", "joe"], id="everybody"),
    ],
)  # fmt: skip
def test_a_segment_narrows_every_kind_of_question_to_its_persons(
    shop: Gateway, segment: dict[str, Any], people: list[str]
) -> None:
    found = result(shop, "people", segment=segment, sort="events")["people"]
    assert [one["id"] for one in found] == people
    assert totals(shop, segment=segment) == [len(people)]
    step = [{"event": "view"}, {}]
    assert result(shop, "funnel", segment=segment, steps=step)["steps"][0]["count"] == len(people)
    retention = result(shop, "retention", segment=segment, start={"event": "view"}, periods=0)
    assert sum(cohort["size"] for cohort in retention["cohorts"]) == len(people)
    assert result(shop, "paths", segment=segment, start={"event": "view"})["paths"] == len(people)
    # Events of nobody are in no segment.
    assert totals(shop, segment=segment, series=[{"event": "view"}]) == [2 * ("jane" in people) + ("joe" in people)]


def test_filters_on_the_person_stand_beside_those_on_the_event(shop: Gateway) -> None:
    pro = {"field": "person.plan", "op": "is", "value": "pro"}
    other = {"field": "person.plan", "op": "is_not", "value": "pro"}
    series = [{"event": "view", "where": [where]} for where in (pro, other)]
    assert totals(shop, series=series) == [2, 2]  # who is nobody has no plan either
    assert totals(shop, series=[{}], where=[{"any": [pro, {"field": "event", "op": "is", "value": "view"}]}]) == [8]
    steps = [{"event": "view", "where": [pro]}, {"event": "buy"}]
    assert [step["count"] for step in result(shop, "funnel", steps=steps)["steps"]] == [1, 1]


#: Calls of `/v1`, each of a session of its own, and whether they make the session's user active.
#: Source: openmetrics contract, section 3.1.
FLAGS = {
    "createUser": ([("createUser", {})], True),
    "createUser-inactive": ([("createUser", {"options": {"active": False}})], False),
    "events": ([("events", {"events": [{"name": "a"}]})], True),
    "events-inactive": ([("events", {"events": [{"name": "a", "options": {"active": False}}] * 2})], False),
    "events-one-active": ([("events", {"events": [{"name": "a", "options": {"active": False}}, {"name": "b"}]})], True),
    "events-said-active": ([("events", {"events": [{"name": "a", "options": {"active": True}}]})], True),
    "props": ([("setUserProps", {"props": {"plan": "pro"}}), ("setSessionProps", {"props": {"os": "x"}})], False),
    "signs-up": ([("setUserId", {"uid": "jim"})], False),
    "inactive-then-signs-up": ([("createUser", {"options": {"active": False}}), ("setUserId", {"uid": "ann"})], False),
    "active-then-signs-up": ([("events", {"events": [{"name": "a"}]}), ("setUserId", {"uid": "kim"})], True),
}


def test_users_are_active_by_what_v1_flags_and_a_batch_flags_its_user_once(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(now=NOW)
    for session, (calls, _) in FLAGS.items():
        for call, body in calls:
            answer = gateway.http.post(f"/v1/{call}", json={"sessionId": session, **body})
            assert (answer.status_code, answer.text) == (200, "ok")
            gateway.drain()
            gateway.app.extensions["people"].refresh()
    today = {"from": "2026-10-08", "to": "2026-10-08"}
    active = {"field": "active", "op": "is_not", "value": False}
    found = gateway.http.post("/query/people", json={**today, "where": [active], "sort": "events"}).json["result"]
    persons = {"active-then-signs-up": "kim"}
    expected = {persons.get(session, session): 1 for session, (_, is_active) in FLAGS.items() if is_active}
    assert {one["id"]: one["events"] for one in found["people"]} == expected
    gateway.now = NOW + timedelta(hours=1)  # a range up to now leaves out what happens in this very moment
    for step in ("day", "week", "month"):
        result = gateway.http.get(f"/saved/metrics/active-users-by-{step}/result").json
        assert result["data"][-1]["value"] == len(expected) == 5
    every = gateway.http.post("/query/trend", json={**today, "series": [{"measure": "unique"}], "interval": "total"})
    assert every.json["result"]["series"][0]["total"] == len(FLAGS)


#: bea has the plan pro, max the plan free, tom none. All view the shelf x; max buys from y.
PLANNED = [
    {"ts": "2026-10-05T09:00Z", "event": "$set", "distinct_id": "bea", "set": {"plan": "pro"}},
    {"ts": "2026-10-05T09:00Z", "event": "$set", "distinct_id": "max", "set": {"plan": "free"}},
    {"ts": "2026-10-05T10:00Z", "event": "view", "distinct_id": "bea", "shelf": "x"},
    {"ts": "2026-10-05T10:01Z", "event": "view", "distinct_id": "max", "shelf": "x"},
    {"ts": "2026-10-05T10:02Z", "event": "view", "distinct_id": "tom", "shelf": "x"},
    {"ts": "2026-10-05T11:00Z", "event": "buy", "distinct_id": "bea", "shelf": "x"},
    {"ts": "2026-10-05T11:01Z", "event": "buy", "distinct_id": "max", "shelf": "y"},
    {"ts": "2026-10-05T11:02Z", "event": "buy", "distinct_id": "tom", "shelf": "x"},
]


@pytest.fixture
def planned(gateway_for: Callable[..., Gateway]) -> Gateway:
    gateway = gateway_for(now=NOW)
    gateway.accepted([{"insert_id": f"p{n}", **event} for n, event in enumerate(PLANNED)])
    gateway.drain()
    gateway.app.extensions["people"].refresh()
    return gateway


@pytest.mark.parametrize(
    ("subject", "hold", "counts"),
    [
        pytest.param("person", ["person.plan"], [3, 3], id="a person has one plan, and no plan equals no plan"),
        pytest.param("shelf", [], [1, 1], id="a shelf is seen and bought from"),
        pytest.param("shelf", ["person.plan"], [1, 1], id="by somebody of the same plan"),
        pytest.param("person", ["person.plan", "shelf"], [3, 2], id="from one shelf, with one plan"),
    ],
)
def test_a_property_of_persons_is_held_constant(
    planned: Gateway, subject: str, hold: list[str], counts: list[int]
) -> None:
    steps = [{"event": "view"}, {"event": "buy"}]
    found = result(planned, "funnel", subject=subject, hold=hold, steps=steps)["steps"]
    assert [step["count"] for step in found] == counts


def test_a_property_held_constant_parts_the_events_of_one_subject(planned: Gateway) -> None:
    """bea views the shelf x, which is pro; then bea and tom buy from it, and tom has no plan."""
    steps = [{"event": "view", "where": [{"field": "person.plan", "op": "is", "value": "pro"}]}, {"event": "buy"}]
    crossed = {"event": "buy", "where": [{"field": "person.plan", "op": "is_not", "value": "pro"}]}
    counts = [
        [step["count"] for step in result(planned, "funnel", subject="shelf", hold=hold, steps=asked)["steps"]]
        for asked in (steps, [steps[0], crossed])
        for hold in ([], ["person.plan"])
    ]
    assert counts == [[1, 1], [1, 1], [1, 1], [1, 0]]


def test_nodes_of_paths_are_the_values_of_a_property_of_persons(planned: Gateway) -> None:
    """What happens on the shelf x, in order of time."""
    start = {"event": "view", "where": [{"field": "person.plan", "op": "is", "value": "pro"}]}
    options = {"node": "person.plan", "subject": "shelf", "within": "2h", "across_sessions": True}
    found = result(planned, "paths", start=start, **options)
    plans = ["pro", "free", "$none", "pro", "$none"]
    waits = [60.0, 60.0, 3480.0, 120.0]
    assert found == {
        "paths": 1,
        "nodes": [{"step": step, "name": plan, "count": 1} for step, plan in enumerate(plans)],
        "links": [
            {"step": step, "from": plans[step], "to": plans[step + 1], "count": 1, "median_s": wait}
            for step, wait in enumerate(waits)
        ],
        "ended": [{"step": 4, "name": "$none", "count": 1}],
    }


def put(gateway: Gateway, path: str, body: Any, status: int = 200, **headers: str) -> Any:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, str) else json.dumps(body)
    answer = gateway.http.put(f"/saved/segments/{path}", data=data, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json


def test_a_saved_segment_is_asked_by_its_id_and_answers_quote_its_version(shop: Gateway) -> None:
    saved = put(shop, "buyers", {"title": "Buyers", "rule": BUYERS})
    at = "2026-10-08T12:00:00.000Z"
    assert saved == {"id": "buyers", "version": 1, "title": "Buyers", "rule": BUYERS, "saved_at": at}
    answer = asked(shop, "trend", series=[{"measure": "unique"}], interval="total", segment="buyers")
    assert (answer["result"]["series"][0]["total"], answer["meta"]["segment"]) == (1, {"id": "buyers", "version": 1})
    assert put(shop, "buyers/ids", "id\njoe\nvisitor\n")["version"] == 2
    answer = asked(shop, "people", segment="buyers")
    assert (answer["result"]["total"], answer["meta"]["segment"]) == (2, {"id": "buyers", "version": 2})
    assert asked(shop, "people", segment=PRO)["meta"]["segment"] == {"id": None, "version": None}
    earlier = shop.http.get("/saved/segments/buyers?version=1")
    assert (earlier.json, earlier.headers["ETag"]) == (saved, '"1"')
    listed = shop.http.get("/saved/segments").json["segments"]
    assert [(one["id"], one["version"], one["title"]) for one in listed] == [("buyers", 2, "Buyers")]


def test_of_two_writers_one_is_told(shop: Gateway) -> None:
    put(shop, "buyers", {"rule": BUYERS}, If_None_Match="*")
    put(shop, "buyers", {"rule": BUYERS}, 409, If_None_Match="*")
    put(shop, "buyers", {"rule": PRO}, If_Match='"1"')
    error = put(shop, "buyers", {"rule": BUYERS}, 409, If_Match='"1"')["error"]
    assert error["message"] == "version 2 of buyers holds now; read it, and quote that"
    put(shop, "sellers", {"rule": BUYERS}, 409, If_Match='"1"')


def test_a_deleted_segment_is_gone_but_its_versions_stay_readable(shop: Gateway) -> None:
    put(shop, "buyers", {"rule": BUYERS})
    deleted = [shop.http.delete("/saved/segments/buyers").status_code for _ in range(2)]
    assert deleted == [204, 404]
    assert shop.http.get("/saved/segments").json == {"segments": []}
    error = asked(shop, "people", 404, segment="buyers")["error"]
    assert error["message"] == "there is no segment 'buyers'; GET /saved/segments lists those there are"
    assert shop.http.get("/saved/segments/buyers?version=1").json["rule"] == BUYERS
    assert put(shop, "buyers", {"rule": PRO}, If_None_Match="*")["version"] == 3


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("buyers", 'rule: a rule is an object such as {"did": {"event": "buy"}}'),
        ({"all": BUYERS}, "rule.all: a list of at most 500 rules"),
        ({"did": {"event": "buy"}, "times": 3}, "rule: 'times' isn't a key; there are did, at_least, at_most, within"),
        ({"did": {}, "at_least": 2, "at_most": 1}, "rule.at_most: a whole number from at_least, or null"),
        ({"did": {}, "within": "soon"}, "rule.within: 'soon' is no duration; write 90s, 30m, 2h, 7d or 4w"),
        ({"did": {"where": [{"field": "person.plan", "op": "exists"}]}}, "rule.did: a step of events; what persons"),
        ({"ids": [1]}, "rule.ids: a list of at most 100,000 ids as text"),
        ({"person": {"field": "plan", "op": "like"}}, "rule.person: op: 'like' isn't known"),
    ],
)
def test_a_rule_that_cannot_be_asked_isnt_saved(gateway: Gateway, rule: Any, said: str) -> None:
    error = put(gateway, "buyers", {"rule": rule}, 400)["error"]
    assert error["message"].startswith(said)
    assert gateway.http.get("/saved/segments").json == {"segments": []}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("Buyers!", {"rule": PRO}, "'Buyers!' can't be an id; take 1 to 64 of a-z, 0-9 and -"),
        ("buyers", {"title": "Buyers"}, "rule: is missing"),
        ("buyers", {"rule": PRO, "name": "x"}, "name: isn't a key; there are title and rule"),
        ("buyers", {"rule": PRO, "title": ""}, "title: a text of 1 to 200 characters"),
        ("buyers/ids", "id\n", "1 to 100,000 ids, each in the first column of a row; there are 0"),
    ],
)
def test_what_cannot_be_saved_says_why(gateway: Gateway, path: str, body: Any, said: str) -> None:
    assert put(gateway, path, body, 400)["error"]["message"] == said


@pytest.mark.parametrize(
    ("kind", "question", "said"),
    [
        ("trend", {"series": [{"measure": "sum:person.age"}]}, "series: 'person.age' is a property of persons"),
        ("trend", {"series": [{}], "subject": "person.age"}, "subject: 'person.age' is a property of persons"),
        ("retention", {"start": {}, "value": "sum:person.age"}, "value: 'person.age' is a property of persons"),
        ("people", {"subject": "session"}, "subject: people are persons"),
        ("people", {"sort": "name"}, "sort: Must be one of: last_seen, first_seen, events"),
        ("people", {"cursor": "AAAA"}, "cursor: it isn't one of ours"),
        ("timeline", {}, "subject_id: Missing data for required field"),
        ("timeline", {"subject_id": "u", "limit": 1001}, "limit: Must be greater than or equal to 1 and less than"),
        ("paths", {"start": {}, "explain": {"subject": "u"}}, 'explain: "query" is what there is'),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(
    gateway: Gateway, kind: str, question: dict[str, Any], said: str
) -> None:
    assert asked(gateway, kind, 400, **question)["error"]["message"].startswith(said)


# --- Sessions that moved, and keys ------------------------------------------------------------------------------


def v1(gateway: Gateway, route: str, at: datetime, **q: Any) -> None:
    gateway.now = at
    answer = gateway.http.get(f"/v1/{route}?q={quote(json.dumps(q))}")
    assert (answer.status_code, answer.text) == (200, "ok")


def test_events_of_a_session_that_moved_are_whose_the_session_was(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(now=NOW)
    for minute, (user, name) in enumerate([("u1", "view"), ("u2", "buy"), ("u1", "view"), ("u3", "buy")]):
        at = NOW.replace(hour=10, minute=minute)
        v1(gateway, "setUserId", at, sessionId="s", uid=user)
        v1(gateway, "events", at.replace(second=30), sessionId="s", events=[{"name": name}])
    # A tick of the same session says who it is of itself.
    gateway.accepted({"event": "buy", "session_id": "s", "distinct_id": "s", "ts": "2026-10-08T11:00Z"})
    gateway.now = NOW
    gateway.drain()
    gateway.app.extensions["people"].refresh()
    span = {"from": "2026-10-08", "to": "2026-10-08"}
    found = result(gateway, "people", **span)["people"]
    assert {one["id"]: one["events"] for one in found} == {"u1": 5, "u2": 2, "u3": 2}
    for one in found:
        known = gateway.http.get(f"/people/{one['id']}").json
        assert one == {name: known[name] for name in one}
        events = result(gateway, "timeline", subject_id=one["id"], **span)["events"]
        assert len(events) == one["events"]
    assert totals(gateway, series=[{"event": "buy", "measure": "unique"}], **span) == [3]
    steps = [{"event": "view"}, {"event": "buy"}]
    assert [step["count"] for step in result(gateway, "funnel", steps=steps, **span)["steps"]] == [1, 1]
    buyers = {"did": {"event": "view"}, "at_least": 2}
    assert [one["id"] for one in result(gateway, "people", segment=buyers, **span)["people"]] == ["u1"]


def test_lists_and_properties_are_those_of_each_person_over_random_histories(
    gateway_for: Callable[..., Gateway],
) -> None:
    """Two ways to one thing: day parts for everybody at once, and Elasticsearch person by person."""
    gateway = gateway_for(now=NOW)
    rng = random.Random(3)
    ids = [f"u{n}" for n in range(12)]
    events = []
    for number in range(150):
        event = {
            "ts": f"2026-10-0{rng.randrange(1, 8)}T{rng.randrange(24):02}:{rng.randrange(60):02}Z",
            "seq": rng.randrange(3),
        }
        event |= {"distinct_id": rng.choice(ids), "insert_id": f"r{number}"}
        event["event"] = rng.choice(["view", "$set", "$set", "$identify", "$alias"])
        if event["event"] == "$set":
            event |= {
                rng.choice(["set", "set_once"]): {rng.choice("ab"): rng.choice([1, "x", True, None, ["y", [2, None]]])},
                "add": {"n": rng.choice([1, 0.5])},
                "unset": rng.choice([[], ["a"], "b"]),
            }
        elif event["event"] != "view":
            event["linked_id"] = rng.choice(ids)
        events.append(event)
    gateway.accepted(events)
    gateway.drain()
    gateway.app.extensions["people"].refresh()
    for as_of in (None, "2026-10-04T12:00Z"):
        question = {"from": "2026-10-01", "to": "2026-10-08", "as_of": as_of}
        found = result(gateway, "people", **question)["people"]
        assert len(found) > 3
        for one in found:
            known = gateway.http.get(f"/people/{one['id']}", query_string={"as_of": as_of} if as_of else {}).json
            assert (one["ids"], one["properties"]) == (known["ids"], known["properties"])
        has_a = {"person": {"field": "a", "op": "exists"}}
        wanted = {one["id"] for one in found if one["properties"].get("a", {}).get("value") is not None}
        assert {one["id"] for one in result(gateway, "people", segment=has_a, **question)["people"]} == wanted


def test_a_key_of_one_application_learns_nothing_of_others(gateway_for: Callable[..., Gateway]) -> None:
    shop = gateway_for(now=NOW, open="no")
    kept = Kept(shop)
    _, bound = kept.make(scopes=["read", "edit"], app="shop")
    _, free = kept.make(scopes=["read"])
    _, editor = kept.make(scopes=["edit"])

    def said(method: str, path: str, token: str, question: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        answer = shop.http.open(path, method=method, json=question, headers=headers)
        return answer.status_code, answer.json

    buy = {"ts": "2026-10-07T12:00Z", "event": "buy"}
    events = [{**buy, "distinct_id": "joe", "app": "shop"}, {**buy, "distinct_id": "jane", "app": "club"}]
    views = [{**event, "event": "view", "app": "shop"} for event in events]
    assert said("POST", "/tick", editor, events + views)[0] == 202
    shop.drain()
    unique = {"series": [{"measure": "unique"}], "interval": "total", **SPAN}
    once = {"did": {"event": "buy"}}
    assert said("POST", "/query/trend", bound, {**unique, "segment": once})[1]["result"]["series"][0]["total"] == 1
    assert said("POST", "/query/trend", free, {**unique, "segment": once})[1]["result"]["series"][0]["total"] == 2
    pro = {"field": "person.plan", "op": "is", "value": "pro"}
    refused = [
        ("POST", "/query/people", SPAN),
        ("POST", "/query/timeline", {**SPAN, "subject_id": "jane"}),
        ("POST", "/query/trend", {**unique, "where": [pro]}),
        ("POST", "/query/funnel", {**SPAN, "steps": [{"where": [{"not": pro}]}, {}]}),
        ("POST", "/query/trend", {**unique, "segment": {"ids": ["jane"]}}),
        ("POST", "/query/trend", {**unique, "by": ["person.plan"]}),
        ("POST", "/query/trend", {**SPAN, "series": [{"measure": "unique:person.plan"}]}),
        ("POST", "/query/values", {**SPAN, "field": "person.plan"}),
        ("POST", "/query/funnel", {**SPAN, "steps": [{}, {}], "by": "person.plan"}),
        ("POST", "/query/funnel", {**SPAN, "steps": [{}, {}], "hold": ["person.plan"]}),
        ("POST", "/query/retention", {**SPAN, "start": {}, "by": "person.plan"}),
        ("POST", "/query/paths", {**SPAN, "start": {}, "node": "person.plan"}),
        ("POST", "/query/events", {**SPAN, "where": [pro]}),
        ("POST", "/query/properties", {**SPAN, "where": [{"not": pro}]}),
        ("PUT", "/saved/segments/buyers", {"rule": once}),
        ("GET", "/saved/segments", None),
    ]
    assert [said(method, path, bound, question)[0] for method, path, question in refused] == [403] * len(refused)
    assert said("PUT", "/saved/segments/buyers", free, {"rule": once})[0] == 403
    assert said("PUT", "/saved/segments/buyers", editor, {"rule": once})[0] == 200
    shop.app.extensions["gate"].rates.close()


def test_one_and_true_are_two_conditions_in_one_question(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(now=NOW)
    at = {"ts": "2026-10-06T10:00Z", "event": "view"}
    gateway.accepted(
        [{**at, "distinct_id": f"number-{n}", "props": {"paid": 1}} for n in range(3)]
        + [{**at, "distinct_id": f"flag-{n}", "props": {"paid": True}} for n in range(2)]
    )
    gateway.drain()
    by_value = [{"where": [{"field": "props.paid", "op": "is", "value": value}]} for value in (1, True)]
    series = [{"name": name, "measure": "unique", **one} for name, one in zip("ab", by_value, strict=True)]
    assert totals(gateway, series=series) == [3, 2]
    steps = result(gateway, "funnel", steps=[{"event": "view", **by_value[1]}, {"event": "view", **by_value[0]}])
    assert [step["count"] for step in steps["steps"]] == [2, 0]
