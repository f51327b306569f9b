"""`/v1`: what OpenMetrics' clients send, byte for byte, what they are answered, and which events it makes."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from conftest import NOW, Gateway, Server, wait_for
from hypothesis import given
from hypothesis import strategies as st
from keyed import Kept

from metronome.dialects.openmetrics.literal import read_literal
from metronome.errors import BadPayload
from metronome.store import names

STAMPS = ("@version", "received_at", "_index", "_id", "dialect")


def stored(gateway: Gateway) -> list[dict[str, Any]]:
    """All documents without what every one has, in the order in which they came."""
    return [
        {name: value for name, value in row.items() if name not in STAMPS}
        for row in sorted(gateway.documents(), key=lambda row: (row["received_at"], row["_id"]))
    ]


def raw(
    bind: str, target: str | bytes, method: str = "GET", more: str = "", body: bytes = b""
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of a request whose target goes out exactly as it is here."""
    host, port = bind.split(":")
    target = target if isinstance(target, bytes) else target.encode()
    head = f" HTTP/1.1\r\nHost: {bind}\r\nConnection: close\r\n{more}\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=20) as client:
        client.sendall(method.encode() + b" " + target + head + body)
        answer = b""
        while part := client.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body.decode()


def ask(gateway: Gateway, route: str, q: Any, **options: Any) -> Any:
    text = q if isinstance(q, str) else json.dumps(q)
    return gateway.http.get(f"/v1/{route}?q={quote(text)}", **options)


def is_plain(answer: Any) -> bool:
    return (answer.mimetype, answer.headers["Access-Control-Allow-Origin"]) == ("text/plain", "*")


def found(server: Server, elasticsearch: Any, session: str, count: int) -> list[dict[str, Any]]:
    def look() -> Any:
        # An index that is just being made answers 503.
        answer = elasticsearch.options(ignore_status=503).search(
            index=f"{server.prefix}-*", query={"term": {"session_id": session}}, size=100, allow_no_indices=True
        )
        rows = [hit["_source"] for hit in answer.get("hits", {}).get("hits", [])]
        return rows if len(rows) >= count else None

    return sorted(
        wait_for(look, f"{count} events of {session}"),
        key=lambda row: (row["received_at"], row.get("seq", 0)),
    )


# --- The contract's section 4.1, through a real server --------------------------------------------------------------


def test_the_node_clients_request_as_it_stands(server: Server, elasticsearch: Any) -> None:
    q = '{"events":[{"name":"login","props":{"page":"/home"},"ts":1795307829653,"options":{"active":false}}],"sessionId":"O15SCkxDGh"}'
    status, headers, body = raw(server.bind, f"/v1/events?q={q}")
    assert (status, body, headers["access-control-allow-origin"]) == (200, "ok", "*")
    (event,) = found(server, elasticsearch, "O15SCkxDGh", 1)
    del event["received_at"]
    assert event == {
        "@timestamp": "2026-11-22T00:37:09.653Z",
        "@version": "1",
        "active": False,
        "dialect": "openmetrics",
        "event": "login",
        "props.page": "/home",
        "seq": 0,
        "session_id": "O15SCkxDGh",
        "ts": 1795307829653,
    }


@pytest.mark.parametrize(
    ("target", "session", "name", "value"),
    [
        pytest.param("/v1/setUserId?q={%22uid%22:%22u%201&x%22,%22sessionId%22:%222kagnnuMsE%22}", "2kagnnuMsE", "distinct_id", "u 1&x", id="the browser's, with an ampersand"),
        pytest.param("/v1/events?q={%22events%22:[{%22name%22:%22n%22,%22props%22:{%22t%22:%22caf%C3%A9%20%E6%97%A5%E6%9C%AC%20+%20100%%22},%22ts%22:1795307829653}],%22sessionId%22:%22sbrowser%22}", "sbrowser", "props.t", "café 日本 + 100%", id="the browser's, with plus and a lone percent"),
        pytest.param('/v1/events?q={"events":[{"name":"n","props":{"u":"a#b?q=c"}}],"sessionId":"hash"}', "hash", "props.u", "a#b?q=c", id="a raw hash and another q="),
        pytest.param("/v1/events?x=1&q={'events':[{'name':'n','props':{'destination':'fb'}}],'sessionId':'single'}", "single", "props.destination", "fb", id="single quotes"),
    ],
)  # fmt: skip
def test_requests_are_read_as_they_really_come(
    server: Server, elasticsearch: Any, target: str, session: str, name: str, value: str
) -> None:
    assert raw(server.bind, target)[0::2] == (200, "ok")
    assert [event[name] for event in found(server, elasticsearch, session, 1)] == [value]


