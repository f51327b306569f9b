"""Fixed questions about usage: visits, an item's analytics, views and downloads of preprints."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Gateway
from doors import CHROME
from openapi_spec_validator import validate

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
BASE = "/_/metrics"


def post(
    gateway: Gateway,
    day: str,
    labels: tuple[str, ...] = ("view", "web"),
    guid: str = "a1",
    visitor: str = "s",
    page: dict[str, str] | None = None,
    **more: Any,
) -> None:
    counter = {"timestamp": f"2026-05-{day}Z", "user_agent": CHROME, **more.pop("counter", {})}
    usage = {"action_labels": labels, "item_guid": guid, "client_session_id": visitor, "counter": counter, **more}
    if page is not None:
        usage["pageview_info"] = {"page_url": "https://repo.example/a1/", **page}
    answer = gateway.http.post(f"{BASE}/events/counted_usage/", json={"data": {"attributes": usage}})
    assert answer.status_code == 201, answer.text


def ask(gateway: Gateway, path: str) -> Any:
    answer = gateway.http.get(f"{BASE}/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json


@pytest.fixture
def gateway(gateway_for: Callable[..., Gateway]) -> Gateway:
    return gateway_for(NOW)


def test_visits_are_distinct_sessions_a_day(gateway: Gateway) -> None:
    post(gateway, "18T10:00:00")
    post(gateway, "19T10:00:00")
    post(gateway, "19T11:00:00", guid="b1")
    post(gateway, "19T11:00:00", visitor="t", counter={"user_id": "ann"})
    post(gateway, "20T11:00:00", counter={"user_agent": "GPTBot/1.0"})
    gateway.drain()
    days = [{"date": "2026-05-19", "count": 2}, {"date": "2026-05-20", "count": 0}]
    assert ask(gateway, "query/user_visits/") == {
        "data": {
            "id": "user-visits:2026-05-19T00:00:00.000Z..",
            "type": "user-visits-analytics",
            "attributes": {"unique_visits": days},
        }
    }
    found = ask(gateway, "query/unique_user_visits/?timeframeStart=2026-05-18&timeframeEnd=2026-05-20")["data"]
    assert (found["type"], found["id"].split(":")[0]) == ("unique-user-visits-analytics", "unique-user-visits")
    assert found["attributes"]["unique_visits"] == [
        {"date": "2026-05-18", "count": 0},
        {"date": "2026-05-19", "count": 1},
    ]
    (first, *_) = ask(gateway, "query/user_visits/?timeframe=previous_1_month")["data"]["attributes"]["unique_visits"]
    assert first["date"] == "2026-04-19"


def test_an_items_analytics_are_of_pages_that_people_viewed(gateway: Gateway) -> None:
    page = {"page_title": "Roads", "route_name": "web.a", "referer_url": "https://ann:pw@search.example/?q=roads"}
    post(gateway, "19T10:00:00", page=page)
    post(gateway, "19T10:00:10", page=page)
    post(gateway, "19T11:00:00", page={"page_url": "https://repo.example/a1/", "page_title": "Streets"}, visitor="t")
    post(gateway, "20T11:00:00", page={**page, "page_url": "https://repo.example/a1/wiki"})
    post(gateway, "19T11:00:00", ("download", "web"), page=page, visitor="u")
    post(gateway, "19T11:00:00", ("view", "api"), page=page, visitor="v")
    post(gateway, "19T12:00:00", guid="f1", page={}, counter={"title": {"id": "a1", "data_type": "Journal"}})
    post(gateway, "01T12:00:00", page=page)
    gateway.drain()
    found = ask(gateway, "query/node_analytics/a1/week/")["data"]
    assert (found["id"], found["type"]) == ("a1:week", "node-analytics")
    attributes = found["attributes"]
    assert attributes["popular_pages"] == [
        {"path": "/a1", "route": "web.a", "title": "Roads", "count": 3},
        {"path": "/a1/wiki", "route": "web.a", "title": "Roads", "count": 1},
    ]
    assert {row["date"]: row["count"] for row in attributes["unique_visits"] if row["count"]} == {
        "2026-05-19": 3,
        "2026-05-20": 1,
    }
    assert sorted((row["hour"], row["count"]) for row in attributes["time_of_day"]) == [(10, 1), (11, 2), (12, 1)]
    assert attributes["referer_domain"] == [{"referer_domain": "search.example", "count": 2}]
    assert len(ask(gateway, "query/node_analytics/a1/month/")["data"]["attributes"]["unique_visits"]) > 28


@pytest.mark.parametrize(
    ("path", "status"),
    [("node_analytics/b1/week/", 404), ("node_analytics/a1/day/", 404), ("node_analytics/A1/week/", 404), ("node_analytics/p1/week/", 401), ("user_visits/?timeframe=last", 400)],
)  # fmt: skip
def test_what_cannot_be_answered_is_refused(gateway: Gateway, path: str, status: int) -> None:
    post(gateway, "19T10:00:00", guid="p1", item_public=False)
    gateway.drain()
    answer = gateway.http.get(f"{BASE}/query/{path}")
    assert (answer.status_code, answer.json["errors"][0]["status"]) == (status, str(status))


def test_views_and_downloads_of_preprints_are_listed_by_day_with_zeros(gateway: Gateway) -> None:
    post(gateway, "19T10:00:00")
    post(gateway, "19T12:00:00")
    post(gateway, "18T12:00:00", guid="b1")
    post(gateway, "18T12:00:00", ("download",), guid="b1")
    gateway.drain()
    assert ask(gateway, "preprints/views/?guids=a1,b1&start_datetime=2026-05-18&end_datetime=2026-05-19") == {
        "metric_type": "views",
        "data": [{"2026-05-18T00:00:00.000Z": {"a1": 0, "b1": 1}}, {"2026-05-19T00:00:00.000Z": {"a1": 2, "b1": 0}}],
    }
    assert ask(gateway, "preprints/downloads/?guids=b1&on_date=2026-05-18")["data"] == [
        {"2026-05-18T00:00:00.000Z": {"b1": 1}}
    ]
    assert len(ask(gateway, "preprints/views/?guids=a1")["data"]) == 6
    for path in (
        "views/",
        "views/?guids=a1&on_date=2026-05-18T10:00",
        "views/?guids=a1&on_date=2026-05-18&end_datetime=2026-05-18",
        "views/?guids=a1&end_datetime=2026-05-18",
        "views/?guids=a1&start_datetime=2026-05-18&end_datetime=2026-05-17",
        "views/?guids=a1&start_datetime=2026-05-18&end_datetime=2026-05-19T10:00",
        "views/?guids=a1&interval=fortnight",
    ):
        assert gateway.http.get(f"{BASE}/preprints/{path}").status_code == 400, path


def test_the_routes_describe_themselves(gateway: Gateway) -> None:
    answer = gateway.http.get(f"{BASE}/openapi.json")
    assert answer.headers["Cache-Control"] == "immutable, public, max-age=604800"
    validate(answer.json)
    assert f"{BASE}/events/counted_usage/" in answer.json["paths"]
