"""Elasticsearch as a source: shards that are being made, types that differ, estimates that say so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from conftest import Gateway
from test_numbers import asked, ship

from metronome.errors import BadQuestion
from metronome.query import PEOPLE, Percentile, Question, Unique, Values, body, index, open_door


@pytest.fixture
def unplaced(gateway: Gateway) -> str:
    """An index whose shard can't be placed on any node, as it is for a moment when a day begins."""
    gateway.accepted({"id": "home", "ts": "2026-10-05"})
    gateway.drain()
    name = f"{gateway.settings.index_prefix}-2026.10.06"
    gateway.elasticsearch.indices.create(
        index=name, settings={"index.routing.allocation.require._name": "nowhere"}, wait_for_active_shards=0
    )
    return name


def test_a_tock_waits_for_a_shard_that_is_still_being_made(gateway: Gateway, unplaced: str) -> None:
    def place() -> None:
        gateway.elasticsearch.indices.put_settings(
            index=unplaced, settings={"index.routing.allocation.require._name": None}
        )

    timer = threading.Timer(1.5, place)
    timer.start()
    found = gateway.http.get("/tock/home.json")
    timer.join()
    assert (found.status_code, found.json["views"]) == (200, {"2026-10-05": 1})


def test_a_shard_that_never_comes_is_a_503_within_the_time_limit_and_names_no_host(
    gateway_for: Callable[..., Gateway],
) -> None:
    gateway = gateway_for(query_timeout_s=1)
    gateway.drain()
    gateway.elasticsearch.indices.create(
        index=f"{gateway.settings.index_prefix}-2026.10.06",
        settings={"index.routing.allocation.require._name": "nowhere"},
        wait_for_active_shards=0,
    )
    found = gateway.http.get("/tock/home.json")
    assert (found.status_code, found.json["error"]["message"]) == (
        503,
        "Elasticsearch can't answer just now",
    )
    assert found.headers["Retry-After"]


def test_status_and_country_of_two_types_on_two_days_are_no_error(gateway: Gateway) -> None:
    gateway.accepted(
        [
            {"id": "home", "ts": "2026-10-05", "status": 404, "country": "FR"},
            {"id": "home", "ts": "2026-10-06", "status": "503", "country": 7},
            {"id": "home", "ts": "2026-10-06", "status": "down"},
        ]
    )
    gateway.drain()
    found = gateway.tock("home", include="errors,geo")
    assert (found["errors"], found["geo"]) == ({"404": 1, "503": 1}, {"7": 1, "FR": 1})


def test_named_fields_of_another_type_in_a_foreign_index_are_no_error(gateway: Gateway) -> None:
    gateway.accepted({"id": "home", "ts": "2026-10-05", "status": 404, "country": "FR"})
    gateway.drain()
    gateway.elasticsearch.indices.create(
        index=f"{gateway.settings.index_prefix}-2026.10.06",
        mappings={"properties": {"status": {"type": "keyword"}, "country": {"type": "double"}}},
    )
    ship(gateway, [{"at": at(6), "id": "home", "status": "404", "country": 7}])
    assert gateway.tock("home", include="errors,geo")["geo"] == {"7": 1, "FR": 1}


def at(day: int) -> datetime:
    return datetime(2026, 10, day, 12, tzinfo=UTC)


def test_values_that_could_not_be_compared_are_counted_and_said(gateway: Gateway) -> None:
    gateway.accepted([{"ts": f"2026-10-05T1{n}:00", "size": 1, "name": "x"} for n in range(3)])
    gateway.drain()
    gateway.accepted([{"ts": "2026-10-05T14:00", "size": "3", "name": 5}, {"ts": "2026-10-05T15:00", "size": "big"}])
    gateway.drain()
    span = {"from_": "2026-10-05", "to": "2026-10-05", "interval": "total"}
    sums = asked(gateway, "trend", series=[{"measure": "sum:size"}], **span)
    assert (sums["result"]["series"][0]["total"], sums["meta"]["exact"], sums["meta"]["ignored_values"]) == (
        3,
        False,
        2,
    )
    names = asked(gateway, "trend", series=[{"measure": "sum:name"}], **span)
    assert (names["meta"]["exact"], names["meta"]["ignored_values"]) == (False, 1)
    count = asked(gateway, "trend", series=[{}], where=[{"field": "size", "op": "exists"}], **span)
    assert (count["result"]["series"][0]["total"], count["meta"]["exact"]) == (5, True)


@pytest.mark.parametrize("by", [[], ["app"]], ids=["in all", "by app"])
def test_a_number_that_an_event_has_twice_is_said_where_percentiles_count_it_once(
    gateway: Gateway, by: list[str]
) -> None:
    span = {"from_": "2026-10-05", "to": "2026-10-05", "interval": "total", "by": by}
    gateway.accepted([{"ts": "2026-10-05", "app": "a", "size": [1, 9]}, {"ts": "2026-10-05", "app": "a", "size": 3}])
    gateway.drain()
    found = asked(gateway, "trend", series=[{"measure": "median:size"}], **span)
    assert (found["result"]["series"][0]["total"], found["meta"]["exact"]) == (3, True)
    gateway.accepted([{"ts": "2026-10-05", "app": "a", "size": [7, 7]}])
    gateway.drain()
    found = asked(gateway, "trend", series=[{"measure": "median:size"}, {"name": "B", "measure": "sum:size"}], **span)
    assert found["result"]["series"][1]["total"] == 27
    assert (found["meta"]["exact"], found["meta"]["ignored_values"]) == (False, 1)


