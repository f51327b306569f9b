"""Saved metrics, external series and dashboards through HTTP: versions, two writers, results, points, refusals."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway
from keyed import Kept

from metronome.dialects.query.metrics import imported
from metronome.dialects.query.metrics.results import step_number
from metronome.errors import BadQuestion, Conflict, ImportFailed
from metronome.saved import Saved
from metronome.settings import Settings
from metronome.store import indices

NOW = datetime(2026, 10, 7, 9, 30, tzinfo=UTC)

EVENTS = [
    {"ts": "2026-10-05T10:00Z", "event": "view", "distinct_id": "u1", "country": "NL"},
    {"ts": "2026-10-05T11:00Z", "event": "view", "distinct_id": "u2", "country": "FR"},
    {"ts": "2026-10-06T10:00Z", "event": "view", "distinct_id": "u1", "country": "NL"},
    {"ts": "2026-10-06T10:30Z", "event": "download", "distinct_id": "u1", "country": "NL"},
]

REVENUE = [
    {"ts": "2026-10-05", "value": 30, "dims": {"country": "NL"}},
    {"ts": "2026-10-05", "value": 10.5, "dims": {"country": "FR"}},
    {"ts": "2026-10-06T12:00:00+02:00", "value": 8, "dims": {"country": "NL"}},
]

PER_VIEW = {
    "title": "Revenue a view",
    "type": "timeSerie",
    "unit": "currency:EUR",
    "query": {
        "series": [{"name": "R", "series": "revenue"}, {"name": "V", "event": "view"}],
        "formula": "R / V",
        "from": "-3d",
    },
}


class Shop:
    """A gateway with some views and a revenue series."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        gateway.accepted([{"id": "home", "insert_id": f"e{n}", **event} for n, event in enumerate(EVENTS)])
        gateway.drain()
        indices.install(gateway.elasticsearch, gateway.settings)
        self.ask("PUT", "/saved/series/revenue", {"title": "Revenue", "unit": "currency:EUR"}, 201)
        self.ask("PUT", "/saved/series/revenue/points", REVENUE)

    def ask(self, method: str, path: str, given: Any = None, status: int = 200, **options: Any) -> Any:
        body = {} if given is None else {"json": given}
        answer = self.gateway.http.open(path, method=method, **body, **options)
        assert answer.status_code == status, answer.text
        return answer.json if answer.data else None

    def refused(self, method: str, path: str, given: Any = None, status: int = 400, **options: Any) -> str:
        return str(self.ask(method, path, given, status, **options)["error"]["message"])


@pytest.fixture
def shop(gateway_for: Callable[..., Gateway]) -> Shop:
    return Shop(gateway_for(now=NOW))