def target_of(size: int, session: str) -> str:
    start, end = '/v1/events?q={"events":[{"name":"n","props":{"a":"', f'"}}}}],"sessionId":"{session}"}}'
    chunks, room = [], size - len(start) - len(end)
    # An event has at most 32 KiB, so the text is spread over several.
    between = '"}},{"name":"n","props":{"a":"'
    while room > 20_000 + len(between):
        chunks.append("x" * 20_000)
        room -= 20_000 + len(between)
    return start + between.join([*chunks, "x" * room]) + end


def test_an_address_of_64_kib_is_taken(server: Server, elasticsearch: Any) -> None:
    target = target_of(65_536, "long")
    assert len(target) == 65_536
    assert raw(server.bind, target)[0::2] == (200, "ok")
    assert len(found(server, elasticsearch, "long", 4)) == 4


def test_a_longer_address_is_told_the_limit_and_stores_nothing(server: Server, elasticsearch: Any) -> None:
    status, headers, body = raw(server.bind, target_of(70_000, "longer"))
    assert (status, body) == (414, "the address is longer than 66560 bytes")
    assert (headers["content-type"], headers["access-control-allow-origin"]) == ("text/plain; charset=utf-8", "*")
    assert raw(server.bind, target_of(200, "after"))[0] == 200
    assert len(found(server, elasticsearch, "after", 1)) == 1
    assert elasticsearch.count(index=f"{server.prefix}-*", query={"term": {"session_id": "longer"}})["count"] == 0


def test_other_paths_keep_their_limit(server: Server) -> None:
    status, headers, body = raw(server.bind, "/tock/" + "x" * 9000)
    assert (status, headers["content-type"]) == (414, "application/json")
    assert json.loads(body)["error"]["message"] == "the address is longer than 8190 bytes"


def test_what_cant_be_read_as_http_is_plain_text_too(server: Server) -> None:
    status, headers, _ = raw(server.bind, "/v1/ping", more="Bad Header: x\r\n")
    assert (status, headers["content-type"], headers["access-control-allow-origin"]) == (
        400,
        "text/plain; charset=utf-8",
        "*",
    )


# --- The contract's section 4.2 -------------------------------------------------------------------------------------


def test_the_examples_of_the_documentation_in_order(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW)
    requests = [
        ("events", "{'events':[{'name':'login','ts':123}],'sessionId':'abc'}"),
        ("events", "{'events':[{'name':'share','ts':124,'props':{'destination':'fb'}}],'sessionId':'abc'}"),
        ("events", "{'events':[{'name':'like','ts':126},{'name':'logout','ts':125}],'sessionId':'abc'}"),
        ("setUserId", "{'sessionId':'abc','userId':'myUserId'}"),
        ("setUserProps", "{'sessionId':'abc','props':{'first-name':'jane','last-name':'roe'}}"),
        ("events", "{'events':[{'name':'login','ts':123}],'sessionId':'xyz'}"),
    ]  # fmt: skip
    assert (gateway.http.get("/v1/ping").text, gateway.http.get("/v1/ping?q=").text) == ("pong", "pong")
    assert [ask(gateway, route, q).text for route, q in requests] == ["ok"] * 6
    answer = ask(gateway, "events", '{"events":[]}')
    assert (answer.status_code, answer.text) == (401, "no session ID")
    of_abc = {"session_id": "abc"}
    assert sorted(stored(gateway), key=lambda row: (row["@timestamp"], row["session_id"], row["event"])) == [
        {**of_abc, "@timestamp": "1970-01-01T00:02:03.000Z", "event": "login", "seq": 0, "ts": 123},
        {"session_id": "xyz", "@timestamp": "1970-01-01T00:02:03.000Z", "event": "login", "seq": 0, "ts": 123},
        {**of_abc, "@timestamp": "1970-01-01T00:02:04.000Z", "event": "share", "seq": 0, "ts": 124, "props.destination": "fb"},
        {**of_abc, "@timestamp": "1970-01-01T00:02:05.000Z", "event": "logout", "seq": 1, "ts": 125},
        {**of_abc, "@timestamp": "1970-01-01T00:02:06.000Z", "event": "like", "seq": 0, "ts": 126},
        {**of_abc, "@timestamp": "2026-11-22T09:30:00.000Z", "event": "$identify", "distinct_id": "myUserId", "linked_id": "abc", "active": False},
        {**of_abc, "@timestamp": "2026-11-22T09:30:00.000Z", "event": "$set", "set.first-name": "jane", "set.last-name": "roe", "active": False},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("route", "q", "event"),
    [
        pytest.param("createUser", {"sessionId": "s"}, {"event": "$session"}, id="a new user is active"),
        pytest.param("createUser", {"sessionId": "s", "options": {"active": False}}, {"event": "$session", "active": False}, id="unless the options say no"),
        pytest.param("setUserId", {"sessionId": "s", "uid": "u1", "userId": "u2"}, {"event": "$identify", "distinct_id": "u1", "linked_id": "s", "active": False}, id="uid goes before userId"),
        pytest.param("setUserId", {"sessionId": "s", "uid": 17}, {"event": "$identify", "distinct_id": "17", "linked_id": "s", "active": False}, id="a number is an id"),
        pytest.param("setSessionProps", {"sessionId": "s", "props": {"a.b": 1, "é": "x"}}, {"event": "$session", "session.a.b": 1, "session.é": "x", "active": False}, id="names of properties stay as given"),
        pytest.param("setUserProps", {"sessionId": "s", "props": {"plan": None}}, {"event": "$set", "set.plan": None, "active": False}, id="null is a value"),
        pytest.param("events", {"sessionId": 5, "events": [{"name": "x", "ts": 99_999_999_999}]}, {"event": "x", "session_id": "5", "seq": 0, "ts": 99_999_999_999, "@timestamp": "2026-11-22T09:30:00.000Z", "flags": ["clamped"], "ts_client": 99_999_999_999}, id="below 1e11 seconds"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "x", "ts": 100_000_000_000}]}, {"event": "x", "seq": 0, "ts": 100_000_000_000, "@timestamp": "1973-03-03T09:46:40.000Z"}, id="from 1e11 on milliseconds"),
    ],
)  # fmt: skip
def test_each_route_makes_its_event(
    gateway_for: Callable[..., Gateway], route: str, q: Any, event: dict[str, Any]
) -> None:
    gateway = gateway_for(NOW)
    assert ask(gateway, route, q).text == "ok"
    assert stored(gateway) == [{"@timestamp": "2026-11-22T09:30:00.000Z", "session_id": "s", **event}]


