"""GET /tock: every number against the brute-force count in oracle.py, through HTTP, on the real Elasticsearch."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import oracle
import pytest
from conftest import Gateway

ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"

ITEMS = [
    "home",
    "a/b/c.html",
    "/leading//double",
    "ünïcødé ☃",
    "per%20cent",
    "dots..and.json",
    "x" * 512,
    "q?a=b&c=d#e",
    "*",
    "a+b",
    '"quo\\te"',
]

ACCEPTS = [
    "text/html,application/xhtml+xml",
    "*/*",
    "application/json",
    "text/csv",
    "application/vnd.google-earth.kml+xml",
    "image/png",
]
FORMATS = ["csv", "CSV", "shp", "kml"]
REFERERS = [
    "https://arcgis.com/",
    "http://WashingtonPost.com:80/articles/dc-news?x=1#top",
    "https://u@a.example:8443/x/",
    "https://b.example/y",
]


def random_event(rng: random.Random, at: datetime, items: list[str]) -> dict[str, Any]:
    event: dict[str, Any] = {"at": at, rng.choice(["id", "id", "item_id"]): rng.choice(items)}
    for name, choices in (
        ("event", ["view", "download", "play"]),
        ("format", FORMATS),
        ("accept", ACCEPTS),
        ("referer", REFERERS),
    ):
        if rng.random() < 0.4:
            event[name] = rng.choice(choices)
    if rng.random() < 0.2:
        event["robot"] = True
    return event


def posted(event: dict[str, Any]) -> dict[str, Any]:
    """What a client sends for an event of the oracle."""
    sent = {name: value for name, value in event.items() if name not in ("at", "robot")}
    sent["@timestamp"] = event["at"].astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sent["user_agent"] = ROBOT if event.get("robot") else PERSON
    return sent


def post_all(gateway: Gateway, events: list[dict[str, Any]]) -> None:
    for start in range(0, len(events), 500):
        receipt = gateway.accepted([posted(event) for event in events[start : start + 500]])
        assert receipt["rejected"] == []
    gateway.drain()


@pytest.fixture(scope="module")
def rng() -> random.Random:
    return random.Random(20261122)


def test_every_item_of_a_random_month_equals_the_brute_force_count(gateway: Gateway, rng: random.Random) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    events = [random_event(rng, start + timedelta(seconds=rng.randrange(30 * 86_400)), ITEMS) for _ in range(2000)]
    post_all(gateway, events)
    for item in ITEMS:
        assert gateway.tock(item) == oracle.tock(events, item), item
    assert list(gateway.tock("home")["views"]) == sorted(oracle.tock(events, "home")["views"], reverse=True)


@pytest.mark.parametrize(
    ("day", "zone"),
    [
        pytest.param(datetime(2026, 3, 8), "America/New_York", id="a day of 23 hours in New York"),
        pytest.param(datetime(2026, 11, 1), "America/New_York", id="a day of 25 hours in New York"),
        pytest.param(datetime(2026, 3, 29), "Europe/Berlin", id="a day of 23 hours in Berlin"),
        pytest.param(datetime(2026, 10, 25), "Europe/Berlin", id="a day of 25 hours in Berlin"),
        pytest.param(datetime(2026, 6, 1), "Asia/Kathmandu", id="an offset of five hours and three quarters"),
        pytest.param(datetime(2018, 11, 4), "America/Sao_Paulo", id="a day without midnight"),
    ],
)
def test_days_are_those_of_the_time_zone_asked_for(
    gateway: Gateway, rng: random.Random, day: datetime, zone: str
) -> None:
    events = [{"at": at, "id": "home", "event": "view"} for at in oracle.moments(day, zone, 300, rng)]
    post_all(gateway, events)
    assert gateway.tock("home", tz=zone) == oracle.tock(events, "home", zone)
    first, last = day.date() - timedelta(days=1), day.date()
    found = gateway.tock("home", tz=zone, from_=first.isoformat(), to=last.isoformat())
    assert found == oracle.tock(events, "home", zone, first, last)


@pytest.mark.parametrize("interval", ["hour", "day", "week", "month", "year"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_intervals_lose_nothing_and_call_their_buckets_by_local_time(
    gateway: Gateway, interval: str, zone: str
) -> None:
    tz = ZoneInfo(zone)
    moments = [
        datetime(2025, 12, 31, 22, 59, 59, tzinfo=UTC),
        datetime(2025, 12, 31, 23, 30, tzinfo=UTC),
        datetime(2026, 1, 4, 12, tzinfo=UTC),
    ]
    post_all(gateway, [{"at": at, "id": "home", "event": "view"} for at in moments])
    expected: dict[str, int] = {}
    for at in moments:
        local = at.astimezone(tz)
        monday = (local - timedelta(days=local.weekday())).date().isoformat()
        name = {
            "hour": local.replace(minute=0, second=0).isoformat(timespec="minutes"),
            "day": local.date().isoformat(),
            "week": monday,
            "month": local.strftime("%Y-%m"),
            "year": local.strftime("%Y"),
        }[interval]
        expected[name] = expected.get(name, 0) + 1
    found = gateway.tock("home", tz=zone, interval=interval)["views"]
    assert {name: count for name, count in found.items() if count} == expected
    assert list(found) == sorted(found, reverse=True)


def test_a_range_is_there_as_a_whole_also_where_nothing_happened(gateway: Gateway) -> None:
    post_all(gateway, [{"at": datetime(2026, 10, 5, 12, tzinfo=UTC), "id": "home", "event": "view"}])
    found = gateway.tock("home", from_="2026-10-04", to="2026-10-06")
    assert found == {
        "views": {"2026-10-06": 0, "2026-10-05": 1, "2026-10-04": 0},
        "downloads": {},
        "referers": {},
    }
    quiet = gateway.tock("home", from_="2026-09-01", to="2026-09-02")
    assert quiet == {"views": {"2026-09-02": 0, "2026-09-01": 0}, "downloads": {}, "referers": {}}
    assert gateway.tock("nobody", from_="2026-09-01", to="2026-09-02") == {
        "views": {},
        "downloads": {},
        "referers": {},
    }


def test_a_range_open_to_now_goes_on_to_today(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(now=datetime(2026, 10, 7, 9, tzinfo=UTC))
    post_all(gateway, [{"at": datetime(2026, 10, 5, 12, tzinfo=UTC), "id": "home", "event": "view"}])
    assert gateway.tock("home", from_="2026-10-05")["views"] == {
        "2026-10-07": 0,
        "2026-10-06": 0,
        "2026-10-05": 1,
    }
    assert gateway.tock("home", to="2026-10-06")["views"] == {"2026-10-06": 0, "2026-10-05": 1}


def test_a_time_as_a_bound_is_an_instant(gateway: Gateway) -> None:
    post_all(
        gateway,
        [{"at": datetime(2026, 10, 5, hour, tzinfo=UTC), "id": "home", "event": "view"} for hour in (9, 10, 11)],
    )
    found = gateway.tock("home", from_="2026-10-05T10:00:00Z", to="2026-10-05T11:00:00Z")
    assert found["views"] == {"2026-10-05": 1}


def test_no_format_and_no_referer_is_lost_however_many_there_are(gateway: Gateway) -> None:
    count = 10_500  # more than one terms aggregation gives
    events = [
        {"id": "big", "event": "download", "format": f"f{n}", "referer": f"https://r.example/{n}"} for n in range(count)
    ]
    for start in range(0, count, 2000):
        gateway.accepted(events[start : start + 2000])
    gateway.drain()
    found = gateway.tock("big")
    assert found["downloads"] == {f"f{n}": 1 for n in range(count)}
    assert found["referers"] == {f"r.example/{n}": 1 for n in range(count)}


def test_a_limit_keeps_the_largest_and_says_what_it_left_out(gateway: Gateway) -> None:
    gateway.accepted(
        [{"id": "home", "event": "download", "format": f} for f in ("csv", "csv", "csv", "kml", "kml", "shp")]
    )
    gateway.drain()
    assert gateway.tock("home", limit=2) == {
        "views": {},
        "downloads": {"csv": 3, "kml": 2},
        "referers": {},
        "left_out": {"downloads": 1},
    }


def test_referers_by_host_and_never_the_own_host(gateway: Gateway) -> None:
    gateway.accepted(
        [
            {"id": "home", "referer": "https://www.a.example/1", "url": "https://shop.example/home"},
            {"id": "home", "referer": "https://a.example/2", "url": "https://shop.example/home"},
            {"id": "home", "referer": "https://shop.example/other", "url": "https://www.shop.example/home"},
        ]
    )
    gateway.drain()
    assert gateway.tock("home")["referers"] == {"a.example/2": 1, "www.a.example/1": 1}
    assert gateway.tock("home", referers="host")["referers"] == {"a.example": 2}


def test_further_blocks_come_when_asked_for(gateway: Gateway) -> None:
    day = "2026-10-05"
    gateway.accepted(
        [
            {"ts": f"{day}T10:00:00Z", "id": "home", "distinct_id": "u1", "country": "FR"},
            {"ts": f"{day}T11:00:00Z", "id": "home", "distinct_id": "u1", "country": "FR"},
            {"ts": f"{day}T12:00:00Z", "id": "home", "distinct_id": "u2", "user_agent": ROBOT},
            {"ts": f"{day}T13:00:00Z", "id": "home", "distinct_id": "u3", "event": "error", "status": 404},
        ]
    )
    gateway.drain()
    assert gateway.tock("home", include="hits,visitors,robots,errors,geo") == {
        "views": {day: 2},
        "downloads": {},
        "referers": {},
        "hits": {day: 4},
        "visitors": {"count": 2, "exact": True},
        "robots": {day: 1},
        "errors": {"404": 1},
        "geo": {"FR": 2},
    }


@pytest.mark.parametrize("route", ["/tock/abc.json", "/tock/abc", "/tocks/abc", "/tocks/abc.json"])
def test_all_routes_give_the_same_answer(gateway: Gateway, route: str) -> None:
    gateway.accepted({"id": "abc", "ts": "2026-10-05"})
    gateway.drain()
    response = gateway.http.get(route)
    assert (response.status_code, response.content_type, response.json) == (
        200,
        "application/json",
        {"views": {"2026-10-05": 1}, "downloads": {}, "referers": {}},
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({"accept": "text/html"}, {"views": {"2026-10-05": 1}}, id="a page asked for as html is a view"),
        pytest.param({"accept": "text/csv"}, {"downloads": {"csv": 1}}, id="a file is a download"),
        pytest.param({"accept": "application/json"}, {}, id="an API call is neither"),
        pytest.param({}, {}, id="a record without accept and format is neither"),
        pytest.param({"format": "KML"}, {"downloads": {"kml": 1}}, id="a format makes a download"),
        pytest.param({"event": "view"}, {"views": {"2026-10-05": 1}}, id="the event's name decides first"),
        pytest.param({"event": "view", "user_agent": ROBOT}, {}, id="a robot is left out"),
        pytest.param(
            {"referer": "http://a/b/?q"}, {"referers": {"a/b": 1}}, id="the referer counts whatever the class"
        ),
        pytest.param({"extra.referer": "http://a/b"}, {"referers": {"a/b": 1}}, id="also in extra"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_documents_of_other_shippers_count_as_if_posted(
    gateway: Gateway, document: dict[str, Any], expected: dict[str, Any], zone: str
) -> None:
    gateway.drain()  # installs the template
    gateway.elasticsearch.index(
        index=f"{gateway.settings.index_prefix}-2026.10.05",
        document={"@timestamp": "2026-10-05T12:00:00.000Z", "@version": "1", "id": "abc", **document},
        refresh=True,
    )
    assert gateway.tock("abc", tz=zone) == {"views": {}, "downloads": {}, "referers": {}, **expected}


def test_both_ways_in_are_added_up(gateway: Gateway) -> None:
    gateway.accepted([{"id": "abc", "ts": f"2026-10-0{day}"} for day in (1, 2, 2)])
    gateway.drain()
    document = {"@timestamp": "2026-10-02T23:59:59.999Z", "item_id": "abc", "event": "view"}
    gateway.elasticsearch.index(index=f"{gateway.settings.index_prefix}-2026.10.02", document=document, refresh=True)
    assert gateway.tock("abc")["views"] == {"2026-10-02": 3, "2026-10-01": 1}


def test_id_decides_where_item_id_says_otherwise(gateway: Gateway) -> None:
    gateway.accepted([{"id": "a", "item_id": "b", "ts": "2026-10-05"}, {"item_id": "b", "ts": "2026-10-05"}])
    gateway.drain()
    assert (gateway.tock("a")["views"], gateway.tock("b")["views"]) == ({"2026-10-05": 1}, {"2026-10-05": 1})


def test_an_answer_that_is_still_the_same_costs_no_body(gateway: Gateway) -> None:
    gateway.accepted({"id": "abc", "ts": "2026-10-05"})
    gateway.drain()
    first = gateway.http.get("/tock/abc.json")
    again = gateway.http.get("/tock/abc.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    gateway.accepted({"id": "abc", "ts": "2026-10-05"})
    gateway.drain()
    changed = gateway.http.get("/tock/abc.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, changed.json["views"]) == (200, {"2026-10-05": 2})


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param(
            {"tz": "Mars/Base"},
            "'Mars/Base' is not a time zone; use an IANA name such as Europe/Paris or UTC",
            id="zone",
        ),
        pytest.param(
            {"from": "2026-13-01"},
            "from: '2026-13-01' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z",
            id="date",
        ),
        pytest.param(
            {"from": "2026-11-02", "to": "2026-11-01"},
            "to: '2026-11-01' is before from: '2026-11-02'",
            id="order",
        ),
        pytest.param({"interval": "decade"}, "interval: Must be one of: hour, day, week, month, year", id="interval"),
        pytest.param(
            {"include": "moon"},
            "include: 'moon' isn't known; there are hits, visitors, robots, errors, geo",
            id="include",
        ),
        pytest.param(
            {"form": "x"},
            "form: isn't a parameter; there are from, to, tz, interval, limit, referers, include, strict, archive",
            id="name",
        ),
        pytest.param(
            {"from": "1900-01-01", "to": "2026-01-01", "interval": "hour"},
            "more buckets of time than one answer holds; narrow from and to, or take a longer interval",
            id="buckets",
        ),
    ],
)
def test_a_question_that_cannot_be_understood_says_why(gateway: Gateway, query: dict[str, str], message: str) -> None:
    response = gateway.http.get("/tock/abc.json", query_string=query)
    assert (response.status_code, response.json["error"]["message"]) == (400, message)


@pytest.mark.parametrize("tz", ["UTC", "Europe/Paris"])
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"from": "9999-12-01", "to": "9999-12-30", "interval": "month"}, 1),
        ({"from": "2026-01-01", "to": "9999-12-30", "interval": "year"}, 7974),
        ({"from": "9999-12-30", "to": "9999-12-31T20:59:59Z", "interval": "day"}, 2),
        ({"from": "9999-12-30", "to": "9999-12-30", "interval": "week"}, 1),
    ],
)
def test_the_last_year_of_the_calendar_is_asked_like_any_other(
    gateway: Gateway, query: dict[str, str], count: int, tz: str
) -> None:
    gateway.accepted({"id": "abc", "ts": "2026-11-20T12:00:00Z"})
    gateway.drain()
    views = gateway.tock("abc", **query, tz=tz)["views"]
    assert (len(views), sum(views.values())) == (count, 1 if query["interval"] == "year" else 0)


def test_an_unknown_item_is_404_only_when_asked_strictly(gateway: Gateway) -> None:
    assert gateway.tock("nobody") == {"views": {}, "downloads": {}, "referers": {}}
    assert gateway.http.get("/tock/nobody?strict=1").status_code == 404
    assert gateway.http.get("/tock/nobody?_=123").status_code == 200


def test_nothing_in_an_id_is_query_syntax(gateway: Gateway) -> None:
    gateway.accepted([{"id": "abc", "ts": "2026-10-05"}])
    gateway.drain()
    for item in (
        "*",
        "a*",
        "ab?",
        "/.*/",
        'abc" OR "1',
        "abc~",
        "_all",
        "..",
        "../logstash-*",
        '{"match_all":{}}',
        "\x00",
        "a\nb",
    ):
        assert gateway.tock(item) == {"views": {}, "downloads": {}, "referers": {}}, item


def test_keys_keep_their_order_on_the_wire(gateway: Gateway) -> None:
    gateway.accepted([{"id": "abc", "ts": f"2026-10-0{day}"} for day in (1, 2, 3)])
    gateway.drain()
    body = gateway.http.get("/tock/abc.json").data
    assert json.loads(body)["views"] == {"2026-10-03": 1, "2026-10-02": 1, "2026-10-01": 1}
    assert body.index(b"2026-10-03") < body.index(b"2026-10-01")


def test_the_oracle_itself_knows_the_contract() -> None:
    at = datetime(2015, 1, 22, 12, tzinfo=UTC)
    events = [
        {"at": at, "id": "abc", "accept": "text/html", "referer": "https://arcgis.com/"},
        {"at": at, "id": "abc", "accept": "text/csv"},
        {"at": at, "id": "abc", "accept": "application/json"},
    ]
    assert oracle.tock(events, "abc") == {
        "views": {"2015-01-22": 1},
        "downloads": {"csv": 1},
        "referers": {"arcgis.com": 1},
    }
    assert oracle.key_of("https://washingtonpost.com/articles/dc-news?x=1#top") == "washingtonpost.com/articles/dc-news"