def saved(name: str, version: int, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    at = {"at": "2026-10-07T09:30:00.000Z", "by": ""}
    return {"id": name, "version": version, **at, "desc": "", "order": None, "request": None, **given, **more}


# --- Metrics ---------------------------------------------------------------------------------------------------


def test_a_metric_divides_an_external_series_by_events(shop: Shop) -> None:
    shop.ask("PUT", "/saved/metrics/per-view", PER_VIEW, 201)
    found = shop.ask("GET", "/saved/metrics/per-view/result")
    meta = found.pop("meta")
    # 20731 days lie between 1970-01-01 and 2026-10-05. Nobody has viewed on the 7th, so its figure is null.
    data = [(20731, 40.5 / 2), (20732, 8.0), (20733, None)]
    assert found == {"timeStep": "day", "data": [{"tsId": day, "value": value} for day, value in data]}
    assert meta["saved"] == {"metrics/per-view": 1, "series/revenue": 1}
    assert (meta["exact"], meta["tz"]) == (True, "UTC")


def test_a_question_names_metrics_and_series_and_splits_both_by_group(shop: Shop) -> None:
    shop.ask("PUT", "/saved/metrics/per-view", PER_VIEW, 201)
    asked = {
        "series": [{"name": "p", "metric": "per-view"}, {"name": "r", "series": "revenue", "measure": "count"}],
        "by": ["country"],
        "interval": "total",
        "from": "-3d",
    }
    answer = shop.ask("POST", "/query/trend", asked)
    assert answer["result"]["series"] == [
        {"name": "p", "group": ["NL"], "values": [19.0], "total": 19.0},
        {"name": "r", "group": ["NL"], "values": [2], "total": 2},
        {"name": "p", "group": ["FR"], "values": [10.5], "total": 10.5},
        {"name": "r", "group": ["FR"], "values": [1], "total": 1},
    ]
    assert answer["meta"]["saved"] == {"metrics/per-view": 1, "series/revenue": 1}


def test_a_metric_within_another_keeps_its_own_conditions_and_takes_the_outer_range(shop: Shop) -> None:
    dutch = {
        "title": "Dutch views",
        "type": "total",
        "query": {
            "series": [{"event": "view"}],
            "where": [{"field": "country", "op": "is", "value": "NL"}],
            "from": "2026-10-06",
        },
    }
    shop.ask("PUT", "/saved/metrics/dutch", dutch, 201)
    assert shop.ask("GET", "/saved/metrics/dutch/result")["data"] == 1
    share = {"series": [{"metric": "dutch"}, {"event": "view"}], "formula": "A / B", "from": "-3d"}
    found = shop.ask("POST", "/query/trend", {**share, "interval": "total"})
    assert found["result"]["series"][0]["total"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"query": {"series": [{"metric": "mine"}]}}, "metric: mine → mine: a metric can't be made of itself"),
        ({"query": {"series": [{"metric": "no"}]}}, "metric: there is no saved metric 'no'"),
        ({"query": {"series": [{"series": "no"}]}}, "series: there is no saved series 'no'"),
        ({"query": {"series": [{"metric": "top-events"}]}}, "metric: 'top-events' has groups of its own; a formula can't hold it"),
        ({"query": {"series": [{"metric": "first-two-steps"}]}}, "metric: 'first-two-steps' isn't computed from series; a formula can't hold it"),
        ({"query": {"series": [{"metric": "stickiness"}], "robots": True}}, "metric: 'stickiness' asks for other robots than the question; ask for the same"),
        ({"query": {"series": [{}, {}]}}, "formula: several series need one, which says what the metric is"),
        ({"query": {"series": [{}], "by": ["a"]}, "type": "timeSerie"}, "by: a timeSerie has no groups; a total may"),
        ({"query": {"series": [{}], "interval": "year"}, "type": "timeSerie"}, "interval: a timeSerie has hour, day, week, month"),
        ({"query": {"series": [{}], "oops": 1}}, "oops: isn't a key; there are from, to, tz, week_start, app, where, segment, subject, robots, as_of, explain, series, formula, unit, interval, by, top, compare"),
        ({"query": {"steps": [{}]}, "type": "funnel"}, "steps: 2 to 20 of them"),
        ({}, "query: a metric has a query, or a request to import it by"),
        ({"query": {"series": [{}]}, "unit": "EUR"}, "unit: there are %, int, float, duration, or currency: and three letters such as currency:EUR; there are title, desc, type, unit, order, query, request"),
        ({"request": {"url": "https://metrics.example.org/x"}}, "request.url: 'metrics.example.org' isn't in METRONOME_IMPORT_HOSTS, so it isn't asked"),
    ],
)  # fmt: skip
def test_a_metric_that_can_never_be_computed_is_refused_when_it_is_saved(
    shop: Shop, definition: dict[str, Any], said: str
) -> None:
    assert shop.refused("PUT", "/saved/metrics/mine", {"title": "Mine", "type": "total", **definition}) == said
    assert shop.refused("GET", "/saved/metrics/mine", status=404) == "metrics: there is no 'mine'"


def test_two_metrics_can_not_be_made_of_each_other(shop: Shop) -> None:
    def metric(query: dict[str, Any]) -> dict[str, Any]:
        return {"title": "x", "type": "total", "query": query}

    shop.ask("PUT", "/saved/metrics/a", metric({"series": [{}]}), 201)
    shop.ask("PUT", "/saved/metrics/b", metric({"series": [{"metric": "a"}]}), 201)
    circle = shop.refused("PUT", "/saved/metrics/a", metric({"series": [{"metric": "b"}]}))
    assert circle == "metric: a → b → a: a metric can't be made of itself"