def test_a_post_says_the_same_in_its_body(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(NOW)
    body = {"sessionId": "s", "events": [{"name": "x", "props": {"n": 1}}]}
    assert gateway.http.post("/v1/events", json=body).text == "ok"
    assert ask(gateway, "events", body).text == "ok"
    first, second = stored(gateway)
    assert first == second


# --- Errors: section 2.2 --------------------------------------------------------------------------------------------

STATEFUL = ("createUser", "events", "setUserId", "setUserProps", "setSessionProps")


@pytest.mark.parametrize("route", STATEFUL)
@pytest.mark.parametrize("query", ["", "?q=", "?q={}", '?q={"sessionId":""}', '?q={"sessionId":null}', "?p={}"])
def test_a_request_without_session_is_a_401(gateway: Gateway, route: str, query: str) -> None:
    answer = gateway.http.get(f"/v1/{route}{query}")
    assert (answer.status_code, answer.text, is_plain(answer)) == (401, "no session ID", True)
    posted = gateway.http.post(f"/v1/{route}", data=b"")
    assert (posted.status_code, posted.text, is_plain(posted)) == (401, "no session ID", True)


@pytest.mark.parametrize(
    ("route", "q", "cause"),
    [
        pytest.param("events", "{", "q can't be read", id="no JSON"),
        pytest.param("events", "[1]", "q isn't a JSON object", id="an array"),
        pytest.param("events", "17", "neither an object", id="a number"),
        pytest.param("events", "{'a'", "a colon is missing", id="half a literal"),
        pytest.param("events", "__import__('os')", "a value is missing", id="code"),
        pytest.param("events", {"sessionId": {}}, "sessionId isn't text", id="a session that is an object"),
        pytest.param("events", {"sessionId": "s" * 201}, "201 characters", id="a session that is too long"),
        pytest.param("events", {"sessionId": "s"}, "events isn't an array", id="no events"),
        pytest.param("events", {"sessionId": "s", "events": {}}, "events isn't an array", id="events that are an object"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "a"}, {"ts": 1}]}, "events[1] has no name", id="no name"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "a"}, 5]}, "events[1] isn't an object", id="an event that is a number"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "a", "props": []}]}, "events[0].props isn't an object", id="properties that are an array"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "a"}, {"name": "b", "ts": "soon"}]}, "events[1] can't be taken", id="a time that is none"),
        pytest.param("events", {"sessionId": "s", "events": [{"name": "a"}, {"name": "b", "props": {"x": "x" * 40_000}}]}, "events[1] can't be taken", id="an event that is too large"),
        pytest.param("setUserId", {"sessionId": "s"}, "setUserId without an id", id="no id"),
        pytest.param("setUserId", {"sessionId": "s", "uid": "u" * 201}, "at most 200 characters", id="an id that is too long"),
        pytest.param("setUserId", {"sessionId": "s", "uid": " Undefined"}, "stands for no id", id="a placeholder"),
        pytest.param("setUserId", {"sessionId": "s", "userId": 0}, "stands for no id", id="zero"),
        pytest.param("setUserProps", {"sessionId": "s"}, "props isn't an object", id="no properties"),
    ],
)  # fmt: skip
def test_what_cant_be_read_is_a_400_that_says_why_and_stores_nothing(
    gateway: Gateway, route: str, q: Any, cause: str
) -> None:
    text = q if isinstance(q, str) else json.dumps(q)
    answers = [ask(gateway, route, text), gateway.http.post(f"/v1/{route}", data=text)]
    for answer in answers[: 1 if "'" in text else 2]:
        assert (answer.status_code, is_plain(answer)) == (400, True)
        assert cause in answer.text and "\n" not in answer.text
    assert gateway.documents() == []
    assert not (gateway.settings.spool_dir / "quarantine.db").exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/v1/nothing", 404, id="no such route"),
        pytest.param("PUT", "/v1/events", 405, id="another method"),
        pytest.param("POST", "/v1/events", 413, id="a body that is too large"),
    ],
)
def test_every_error_below_v1_is_plain_text_for_any_page(
    gateway_for: Callable[..., Gateway], method: str, path: str, status: int
) -> None:
    gateway = gateway_for(max_body_bytes=1000)
    answer = gateway.http.open(path, method=method, data=b" " * 2000)
    assert (answer.status_code, is_plain(answer)) == (status, True)
    assert answer.text and not answer.text.startswith("{")