def test_a_field_that_cannot_be_grouped_is_said_and_no_error(gateway: Gateway) -> None:
    gateway.drain()
    gateway.elasticsearch.indices.create(
        index=f"{gateway.settings.index_prefix}-2026.10.05", mappings={"properties": {"note": {"type": "text"}}}
    )
    gateway.accepted([{"ts": "2026-10-05", "note": "some words"}, {"ts": "2026-10-06", "note": "x"}])
    gateway.drain()
    span = {"from_": "2026-10-05", "to": "2026-10-06"}
    for measure in ("unique:note", "count", "median:note"):
        found = asked(gateway, "trend", series=[{"measure": measure}], by=["note"], **span)
        assert (found["meta"]["exact"], found["meta"]["ignored_values"]) == (False, 1)
    assert asked(gateway, "values", field="note", subject="session", **span)["result"]["values"] == [
        {"value": "x", "events": 1, "subjects": 0}
    ]


def test_keys_have_the_types_that_were_sent(gateway: Gateway) -> None:
    events = [{"status": 404, "beta": True, "size": 1.5}, {"status": 200, "beta": False, "size": "true"}]
    for number, event in enumerate(events):
        gateway.accepted({"id": "home", "ts": f"2026-10-0{number + 1}", "user_agent": "curl/8", **event})
        gateway.drain()
    for field, values in (
        ("status", [200, 404]),
        ("beta", [False, True]),
        ("size", [1.5, "true"]),
        ("is_robot", [True]),
    ):
        found = asked(gateway, "values", field=field, robots="all", from_="2026-10-01", to="2026-10-02")
        assert [(type(row["value"]), row["value"]) for row in found["result"]["values"]] == [
            (type(value), value) for value in values
        ]


def test_uniques_of_more_values_than_are_read_are_estimated_and_say_so(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.accepted([{"ts": "2026-10-05", "distinct_id": f"u{n}", "app": f"a{n % 2}"} for n in range(2000)])
    gateway.drain()
    ship(gateway, [{"at": at(5), "distinct_id": "u1", "app": "a1"}])
    monkeypatch.setattr(index, "MAX_ROWS", 1500)
    monkeypatch.setattr(body, "PAGE", 500)
    monkeypatch.setattr(body, "_remembered", body._aggregations)
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: at(6))
    total, by_app = ask(
        Question(PEOPLE, Unique("distinct_id")), Question(PEOPLE, Unique("distinct_id"), (Values("app"),))
    )
    assert abs(total.total - 2000) <= total.error_bound
    assert not total.exact
    assert {row.key[0] for row in by_app.rows} == {"a0", "a1"}
    assert all(abs(int(row.value or 0) - 1000) <= max(by_app.error_bound, 0) for row in by_app.rows)


def test_more_values_than_are_read_of_another_measure_say_what_to_narrow(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.accepted([{"ts": "2026-10-05", "size": n} for n in range(100)])
    gateway.drain()
    monkeypatch.setattr(index, "MAX_ROWS", 50)
    ask = open_door(gateway.elasticsearch, gateway.settings, lambda: at(6))
    monkeypatch.setattr(body, "PAGE", 10)
    monkeypatch.setattr(body, "_remembered", body._aggregations)

    with pytest.raises(BadQuestion, match="narrow from and to or where"):
        ask(Question(PEOPLE, Percentile("size")))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"from": "9999-12-31T20:00:00Z", "tz": "Asia/Tokyo"}, 400),
        ({"from": "0001-01-01T00:00:00Z", "tz": "America/New_York"}, 400),
        ({"from": "0001-01-01", "tz": "Asia/Tokyo"}, 400),
        ({"to": "0001-01-02"}, 400),
        ({"from": "9999-12-31", "to": "9999-12-31"}, 400),
        ({"from": "1000-01-01", "to": "9999-12-30", "interval": "year", "tz": "Asia/Tokyo"}, 200),
    ],
)
def test_no_date_is_an_error_of_ours(gateway: Gateway, query: dict[str, str], status: int) -> None:
    gateway.accepted({"id": "home"})
    gateway.drain()
    assert gateway.http.get("/tock/home.json", query_string=query).status_code == status


def test_shipped_documents_keep_their_day_where_offsets_are_odd(gateway: Gateway) -> None:
    gateway.drain()
    # Monrovia was 44 minutes and 30 seconds behind until 1972: its day began at 00:44:30 UTC.
    moments = [datetime(1971, 6, 2, 0, 44, 29, tzinfo=UTC), datetime(1971, 6, 2, 0, 44, 30, tzinfo=UTC)]
    ship(gateway, [{"at": moment, "id": "home", "event": "view"} for moment in moments])
    assert gateway.tock("home", tz="Africa/Monrovia")["views"] == {"1971-06-02": 1, "1971-06-01": 1}
    trend = asked(gateway, "trend", series=[{}], by=["id"], tz="Africa/Monrovia", from_="1971-06-01", to="1971-06-02")
    assert trend["result"]["series"][0]["values"] == [1, 1]