READY = {
    "active-users-by-day": {"timeStep": "day", "data": [{"tsId": 20731, "value": 2}, {"tsId": 20732, "value": 1}, {"tsId": 20733, "value": 0}]},
    "active-users-by-week": {"timeStep": "week", "data": [{"tsId": 2962, "value": 2}]},
    "active-users-by-month": {"timeStep": "month", "data": [{"tsId": 681, "value": 2}]},
    # u1 is active on 2 of 30 days, u2 on 1.
    "stickiness": {"data": pytest.approx(100 * 1.5 / 30)},
    "new-against-returning": {"timeStep": "day", "data": [
        {"tsId": day, "group": [state], "value": value}
        for day, both in ((20731, (2, 0)), (20732, (0, 1)), (20733, (0, 0)))
        for state, value in zip(("new", "returning"), both, strict=True)
    ]},
    "lifecycle": {"timeStep": "week", "data": [
        {"tsId": 2962, "group": [state], "value": value}
        for state, value in (("new", 2), ("returning", 0), ("resurrecting", 0), ("dormant", None))
    ]},
    "top-events": {"data": [{"group": ["view"], "value": 3}, {"group": ["download"], "value": 1}]},
    "first-two-steps": {"data": [{"order": 1, "value": 2}, {"order": 2, "value": 1}]},
}  # fmt: skip


@pytest.mark.parametrize("name", READY)
def test_metrics_that_are_there_from_the_start(shop: Shop, name: str) -> None:
    found = shop.ask("GET", f"/saved/metrics/{name}/result")
    assert found.pop("meta")["saved"] == {f"metrics/{name}": 0}
    if "timeStep" in found:
        wanted = READY[name]["data"]
        found["data"] = found["data"][-len(wanted) :]
    assert found == READY[name]


def test_a_ready_made_metric_is_replaced_by_one_of_its_id_and_comes_back(shop: Shop) -> None:
    mine = {"title": "Mine", "type": "total", "unit": "int", "query": {"series": [{}], "from": "-3d"}}
    assert shop.ask("PUT", "/saved/metrics/stickiness", mine, 201)["version"] == 1
    assert shop.ask("GET", "/saved/metrics/stickiness/result")["data"] == 4
    shop.ask("DELETE", "/saved/metrics/stickiness", status=204)
    assert shop.ask("GET", "/saved/metrics/stickiness")["version"] == 0
    listed = [row["id"] for row in shop.ask("GET", "/saved/metrics")["metrics"]]
    assert listed == sorted(READY)


@pytest.mark.parametrize(
    ("step", "label", "number"),
    [
        ("hour", "2015-01-18T23:00+00:00", 394895),
        ("hour", "2015-01-19T01:00+01:00", 394896),
        ("day", "1970-01-01", 0),
        ("day", "2015-01-22", 16457),
        ("week", "1970-01-05", 1),
        ("week", "2015-01-12", 2350),
        ("week", "2015-01-19", 2351),
        ("month", "1970-01", 0),
        ("month", "2015-01", 540),
    ],
)
def test_steps_are_numbered_as_openmetrics_numbers_them(step: str, label: str, number: int) -> None:
    """OpenMetrics contract, section 4.3."""
    assert step_number(step, label) == number


# --- Versions --------------------------------------------------------------------------------------------------