def test_a_page_may_post_json(gateway: Gateway) -> None:
    answer = gateway.http.options(
        "/v1/events", headers={"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    )
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (204, "*")
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]


def test_a_full_spool_stores_nothing_and_says_when_to_return(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from metronome.errors import SpoolFull

    def full(*_: Any) -> None:
        raise SpoolFull("the spool is full")

    monkeypatch.setattr(gateway.spool, "append", full)
    answer = ask(gateway, "events", {"sessionId": "s", "events": [{"name": "a"}]})
    assert (answer.status_code, answer.text, is_plain(answer)) == (503, "the spool is full", True)
    assert "Retry-After" in answer.headers


def test_a_publishable_key_stands_before_q_and_binds_the_app(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(open="no")
    kept = Kept(gateway)
    _, token = kept.make(scopes=("write",), app="shop", publishable=True, origins=("https://shop.example",))
    q = '{"sessionId":"s","events":[{"name":"a","props":{"u":"/?a=1&key=of-the-page"}}]}'
    page = {"Origin": "https://shop.example"}
    assert gateway.http.get(f"/v1/events?key={token}&q={q}", headers=page).text == "ok"
    refused = gateway.http.get(f"/v1/events?q={q}", headers=page)
    assert (refused.status_code, is_plain(refused)) == (401, True)
    assert [(row["app"], row["props.u"]) for row in stored(gateway)] == [("shop", "/?a=1&key=of-the-page")]


def test_the_documentations_times_are_counted_through_a_public_key_too(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(open="no")
    _, token = Kept(gateway).make(scopes=("write",), publishable=True, app="a", origins=("*",))
    q = {"sessionId": "s", "events": [{"name": "login", "ts": 123}]}
    assert gateway.http.get(f"/v1/events?key={token}&q={json.dumps(q)}").text == "ok"
    assert [row["@timestamp"] for row in stored(gateway)] == ["1970-01-01T00:02:03.000Z"]


# --- The literal ----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_the_literal_reader_reads_what_python_prints_and_json(value: Any) -> None:
    printed = repr(value)
    if "\\x" not in printed and "\\U" not in printed:
        assert read_literal(printed) == value
    assert read_literal(json.dumps(value, ensure_ascii=False)) == value


@given(st.text(alphabet="{}[]'\":,\\ab1-.etrufalsn \n", max_size=40))
def test_the_literal_reader_gives_a_value_or_a_reason(text: str) -> None:
    try:
        read_literal(text)
    except BadPayload as error:
        assert error.message
    else:
        assert text.strip()


def test_the_literal_reader_isnt_fooled_by_depth() -> None:
    with pytest.raises(BadPayload, match="more than 50 deep"):
        read_literal("[" * 100_000)


def test_a_day_is_that_of_the_event(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(datetime(2026, 11, 22, tzinfo=UTC))
    ask(gateway, "events", {"sessionId": "s", "events": [{"name": "a", "ts": 1795307829653 - 86_400_000}]})
    assert [row["_index"] for row in gateway.documents()] == [f"{names.pattern(gateway.settings)[:-1]}2026.11.21"]
