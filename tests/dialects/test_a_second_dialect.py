"""A second dialect is one file and one name in DIALECTS: it then posts, asks, is described and asks for a key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import hum
import pytest
from conftest import Gateway
from flask import Blueprint, Response
from keyed import Kept
from openapi_spec_validator import validate

from metronome.dialects import Dialect, Doors
from metronome.errors import SetupError
from metronome.web import app as web_app
from metronome.web.openapi import scope_of


@pytest.fixture
def with_dialects(monkeypatch: pytest.MonkeyPatch, gateway_for: Callable[..., Gateway]) -> Callable[..., Gateway]:
    """A gateway that speaks some more dialects."""

    def make(*dialects: Dialect, **changed: Any) -> Gateway:
        monkeypatch.setattr(web_app, "DIALECTS", (*web_app.DIALECTS, *dialects))
        return gateway_for(**changed)

    return make


def test_it_posts_through_the_door_in_and_asks_through_the_door_out(with_dialects: Callable[..., Gateway]) -> None:
    gateway = with_dialects(hum.DIALECT)
    posted = [gateway.http.post("/hum/yesterday", json={"by": name}) for name in ("ann", "bob", "ann")]
    assert [(answer.status_code, answer.json) for answer in posted] == [(201, {"hummed": "yesterday"})] * 3
    stored = [(row["dialect"], row["id"], row["event"], row["distinct_id"]) for row in gateway.documents()]
    assert sorted(stored) == [("hum", "yesterday", "hum", name) for name in ("ann", "ann", "bob")]

    asked = gateway.http.get("/hum/yesterday")
    assert (asked.status_code, asked.json) == (200, {"times": 3})
    again = gateway.http.get("/hum/yesterday", headers={"If-None-Match": asked.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_what_one_dialect_takes_in_the_other_counts(with_dialects: Callable[..., Gateway]) -> None:
    gateway = with_dialects(hum.DIALECT)
    gateway.http.post("/hum/yesterday", json={"by": "ann"})
    gateway.accepted({"id": "yesterday", "event": "hum"})
    gateway.drain()
    assert sum(gateway.tock("yesterday", include="hits")["hits"].values()) == 2
    assert gateway.http.get("/hum/yesterday").json == {"times": 2}


def test_it_needs_a_key_where_keys_are_asked_for(with_dialects: Callable[..., Gateway]) -> None:
    kept = Kept(with_dialects(hum.DIALECT, open="no"))
    _, writer = kept.make(scopes=["write"])
    _, reader = kept.make(scopes=["read"])
    http = kept.gateway.http

    def post(token: str) -> int:
        return http.post("/hum/yesterday", json={"by": "ann"}, headers={"X-Api-Key": token}).status_code

    assert [http.post("/hum/yesterday", json={"by": "ann"}).status_code, post(reader), post(writer)] == [401, 403, 201]
    kept.gateway.drain()
    assert [kept.ask(token, "/hum/yesterday").status_code for token in (None, writer, reader)] == [401, 403, 200]


def test_a_key_that_is_bound_to_an_application_sees_that_one_through_any_dialect(
    with_dialects: Callable[..., Gateway],
) -> None:
    kept = Kept(with_dialects(hum.DIALECT, open="no"))
    for app, times in (("shop", 1), ("bank", 2)):
        _, token = kept.make(scopes=["edit"], app=app)
        for _ in range(times):
            kept.gateway.http.post("/hum/song", json={"by": "ann"}, headers={"X-Api-Key": token})
    kept.gateway.drain()
    assert kept.ask(token, "/hum/song").json == {"times": 2}
    trend = "/query/trend?q=" + quote('{"series": [{"event": "hum"}], "interval": "total"}')
    assert kept.ask(token, trend).json["result"]["series"][0]["total"] == 2
    elsewhere = "/query/trend?q=" + quote('{"series": [{"event": "hum"}], "app": "shop"}')
    refused = kept.ask(token, elsewhere)
    assert (refused.status_code, refused.json["error"]["field"]) == (403, "app")


def test_its_refusals_have_the_one_error_body(with_dialects: Callable[..., Gateway]) -> None:
    gateway = with_dialects(hum.DIALECT)
    refused = [
        gateway.http.post("/hum/yesterday", json={}),
        gateway.http.post("/hum/yesterday", data=b"x" * (gateway.settings.max_body_bytes + 1)),
        gateway.http.get("/hum/UP"),
        gateway.http.put("/hum/yesterday"),
    ]
    assert [(answer.status_code, answer.json["error"]["code"]) for answer in refused] == [
        (400, "bad_payload"),
        (413, "too_large"),
        (404, "not_found"),
        (405, "method_not_allowed"),
    ]


def test_it_describes_itself_and_changes_nothing_of_the_others(
    gateway: Gateway, with_dialects: Callable[..., Gateway]
) -> None:
    before = gateway.http.get("/openapi.json").json
    after = with_dialects(hum.DIALECT).http.get("/openapi.json").json
    validate(after)
    described = after["paths"].pop("/hum/{song}")
    after["tags"].remove({"name": "hum", "description": "Hum songs, and count them."})
    schemas = {name: after["components"]["schemas"].pop(name) for name in ("Hum", "Hummed", "Times")}
    assert after == before
    assert {name: list(schema["properties"]) for name, schema in schemas.items()} == {
        "Hum": ["by"],
        "Hummed": ["hummed"],
        "Times": ["times"],
    }
    responses = {method: sorted(operation["responses"]) for method, operation in described.items()}
    assert responses == {"post": ["201", "400", "401", "403", "429", "503"], "get": ["200", "401", "403", "429", "503"]}


def test_the_scope_of_a_view_is_seen_by_the_guard_and_by_the_reader_of_the_description(
    with_dialects: Callable[..., Gateway],
) -> None:
    gateway = with_dialects(hum.DIALECT)
    described = gateway.http.get("/openapi.json").json["paths"]["/hum/{song}"]
    for method, scope in {"post": "write", "get": "read"}.items():
        assert scope_of(gateway.app, method, "/hum/yesterday") == scope
        assert described[method]["security"] == [{"bearer": [scope]}, {"header": [scope]}, {"basic": [scope]}]
        assert described[method]["tags"] == ["hum"]


def bare(view: Callable[[], Response]) -> Callable[[Doors], Blueprint]:
    def blueprint(doors: Doors) -> Blueprint:
        routes = Blueprint("hum", __name__)
        routes.get("/hum/secrets")(view)
        return routes

    return blueprint


def test_a_route_whose_view_says_no_scope_keeps_the_gateway_from_starting(
    with_dialects: Callable[..., Gateway],
) -> None:
    def secrets() -> Response:
        return Response("all of them")

    with pytest.raises(SetupError, match=r"the route /hum/secrets says no scope: mark its view 'hum\.secrets'"):
        with_dialects(replace(hum.DIALECT, blueprint=bare(secrets)))


@pytest.mark.parametrize(
    ("path", "method", "why"),
    [("/hum", "get", "Not Found"), ("/hum/{song}", "delete", "Method Not Allowed")],
    ids=["another path", "another method"],
)
def test_a_route_that_is_described_but_not_served_is_named(
    with_dialects: Callable[..., Gateway], path: str, method: str, why: str
) -> None:
    operation: dict[str, Any] = {
        "summary": "?",
        "responses": {},
        "parameters": hum.paths()["/hum/{song}"]["get"]["parameters"],
    }
    promised = {path: {method: operation}}
    gateway = with_dialects(replace(hum.DIALECT, paths=lambda: promised))
    with pytest.raises(SetupError, match=rf"{method.upper()} /hum\S* is described, but not served \({why}\)"):
        gateway.app.extensions["openapi"]()