def test_every_change_is_a_version_and_older_ones_stay_readable(shop: Shop) -> None:
    first = {"title": "First", "type": "total", "unit": "int", "query": {"series": [{}]}}
    second = {**first, "title": "Second", "order": 7}
    assert shop.ask("PUT", "/saved/metrics/m", first, 201) == saved("m", 1, first, order=1)
    assert shop.ask("PUT", "/saved/metrics/m", second) == saved("m", 2, second)
    assert shop.ask("GET", "/saved/metrics/m") == saved("m", 2, second)
    assert shop.ask("GET", "/saved/metrics/m?version=1") == saved("m", 1, first, order=1)
    assert shop.refused("GET", "/saved/metrics/m?version=3", status=404) == "metrics: there is no 'm' of version 3"
    shop.ask("DELETE", "/saved/metrics/m", status=204)
    assert shop.refused("GET", "/saved/metrics/m", status=404) == "metrics: there is no 'm'"
    assert shop.ask("GET", "/saved/metrics/m?version=2") == saved("m", 2, second)
    assert shop.ask("GET", "/saved/metrics/m/result?version=2")["data"] == 4
    # The third version was its deletion.
    assert shop.ask("PUT", "/saved/metrics/m", first)["version"] == 4


def test_of_two_writers_who_read_the_same_version_one_is_told(shop: Shop) -> None:
    board = {"title": "Board", "tiles": [{"metric": "stickiness"}]}
    answer = shop.gateway.http.put("/saved/dashboards/b", json=board, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert shop.ask("PUT", "/saved/dashboards/b", board, headers={"If-Match": '"1"'})["version"] == 2
    for name, value in (("If-Match", '"1"'), ("If-None-Match", "*"), ("If-Match", "1")):
        shop.refused("PUT", "/saved/dashboards/b", board, 409, headers={name: value})
    shop.refused("DELETE", "/saved/dashboards/b", None, 409, headers={"If-Match": '"1"'})
    assert shop.ask("GET", "/saved/dashboards")["dashboards"][0]["version"] == 2


def test_writers_at_the_same_time_lose_no_version(shop: Shop) -> None:
    store = Saved(shop.gateway.elasticsearch, shop.gateway.settings)
    said: list[Any] = []

    def write(number: int) -> None:
        for n in range(3):
            try:
                said.append((store.put("dashboards", "x", "", {"n": [number, n]}).version, [number, n]))
            except Conflict:
                said.append(None)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = dict(one for one in said if one)
    assert sorted(done) == list(range(1, len(done) + 1)) and len(said) == 9
    found = {number: store.get("dashboards", "x", "", number).body["n"] for number in done}
    assert found == done


def test_a_key_of_an_application_has_saved_things_of_its_own(gateway_for: Callable[..., Gateway]) -> None:
    kept = Kept(gateway_for(open="no", now=NOW))
    _, shop = kept.make(scopes=("edit",), app="shop")
    _, everybody = kept.make(scopes=("edit",))
    _, reader = kept.make(scopes=("read",))

    def call(token: str, method: str, path: str, given: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        return kept.gateway.http.open(path, method=method, json=given, headers=headers)

    for token, title in ((shop, "Shop"), (everybody, "All")):
        assert call(token, "PUT", "/saved/series/r", {"title": title}).status_code == 201
        assert call(token, "PUT", "/saved/series/r/points", [{"ts": 1, "value": len(title)}]).json["stored"] == 1
    assert [call(t, "GET", "/saved/series/r").json["title"] for t in (shop, everybody)] == ["Shop", "All"]
    assert [call(t, "GET", "/saved/series/r/points").json["points"][0]["value"] for t in (shop, reader)] == [4, 3]
    assert call(reader, "PUT", "/saved/series/r", {"title": "x"}).status_code == 403
    kept.gateway.app.extensions["gate"].rates.close()


# --- Points ----------------------------------------------------------------------------------------------------


def test_a_point_of_the_same_time_and_dims_replaces(shop: Shop) -> None:
    path = "/saved/series/revenue/points"
    again = [{"ts": "2026-10-05T00:00Z", "value": 31, "dims": {"country": "NL"}}, {"ts": "2026-10-05", "value": 5}]
    assert shop.ask("PUT", path, again) == {"stored": 2, "rejected": [], "rejected_in_all": 0}
    found = shop.ask("GET", path + "?to=2026-10-05")
    assert sorted((p["value"], p["dims"].get("country", "")) for p in found["points"]) == [
        (5, ""),
        (10.5, "FR"),
        (31, "NL"),
    ]


def test_points_come_as_csv_and_bad_ones_cost_no_others(shop: Shop) -> None:
    text = (
        "ts,value,country\n2026-11-01,1.5,NL\n2026-11-02,many,NL\nyesterday,2,NL\n2026-11-03,2,\n1,2\n2026-11-04,inf,\n"
    )
    answer = shop.gateway.http.put("/saved/series/revenue/points", data=text, content_type="text/csv")
    assert answer.json == {
        "stored": 2,
        "rejected": [
            {"index": 1, "reason": "value: a finite number"},
            {"index": 2, "reason": "ts: 'yesterday' is not an ISO 8601 time, such as 2026-11-22T09:30:00Z"},
            {"index": 4, "reason": 'a point is {"ts", "value", "dims"}'},
            {"index": 5, "reason": "value: a finite number"},
        ],
        "rejected_in_all": 4,
    }
    assert shop.ask("GET", "/saved/series/revenue/points?from=2026-11-01")["points"] == [
        {"ts": "2026-11-01T00:00:00.000Z", "value": 1.5, "dims": {"country": "NL"}},
        {"ts": "2026-11-03T00:00:00.000Z", "value": 2.0, "dims": {}},
    ]


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"ts": 1}, 400, 'the body is a list such as [{"ts": "2026-11-01", "value": 12.5}], or CSV as text/csv'),
        ([{"ts": 1, "value": True}], 422, "no point can be taken; `rejected` says why"),
        ([{"ts": 1, "value": 1}] * 10_001, 400, "at most 10,000 points in a request; send several"),
    ],
    ids=["no list", "none is good", "too many"],
)
def test_points_that_can_not_be_taken(shop: Shop, given: Any, status: int, said: str) -> None:
    assert shop.refused("PUT", "/saved/series/revenue/points", given, status) == said


