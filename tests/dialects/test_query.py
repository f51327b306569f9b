"""The query dialect through HTTP: shapes, errors, formats, pages. Its numbers: tests/query/test_numbers.py."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Gateway

NOW = datetime(2026, 10, 7, 9, 30, tzinfo=UTC)
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

EVENTS = [
    {"ts": "2026-10-05T10:00Z", "event": "view", "session_id": "s1", "browser": "Firefox", "app": "shop"},
    {"ts": "2026-10-05T11:00Z", "event": "view", "session_id": "s2", "browser": "Chrome", "app": "shop"},
    {"ts": "2026-10-06T10:00Z", "event": "view", "session_id": "s1", "browser": "Firefox", "app": "shop"},
    {"ts": "2026-10-06T10:30Z", "event": "buy", "session_id": "s1", "browser": "Firefox", "price": 12.5},
    {"ts": "2026-10-06T12:00Z", "event": "buy", "session_id": "s2", "price": 7.5},
    {"ts": "2026-10-06T13:00Z", "event": "view", "user_agent": ROBOT},
    {"ts": "2026-10-02T13:00Z", "event": "buy", "price": 1},
]


@pytest.fixture
def shop(gateway_for: Callable[..., Gateway]) -> Gateway:
    """Seven events of a shop, asked on the morning of 7 October."""
    gateway = gateway_for(now=NOW)
    gateway.accepted([{"id": "home", "insert_id": f"e{n}", **event} for n, event in enumerate(EVENTS)])
    gateway.drain()
    return gateway


def result(gateway: Gateway, kind: str, **question: Any) -> Any:
    response = gateway.http.post(f"/query/{kind}", json={"from": "-3d", **question})
    assert response.status_code == 200, response.text
    return json.loads(response.data)["result"]


def test_a_trend_has_the_shape_of_the_contract(shop: Gateway) -> None:
    response = shop.http.post(
        "/query/trend",
        json={
            "series": [
                {"name": "A", "event": "buy", "measure": "sum:price"},
                {"name": "B", "event": "view", "measure": "unique"},
            ],
            "formula": "A / B",
            "unit": "currency:EUR",
            "by": ["browser"],
            "subject": "session",
            "from": "-3d",
            "compare": "previous",
        },
    )
    body = response.json
    assert body["result"] == {
        "buckets": ["2026-10-05", "2026-10-06", "2026-10-07"],
        "series": [
            {"name": "formula", "group": ["Firefox"], "values": [0, 12.5, None], "total": 12.5},
            {"name": "formula", "group": ["Chrome"], "values": [0, None, None], "total": 0},
            {"name": "formula", "group": ["$none"], "values": [None, None, None], "total": None},
        ],
        "complete": [True, True, False],
        "previous": {
            "buckets": ["2026-10-02", "2026-10-03", "2026-10-04"],
            "series": [
                {"name": "formula", "group": ["Firefox"], "values": [None] * 3, "total": None},
                {"name": "formula", "group": ["Chrome"], "values": [None] * 3, "total": None},
                {"name": "formula", "group": ["$none"], "values": [None] * 3, "total": None},
            ],
        },
    }
    meta = body["meta"]
    assert meta.pop("took_ms") > 0
    assert "2026-10-07T09:29:5" < meta.pop("watermark") <= "2026-10-07T09:30:00.000Z"
    assert meta.pop("robots")["counted"] is False
    assert meta == {
        "from": "2026-10-05T00:00:00.000Z",
        "to": "2026-10-07T09:30:00.000Z",
        "tz": "UTC",
        "exact": True,
        "as_of": None,
        "ignored_values": 0,
        "engine": "elasticsearch",
        "unit": "currency:EUR",
    }


@pytest.mark.parametrize(
    ("question", "totals"),
    [
        pytest.param({"series": [{}]}, [5], id="any event, robots left out"),
        pytest.param({"series": [{}], "robots": True}, [1], id="only robots"),
        pytest.param({"series": [{}], "robots": "all"}, [6], id="everybody"),
        pytest.param({"series": [{}], "app": "shop"}, [3], id="one app"),
        pytest.param({"series": [{"event": ["buy", "view"]}]}, [5], id="one of several names"),
        pytest.param(
            {
                "series": [
                    {
                        "any": [
                            {"event": "buy"},
                            {"event": "view", "where": [{"field": "browser", "op": "is", "value": "Chrome"}]},
                        ]
                    }
                ]
            },
            [3],
            id="one of several steps",
        ),
        pytest.param({"series": [{}], "from": "2026-10-06", "to": "2026-10-06"}, [3], id="a day, both ends included"),
        pytest.param(
            {"series": [{}], "from": "2026-10-06T10:00Z", "to": "2026-10-06T10:30Z"},
            [1],
            id="an instant, its end excluded",
        ),
        pytest.param({"series": [{}], "from": "-1d"}, [0], id="today"),
        pytest.param({"series": [{}], "from": "-46h"}, [5 - 2], id="hours back, the running one included"),
        pytest.param({"series": [{}], "from": "-1w"}, [5], id="the running week"),
        pytest.param({"series": [{}], "from": "-1mo"}, [6], id="the running month"),
        pytest.param(
            {"series": [{}], "where": [{"field": "@timestamp", "op": "gte", "value": "2026-10-06T12:00Z"}]},
            [1],
            id="times are compared as times",
        ),
    ],
)
def test_common_keys_decide_which_events_count(shop: Gateway, question: dict[str, Any], totals: list[int]) -> None:
    found = result(shop, "trend", interval="total", **question)
    assert [series["total"] for series in found["series"]] == totals
    assert (found["buckets"], [series["values"] for series in found["series"]]) == (["total"], [totals])


@pytest.mark.parametrize(
    ("formula", "total"),
    [
        ("A", 3),
        ("A + B * 2", 7),
        ("(A + B) * 2", 10),
        ("A - B - 1", 0),
        ("-A + 4", 1),
        ("A / (B - 2)", None),
        ("12 / A / 2", 2),
        ("1.5*B", 3),
    ],
)
def test_a_formula_is_computed_from_totals(shop: Gateway, formula: str, total: float | None) -> None:
    series = [{"name": "A", "event": "view"}, {"name": "B", "event": "buy"}]
    found = result(shop, "trend", series=series, formula=formula, interval="total")
    assert found["series"] == [{"name": "formula", "group": [], "values": [total], "total": total}]


def test_values_come_with_events_and_subjects(shop: Gateway) -> None:
    assert result(shop, "values", field="browser", subject="session") == {
        "values": [
            {"value": "Firefox", "events": 3, "subjects": 1},
            {"value": "Chrome", "events": 1, "subjects": 1},
        ]
    }
    assert result(shop, "values", field="browser", search="rom", event="view") == {
        "values": [{"value": "Chrome", "events": 1, "subjects": 0}]
    }
    assert result(shop, "values", field="price", top=1) == {"values": [{"value": 7.5, "events": 1, "subjects": 0}]}


def test_properties_say_what_there_is(shop: Gateway) -> None:
    found = {row["name"]: row for row in result(shop, "properties", event="buy")["properties"]}
    assert found["price"] == {
        "name": "price",
        "types": ["number"],
        "events": 2,
        "values": 2,
        "values_exact": True,
        "first_seen": "2026-10-06T10:30:00.000Z",
        "last_seen": "2026-10-06T12:00:00.000Z",
    }
    assert (found["browser"]["events"], found["browser"]["types"]) == (1, ["string"])
    assert "app" not in found


def test_events_are_read_page_by_page_from_one_state(shop: Gateway) -> None:
    pages, cursor = [], None
    while True:
        found = result(shop, "events", limit=2, cursor=cursor, order="oldest")
        pages.append([event["insert_id"] if "insert_id" in event else event["_id"] for event in found["events"]])
        assert found["total"] == 5
        cursor = found["cursor"]
        if cursor is None:
            break
        # What comes meanwhile neither doubles nor shifts a page.
        shop.accepted({"id": "home", "event": "view", "ts": "2026-10-05T10:30Z"})
        shop.drain()
    assert pages == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    (newest,) = result(shop, "events", limit=1)["events"]
    assert newest == {
        "_id": "e4",
        "_index": f"{shop.settings.index_prefix}-2026.10.06",
        "id": "home",
        "insert_id": "e4",
        "ts": "2026-10-06T12:00Z",
        "event": "buy",
        "session_id": "s2",
        "price": 7.5,
        "@timestamp": "2026-10-06T12:00:00.000Z",
        "@version": "1",
        "received_at": "2026-10-07T09:30:00.000Z",
        "dialect": "tick",
    }


def test_a_cursor_is_checked(shop: Gateway) -> None:
    cursor = result(shop, "events", limit=1)["cursor"]

    def said(**question: Any) -> tuple[int, str]:
        response = shop.http.post("/query/events", json={"from": "-3d", **question})
        return response.status_code, response.json["error"]["message"]

    assert said(cursor="rubbish") == (400, "cursor: it isn't one of ours; take it from the page before")
    assert said(cursor=cursor[:-8] + "AAAAAAA=") == (400, "cursor: it isn't one of ours; take it from the page before")
    assert said(cursor=cursor, event="buy") == (
        400,
        "cursor: it belongs to another question; ask the same one for its next page",
    )


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"serie": []}, "serie: isn't a key; there are from, to, tz,"),
        ({}, "series: Missing data for required field"),
        ({"series": []}, "series: a list of 1 to 26"),
        ({"series": [{"evnt": "x"}]}, "series[0]: 'evnt' isn't a key; there are event, where, any, as, name, measure"),
        ({"series": [{"measure": "mode:x"}]}, "series[0].measure: 'mode:x' isn't known; there are count, unique"),
        ({"series": [{"measure": "p0:x"}]}, "series[0].measure: 'p0:x' isn't known"),
        ({"series": [{}], "subject": "_id"}, "'_id' isn't a field of events"),
        ({"series": [{}], "segment": {"who": "pro"}}, "segment: a rule has one of all, any, not, person, did, ids"),
        ({"series": [{}], "as_of": "last year"}, "as_of: 'last year' is not an ISO 8601 time"),
        ({"series": [{}], "explain": {"subject": 3}}, 'explain: {"subject": "u1"} with the id of a subject as text'),
        ({"series": [{}], "explain": "why"}, 'explain: "query" is what there is; a subject belongs to trend, funnel'),
        ({"series": [{}], "robots": "no"}, "robots: there are false (left out), true (only robots)"),
        ({"series": [{}], "interval": "decade"}, "interval: Must be one of: hour, day"),
        ({"series": [{}], "tz": "Mars/Base"}, "'Mars/Base' is not a time zone"),
        ({"series": [{}], "from": "-3x"}, "'-3x' is not a time back from now; write -30d"),
        ({"series": [{}], "from": "2199-10-08"}, "to: 'now' is not after from: '2199-10-08'"),
        ({"series": [{}], "by": ["a", "b", "c"]}, "by: up to two fields"),
        ({"series": [{}], "top": 0}, "top: Must be greater than or equal to 1"),
        ({"series": [{}], "formula": "A ** 2"}, "formula: '*' is no series; there are A"),
        ({"series": [{}], "formula": "B"}, "formula: 'B' is no series; there are A"),
        ({"series": [{}], "formula": "__import__('os')"}, "formula: \"'os')\" can't be read"),
        ({"series": [{}], "formula": "(A"}, "formula: a bracket isn't closed"),
        (
            {"series": [{}], "where": [{"field": "a", "op": "like", "value": 1}]},
            "where[0]: op: 'like' isn't known; there are is, in",
        ),
        ({"series": [{}], "where": [{"field": "a", "op": "gt", "value": "3"}]}, "where[0]: value: a number"),
        ({"series": [{}], "where": [{"field": "a", "op": "in", "value": 3}]}, "where[0]: value: a list"),
        ({"series": [{}], "where": [{"op": "is", "value": 3}]}, "where[0]: field: the name of a field is missing"),
        (
            {"series": [{}], "where": [{"field": "person.plan", "op": "like", "value": 3}]},
            "where[0]: op: 'like' isn't known",
        ),
        (
            {"series": [{}], "where": [{"field": "a", "op": "contains", "value": "x" * 501}]},
            "where[0]: value: a text of 1 to 256 characters",
        ),
        ({"series": [{}], "by": ["_id"]}, "'_id' isn't a field of events"),
        ({"series": [{"measure": "unique:_index"}]}, "'_index' isn't a field of events"),
        ({"series": [{}], "from": "1900-01-01", "interval": "hour"}, "more buckets of time than one answer holds"),
    ],
)
def test_a_question_that_cannot_be_understood_says_why(
    gateway: Gateway, question: dict[str, Any], message: str
) -> None:
    response = gateway.http.post("/query/trend", json=question)
    assert response.status_code == 400, response.text
    assert response.json["error"]["message"].startswith(message)


def test_deep_filters_are_refused_before_they_are_read(gateway: Gateway) -> None:
    deep: Any = {"field": "a", "op": "exists"}
    for _ in range(200):
        deep = {"not": deep}
    response = gateway.http.post("/query/trend", json={"series": [{}], "where": [deep]})
    assert (response.status_code, "nested deeper than 20" in response.json["error"]["message"]) == (400, True)


def test_more_filters_than_elasticsearch_takes_are_a_400(gateway: Gateway) -> None:
    gateway.accepted({"id": "home", "a": 1})
    gateway.drain()
    some = [{"field": "a", "op": "gt", "value": n} for n in range(400)]
    response = gateway.http.post("/query/trend", json={"series": [{}], "where": [{"any": some}] * 10})
    assert response.status_code in (200, 400)  # how many are too many hangs on Elasticsearch's memory
    assert response.status_code == 200 or response.json["error"]["message"].startswith("where: more filters")


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        pytest.param({"field": "status", "op": "gt", "value": 1e300}, 0, id="above all whole numbers"),
        pytest.param({"field": "status", "op": "lt", "value": 1e300}, 2, id="below what no whole number reaches"),
        pytest.param({"field": "status", "op": "gte", "value": -(2.0**63) * 2}, 2, id="from below all whole numbers"),
        pytest.param({"field": "status", "op": "lte", "value": -1e300}, 0, id="up to below all whole numbers"),
        pytest.param({"field": "status", "op": "between", "value": [404, 1e19]}, 1, id="one bound beyond"),
        pytest.param({"field": "status", "op": "in", "value": [1e300, 404]}, 1, id="a value beyond"),
        pytest.param({"field": "browser", "op": "in", "value": ["é" * 20_000, "Firefox"]}, 2, id="a text that no index holds"),
        pytest.param({"field": "browser", "op": "contains", "value": "*" * 256}, 0, id="the longest text looked for"),
    ],
)  # fmt: skip
def test_values_that_no_index_holds_are_no_error(gateway: Gateway, condition: dict[str, Any], count: int) -> None:
    gateway.accepted([{"id": "home", "status": status, "browser": "Firefox"} for status in (200, 404)])
    gateway.drain()
    (series,) = result(gateway, "trend", series=[{}], where=[condition])["series"]
    assert series["total"] == count


def test_names_of_fields_are_never_patterns(shop: Gateway) -> None:
    for name in ("*", "br*", "browser,price", "ses?ion_id", "<now>", "-browser"):
        assert result(shop, "values", field=name) == {"values": []}
    shop.accepted({"id": "home", "ts": "2026-10-06", "a,b*": "x"})
    shop.drain()
    assert result(shop, "values", field="a,b*")["values"] == [{"value": "x", "events": 1, "subjects": 0}]


def test_kinds_and_formats_that_there_are_not_say_which_there_are(gateway: Gateway) -> None:
    unknown = gateway.http.post("/query/cohorts", json={})
    assert (unknown.status_code, unknown.json["error"]["message"]) == (
        400,
        "'cohorts' isn't a kind of question; there are trend, funnel, retention, lifecycle, paths, values, properties, "
        "events, timeline, people",
    )
    other = gateway.http.post("/query/trend?format=xlsx", json={"series": [{}]})
    assert (other.status_code, other.json["error"]["message"]) == (
        400,
        "format: 'xlsx' isn't there; there are json, csv, ndjson, parquet",
    )
    accepted = gateway.http.post("/query/trend", json={"series": [{}]}, headers={"Accept": "application/vnd.ms-excel"})
    assert accepted.status_code == 400


def test_a_get_is_the_same_question_and_can_be_cached(shop: Gateway) -> None:
    question = {"series": [{"event": "view"}], "from": "2026-10-05", "to": "2026-10-06"}
    first = shop.http.get("/query/trend", query_string={"q": json.dumps(question)})
    posted = shop.http.post("/query/trend", json=question)
    assert first.json["result"] == posted.json["result"]
    again = shop.http.get(
        "/query/trend", query_string={"q": json.dumps(question)}, headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")
    assert shop.http.get("/query/trend").status_code == 400
    assert shop.http.get("/query/trend?q={}&x=1").status_code == 400


def test_tables_have_a_row_for_each_bucket_and_series(shop: Gateway) -> None:
    question = {"series": [{"name": "A"}], "by": ["browser"], "top": 1, "from": "2026-10-05", "to": "2026-10-06"}
    as_csv = shop.http.post("/query/trend?format=csv", json=question)
    assert as_csv.content_type == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(as_csv.text))) == [
        ["bucket", "series", "browser", "value"],
        ["2026-10-05", "A", "Firefox", "1"],
        ["2026-10-06", "A", "Firefox", "2"],
        ["2026-10-05", "A", "$other", "1"],
        ["2026-10-06", "A", "$other", "0"],
        ["2026-10-05", "A", "$none", "0"],
        ["2026-10-06", "A", "$none", "1"],
    ]
    lines = shop.http.post(
        "/query/values", json={"field": "browser", "from": "-3d"}, headers={"Accept": "application/x-ndjson"}
    )
    assert [json.loads(line) for line in lines.text.splitlines()] == [
        {"value": "Firefox", "events": 3, "subjects": 0},
        {"value": "Chrome", "events": 1, "subjects": 0},
    ]


def test_an_empty_installation_answers_zeros(gateway: Gateway) -> None:
    span = {"from": "2026-10-05", "to": "2026-10-05"}
    for kind, question, expected in (
        (
            "trend",
            {"series": [{}]},
            {
                "buckets": ["2026-10-05"],
                "complete": [True],
                "series": [{"name": "A", "group": [], "values": [0], "total": 0}],
            },
        ),
        ("values", {"field": "x"}, {"values": []}),
        ("properties", {}, {"properties": []}),
        ("events", {}, {"events": [], "cursor": None, "total": 0}),
    ):
        assert result(gateway, kind, **question, **span) == expected
