"""The web application: pages, their JSON, and its own tracking. Source: tracker contract, 2.3 to 2.5 and 4.4."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from conftest import Gateway
from keyed import Kept

from metronome.client.text import parsed, printed
from metronome.errors import SpoolFull


def tracked(gateway: Gateway, *events: dict[str, Any]) -> None:
    answer = gateway.http.post("/api/track", json=list(events))
    assert answer.status_code == 202, answer.text
    assert answer.json["accepted"] == len(events), answer.text
    gateway.drain()


def login(time: str, application: str = "myapp", event: str = "login", **properties: Any) -> dict[str, Any]:
    return {"application": application, "event": event, "time": time, "properties": properties}


def own(gateway: Gateway) -> list[tuple[str, dict[str, str]]]:
    """The events of the web application itself, in no order."""
    found = [document for document in gateway.documents() if document.get("app") == "analytics"]
    rows = [
        (document["event"], {name[6:]: value for name, value in document.items() if name.startswith("props.")})
        for document in found
    ]
    return sorted(rows, key=str)


def test_a_fresh_list_shows_the_web_application_itself(gateway: Gateway) -> None:
    first = gateway.http.get("/applications")
    assert (first.status_code, first.content_type) == (200, "text/html; charset=utf-8")
    assert re.findall(r'<a href="(application/[^"]+)">([^<]+)</a> <span[^>]*>(\d+) events', first.text) == [
        ("application/analytics", "analytics", "1")
    ]
    gateway.drain()
    assert "1 events" in gateway.http.get("/applications").text
    gateway.drain()
    assert "2 events" in gateway.http.get("/applications").text


def test_the_json_of_an_application(gateway: Gateway) -> None:
    tracked(
        gateway,
        login("2026-11-03T10:00:00", plan="free"),
        login("2026-11-20T10:00:00", plan="paid"),
        login("2026-10-31T00:00:00"),
        login("2026-10-30T00:00:00", event="logout"),
        login("2026-10-30T00:00:00", application="another"),
    )
    answer = gateway.http.get("/api/application/myapp")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    october, november = 1790812800000, 1793491200000
    assert answer.json == {
        "events": [{"name": "login", "count": 3}, {"name": "logout", "count": 1}],
        "event_name": "",
        "application_name": "myapp",
        "properties": [],
        "data": [
            {"label": "login", "data": [[october, 1], [november, 2]]},
            {"label": "logout", "data": [[october, 1], [november, 0]]},
        ],
        "property_name": "",
    }
    by_plan = gateway.http.get("/api/application/myapp?event_name=login&property=plan&time_range=1mon").json
    assert by_plan == {
        "events": [{"name": "login", "count": 3}, {"name": "logout", "count": 1}],
        "event_name": "login",
        "application_name": "myapp",
        "properties": [{"name": "plan", "count": 2}],
        # The event without a plan is in the series NULL, which is left out.
        "data": [
            {"label": "free", "data": [[october, 0], [november, 1]]},
            {"label": "paid", "data": [[october, 0], [november, 1]]},
        ],
        "property_name": "plan",
    }


def test_the_web_application_logs_its_own_use(gateway: Gateway) -> None:
    for path in (
        "/applications",
        "/application/a",
        "/application/a?event_name=login&property=plan",
        "/api/application/a",
        "/api/application/a?event_name=login&property=&time_range=1d",
        "/static/applications.css",
        "/api/retrieve/applications",
    ):
        with gateway.http.get(path) as answer:
            assert answer.status_code == 200
    assert own(gateway) == [
        ("api_app_details", {"ev_name": "login", "time_range": "1d"}),
        ("api_app_details", {"time_range": "1mon"}),
        ("app_details", {"ev_name": "login", "prop_name": "plan"}),
        ("app_details", {}),
        ("list_applications", {}),
    ]


def test_nothing_of_who_looks_is_tracked(gateway: Gateway) -> None:
    gateway.http.get(
        "/applications", headers={"User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/130", "Referer": "https://a.example/"}
    )
    (document,) = gateway.documents()
    assert set(document) == {"_index", "_id", "@timestamp", "@version", "app", "event", "received_at", "dialect"}


def test_a_full_spool_keeps_nobody_from_looking(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SpoolFull("the spool is full")

    monkeypatch.setattr(gateway.spool, "append", full)
    for path in ("/applications", "/application/a", "/api/application/a"):
        assert gateway.http.get(path).status_code == 200
    assert "No application has sent an event yet" in gateway.http.get("/applications").text


NAMES = ["a/b", "a//b/", "50% & more", '<script>alert("x")</script>', "#?=&", "é ü", "..", "application/x"]


def test_any_name_is_linked_escaped_and_found_again(gateway: Gateway) -> None:
    tracked(gateway, *(login("2026-11-03", application=name, event=name) for name in NAMES))
    page = gateway.http.get("/applications").text
    assert "<script>alert" not in page
    shown = [name.replace('"', "'") for name in NAMES]
    links = re.findall(r'href="application/([^"]+)"', page)
    assert sorted(links) == sorted(quote(name, safe="") for name in [*shown, "analytics"])
    for name in shown:
        is_found_again(gateway, name)


def is_found_again(gateway: Gateway, shown: str) -> None:
    detail = gateway.http.get(
        f"/application/{quote(shown, safe='')}", query_string={"event_name": shown, "property": shown}
    )
    assert detail.status_code == 200
    assert "<script>alert" not in detail.text
    found = gateway.http.get(f"/api/application/{quote(shown, safe='')}", query_string={"event_name": shown}).json
    assert (found["application_name"], found["events"]) == (shown, [{"name": shown, "count": 1}])


def test_pages_load_nothing_from_elsewhere_and_run_no_script_of_their_own(gateway: Gateway) -> None:
    for path in ("/applications", "/application/myapp?event_name=a&property=b"):
        page = gateway.http.get(path)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'" in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert not re.search(r"<style|\bstyle=|\bon\w+=|<script(?![^>]*src=)", page.text)
        for link in re.findall(r'(?:src|<link[^>]*href)="([^"]+)"', page.text):
            with gateway.http.get("/" + link.lstrip("/")) as found:
                assert found.status_code == 200
                assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", found.data)


def test_assets_are_cached_by_their_content(gateway: Gateway) -> None:
    first = gateway.http.get("/static/graph.js")
    assert first.content_type == "text/javascript; charset=utf-8"
    again = gateway.http.get("/static/graph.js", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    for file in ("nothing.js", "..%2fpages.py", "applications.html"):
        assert gateway.http.get(f"/static/{file}").status_code == 404


# --- /api/track and /api/retrieve ------------------------------------------------------------------------------------

REFUSED = [
    pytest.param({"event": "e"}, "application: its name is missing", id="no application"),
    pytest.param({"application": "a", "event": " "}, "event: its name is missing", id="a blank event"),
    pytest.param({"application": "a", "event": "e", "properties": [1]}, "properties: an object", id="properties in a list"),
    pytest.param(7, "an event is a JSON object", id="a number"),
    pytest.param({"application": "a", "event": "e", "insert_id": "with spaces"}, "an insert_id has 1 to 64", id="an insert_id of other letters"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "reason"), REFUSED)
def test_what_can_be_no_event_is_refused_and_the_others_are_taken(gateway: Gateway, event: Any, reason: str) -> None:
    good = login("2026-11-03")
    mixed = gateway.http.post("/api/track?receipt=full", json=[good, event, good])
    assert (mixed.status_code, mixed.json["accepted"]) == (202, 2)
    assert [(row["index"], reason in row["reason"]) for row in mixed.json["rejected"]] == [(1, True)]
    alone = gateway.http.post("/api/track", json=[event])
    assert alone.status_code in (202, 422)
    assert reason in alone.json["rejected"][0]["reason"]


def test_an_event_that_is_sent_again_is_one(gateway: Gateway) -> None:
    event = {**login("2026-11-03", plan="free"), "insert_id": "once"}
    tracked(gateway, event)
    tracked(gateway, event)
    assert gateway.http.get("/api/retrieve/events?application=myapp").json == {"rows": [{"name": "login", "count": 1}]}


def test_robots_are_counted_too(gateway: Gateway) -> None:
    gateway.accepted(
        [{"app": "shop", "event": "view", "user_agent": agent} for agent in ("Googlebot/2.1", "Firefox/130")]
    )
    gateway.drain()
    assert gateway.http.get("/api/retrieve/applications").json == {"rows": [{"name": "shop", "count": 2}]}


def test_what_was_asked_wrongly_is_told(gateway: Gateway) -> None:
    asked = {
        "/api/retrieve/properties?application=a": "event_name: is missing",
        "/api/retrieve/property_values?application=a&event_name=e": "property: is missing",
        "/api/retrieve/events?app=a": "app: isn't a parameter; there are application, index,",
        "/api/application/a?time_range=1y": "time_range: '1y' isn't known; there are 1h, 1d, 1w, 1mon",
    }
    for path, message in asked.items():
        answer = gateway.http.get(path)
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_question")
        assert message in answer.json["error"]["message"]


def test_figures_are_those_of_a_count_by_hand(gateway: Gateway) -> None:
    """Random-looking events, counted by plain Python."""
    plans = ["free", "paid", "", None, 'qu"ote']
    events = [
        login(f"2026-10-{number % 28 + 1:02}T{number % 24:02}:00:00", event=f"e{number % 3}", **({} if plan is None else {"plan": plan}))
        for number, plan in enumerate(plans[n * 7 % 5] for n in range(90))
    ]  # fmt: skip
    tracked(gateway, *events)
    for event in ("e0", "e1", "e2"):
        mine = [one for one in events if one["event"] == event]
        by_value = Counter(one["properties"]["plan"] for one in mine if one["properties"].get("plan"))
        answer = gateway.http.get(
            f"/api/retrieve/property_values?application=myapp&event_name={event}&property=plan"
        ).json
        assert {row["name"]: row["count"] for row in answer["rows"]} == by_value
        daily = Counter((one["properties"].get("plan") or "NULL", one["time"][:10]) for one in mine)
        series = gateway.http.get(
            f"/api/retrieve/events_over_time?application=myapp&event_name={event}&property=plan&time_range=1d"
        ).json["series"]
        found = {(one["name"], row["time"][:10]): row["count"] for one in series for row in one["data"] if row["count"]}
        assert found == daily


# --- Keys ------------------------------------------------------------------------------------------------------------


def test_a_key_that_is_bound_to_an_application_sees_and_tracks_that_one(gateway_for: Callable[..., Gateway]) -> None:
    kept = Kept(gateway_for(open="no"))
    _, token = kept.make(scopes=["write", "read"], app="shop")
    headers = {"Authorization": f"Bearer {token}"}
    http = kept.gateway.http
    assert http.get("/applications").status_code == 401
    assert "Basic" in " ".join(http.get("/applications").headers.getlist("WWW-Authenticate"))
    posted = http.post(
        "/api/track?receipt=full", json=[login("2026-11-03", "shop"), login("2026-11-03", "bank")], headers=headers
    )
    assert (posted.json["accepted"], posted.json["rejected"][0]["field"]) == (1, "app")
    kept.gateway.accepted([{"app": "shop", "event": "buy"}], headers=headers)
    kept.gateway.drain()
    page = http.get("/applications", headers=headers)
    assert re.findall(r'href="application/([^"]+)"', page.text) == ["shop"]
    assert http.get("/api/application/bank", headers=headers).json["events"] == []
    assert {row["name"] for row in http.get("/api/application/shop", headers=headers).json["events"]} == {
        "login",
        "buy",
    }
    kept.gateway.app.extensions["gate"].rates.close()


def test_a_text_that_was_printed_is_the_event_that_was_tracked(gateway: Gateway) -> None:
    text = printed("2026-11-03T10:00:00", "myapp", "login", "42", {"plan": "free"})
    said = parsed(text)
    tracked(
        gateway, {**login(said.time, said.application, said.event, **said.properties), "distinct_id": said.distinct_id}
    )
    (document,) = gateway.documents()
    kept = {name: document[name] for name in ("app", "event", "distinct_id", "props.plan", "@timestamp", "ts_client")}
    assert kept == {
        "app": "myapp", "event": "login", "distinct_id": "42", "props.plan": "free",
        "@timestamp": "2026-11-03T10:00:00.000Z", "ts_client": "2026-11-03T10:00:00",
    }  # fmt: skip