def test_points_are_listed_page_by_page_and_deleted_by_time(shop: Shop) -> None:
    path = "/saved/series/revenue/points"
    shop.ask("PUT", path, [{"ts": f"2026-09-{day:02}", "value": day} for day in range(1, 8)])
    found, cursor = [], ""
    while cursor is not None:
        page = shop.ask("GET", f"{path}?limit=3{cursor}")
        found += [point["value"] for point in page["points"]]
        cursor = page["cursor"] and f"&cursor={page['cursor']}"
    assert found[:7] == [1, 2, 3, 4, 5, 6, 7] and len(found) == 10
    assert shop.ask("DELETE", path + "?from=2026-09-03&to=2026-09-05") == {"deleted": 3}
    assert [p["value"] for p in shop.ask("GET", path + "?to=2026-09-30")["points"]] == [1, 2, 6, 7]
    assert shop.refused("DELETE", path) == "from: say from, to or both; all=true deletes every point"
    assert shop.ask("DELETE", path + "?all=true") == {"deleted": 7}
    assert shop.refused("GET", path + "?cursor=x") == "cursor: it isn't one of ours; take it from the page before"


def test_a_series_is_bounded_and_one_that_is_deleted_takes_its_points_along(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metronome.store.points.MOST", 4)
    path = "/saved/series/revenue/points"
    assert shop.ask("PUT", path, [*REVENUE, {"ts": 1, "value": 1}])["stored"] == 4
    said = shop.refused("PUT", path, [{"ts": 2, "value": 1}], 413)
    assert said == "points: a series has at most 4, and this one has 4; delete older ones"
    shop.ask("DELETE", "/saved/series/revenue", status=204)
    shop.refused("GET", path, status=404)
    shop.ask("PUT", "/saved/series/revenue", {"title": "Again"})
    assert shop.ask("GET", path)["points"] == []


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/saved/metrics/UPPER", "id: 'UPPER': 1 to 64 of a-z, 0-9 and -"),
        ("GET", "/saved/metrics?page=2", "page: isn't a parameter; there are none"),
        ("GET", "/saved/metrics/m?version=-1", "version: a whole number"),
        ("GET", "/saved/series/revenue/points?limit=0", "limit: 1 to 10000"),
        (
            "GET",
            "/saved/series/revenue/points?from=x",
            "from: 'x' is not a date; write 2026-11-22 or 2026-11-22T09:30:00Z",
        ),
    ],
)
def test_what_can_not_be_understood_says_how_to_write_it(shop: Shop, method: str, path: str, said: str) -> None:
    assert shop.refused(method, path) == said


