"""What every route does with a request: its body within limits, and answers that browsers may read."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from conftest import NOW, Gateway

CHUNKED = {"wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
FORM = "multipart/form-data; boundary=x"


def part(name: str, value: str) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def stored(gateway: Gateway) -> list[dict[str, Any]]:
    """The ids and sizes that were stored: all that these tests post."""
    return [{name: row[name] for name in ("id", "size") if name in row} for row in gateway.documents()]


@pytest.mark.parametrize("coding", ["chunked", "Chunked", "CHUNKED"])
@pytest.mark.parametrize("path", ["/tick", "/tick?app=shop"], ids=["alone", "with a query"])
def test_a_chunked_body_is_read_however_its_coding_is_written(gateway: Gateway, coding: str, path: str) -> None:
    environ = {**CHUNKED, "HTTP_TRANSFER_ENCODING": coding}
    answer = gateway.tick(
        path=path, data=b'[{"id": "a"}, {"id": "b"}]', content_type="application/json", environ_overrides=environ
    )
    assert (answer.status_code, answer.json["accepted"]) == (202, 2)
    assert sorted(row["id"] for row in stored(gateway)) == ["a", "b"]


BROKEN = "the form's parts can't be read; one is cut short, or the boundary is another"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(part("id", "a") + part("size", "1")[:-4], id="cut in a part"),
        pytest.param(part("id", "a"), id="cut after a part"),
        pytest.param(b"--y\r\n" + part("id", "a")[5:] + b"--y--\r\n", id="another boundary"),
        pytest.param(b"id=a", id="no parts at all"),
    ],
)
@pytest.mark.parametrize("path", ["/tick", "/tick?app=shop"], ids=["alone", "with a query"])
def test_a_broken_form_is_refused_and_nothing_of_it_is_stored(gateway: Gateway, body: bytes, path: str) -> None:
    answer = gateway.tick(path=path, data=body, content_type=FORM)
    assert (answer.status_code, answer.json["error"]["message"]) == (400, BROKEN)
    assert stored(gateway) == []


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_form_in_parts_is_one_event(gateway: Gateway, packed: bool) -> None:
    body = part("id", "a") + part("size", "1") + b"--x--\r\n"
    headers = {"Content-Encoding": "gzip"} if packed else {}
    answer = gateway.tick(data=gzip.compress(body) if packed else body, content_type=FORM, headers=headers)
    assert answer.status_code == 202, answer.text
    assert stored(gateway) == [{"id": "a", "size": "1"}]


def test_a_form_of_very_many_parts_is_refused(gateway: Gateway) -> None:
    body = b"".join(part(f"k{number}", "1") for number in range(1001)) + b"--x--\r\n"
    answer = gateway.tick(data=body, content_type=FORM)
    assert (answer.status_code, answer.json["error"]["message"]) == (413, "a form has at most 1000 fields")


def test_a_query_alone_is_one_event_and_a_body_of_nothing_as_well(gateway: Gateway) -> None:
    for data in ({}, {"data": b"", "content_type": "application/json"}, {"data": b"", "content_type": FORM}):
        assert gateway.tick(path="/tick?id=a", **data).status_code == 202
    assert stored(gateway) == [{"id": "a"}] * 3


ALLOWED = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param({"json": {"id": "a"}}, 202, id="taken"),
        pytest.param({"data": b"null", "content_type": "application/json"}, 400, id="refused"),
        pytest.param({"json": [5]}, 422, id="nothing taken"),
    ],
)
def test_a_script_of_any_site_may_read_the_answer_to_its_tick(
    gateway: Gateway, options: dict[str, Any], status: int
) -> None:
    answer = gateway.tick(**options)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in ALLOWED} == ALLOWED


def test_a_preflight_is_answered_for_ticks_and_for_nothing_else(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(now=NOW)
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    answer = gateway.http.options("/tick", headers=asked)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Methods"]) == (204, "POST, OPTIONS")
    assert {name: answer.headers[name] for name in ALLOWED} == ALLOWED
    other = gateway.http.options("/tock/a", headers=asked)
    assert "Access-Control-Allow-Origin" not in other.headers