# --- Imported metrics ------------------------------------------------------------------------------------------


@contextmanager
def other_server(answer: Callable[[BaseHTTPRequestHandler, bytes], None]) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *given: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(text: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    def answer(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text.replace(b"PARAMS", body))

    return answer


def settings_of(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, import_hosts=("metrics.example.org",))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own server counts as a public one, under a name that no resolver knows."""
    monkeypatch.setattr(imported, "public_address", lambda host, port: ("127.0.0.1", port))


@pytest.mark.usefixtures("public")
def test_the_result_of_a_request_is_what_its_server_answers(tmp_path: Path) -> None:
    with other_server(said(b'{"data": PARAMS, "other": 1}')) as port:
        request = {"url": f"http://metrics.example.org:{port}/x", "params": {"a": 1}}
        assert imported.fetch(request, settings_of(tmp_path)) == {"data": {"a": 1}}


ANSWERS = {
    "another status": (said(b"", 302, Location="http://127.0.0.1/"), "the server that computes this metric answered 302"),
    "no JSON": (said(b"oops"), 'the server that computes this metric answered no JSON object with "data"'),
    "no data": (said(b"{}"), 'the server that computes this metric answered no JSON object with "data"'),
    "too much": (said(b"1" * (2**20 + 1)), "the server that computes this metric answered more than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.usefixtures("public")
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_that_is_no_result_is_refused(tmp_path: Path, name: str) -> None:
    answer, problem = ANSWERS[name]
    with other_server(answer) as port, pytest.raises(ImportFailed) as refused:
        imported.fetch({"url": f"http://metrics.example.org:{port}/x"}, settings_of(tmp_path))
    assert refused.value.message == problem


@pytest.mark.usefixtures("public")
def test_a_server_that_answers_byte_by_byte_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported, "MOST_S", 0.3)
    gone = threading.Event()

    def drip(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not gone.wait(0.05):
            try:
                handler.wfile.write(b"1")
            except OSError:
                return

    with other_server(drip) as port:
        try:
            with pytest.raises(ImportFailed):
                imported.fetch({"url": f"http://metrics.example.org:{port}/x"}, settings_of(tmp_path))
        finally:
            gone.set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("203.0.113.7", False),
        ("93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1", False),
        ("2606:2800:220:1::1", True),
        ("224.0.0.1", False),
    ],
)
def test_private_addresses_are_not_asked(address: str, public: bool) -> None:
    assert imported.is_public(address) is public


def test_a_name_that_leads_inside_is_not_asked(tmp_path: Path) -> None:
    settings = replace(settings_of(tmp_path), import_hosts=("localhost",))
    with pytest.raises(ImportFailed) as refused:
        imported.fetch({"url": "http://localhost:1/"}, settings)
    assert refused.value.message == "the server that computes this metric has a private address; it isn't asked"


@pytest.mark.parametrize(
    "request_",
    [
        {"url": "ftp://metrics.example.org/"},
        {"url": "http://user:pass@metrics.example.org/"},
        {"url": "http://metrics.example.org:0/"},
        {"url": "http://metrics.example.org/a b"},
        {"url": "http://metrics.example.org/\r\nX: y"},
        {"url": "http://metrics.example.org.evil.example/"},
        {"url": "http://metrics.example.org/", "method": "GET"},
        {"url": "http://metrics.example.org/", "params": []},
        "http://metrics.example.org/",
    ],
    ids=json.dumps,
)
def test_other_requests_are_refused(tmp_path: Path, request_: Any) -> None:
    with pytest.raises(BadQuestion):
        imported.check_request(request_, settings_of(tmp_path))
