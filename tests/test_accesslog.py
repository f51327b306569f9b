"""Lines of access logs as events, without any server. The logs in payloads/ were written by these web servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metronome.load.accesslog import (
    ASSETS,
    DOWNLOADS,
    Logged,
    apache_reader,
    happened,
    is_logged_request,
    json_reader,
    path_of,
    split_request,
    to_event,
)

PAYLOADS = Path(__file__).parent / "payloads"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"
OWN_FORMAT = '%V %{%Y-%m-%dT%H:%M:%S%z}t %m %U %>s %B %D "%{Referer}i" "%{User-agent}i"'


def events(path: str, reader: Callable[[bytes], Logged]) -> list[dict[str, Any]]:
    return [to_event(reader(line)) for line in (PAYLOADS / path).read_bytes().split(b"\n") if line]


@pytest.mark.parametrize(
    ("method", "status", "path", "expected"),
    [
        ("GET", 200, "/", "view"),
        ("GET", 304, "/about.html", "view"),
        ("GET", 200, "/atlas", "view"),
        ("GET", 200, "/v1.2", "view"),
        ("GET", 200, "/index.php", "view"),
        ("GET", 200, "/data/roads.csv", "download"),
        ("GET", 304, "/data/Roads.CSV", "download"),
        ("GET", 200, "/a.tar.gz", "download"),
        ("GET", 200, "/notes.txt", "download"),
        ("GET", 206, "/reports/annual.pdf", "hit"),
        ("GET", 206, "/", "hit"),
        ("GET", 200, "/site.css", "hit"),
        ("GET", 200, "/api/items.json", "hit"),
        ("GET", 200, "/robots.txt", "hit"),
        ("GET", 200, "/.well-known/change-password", "hit"),
        ("GET", 301, "/old", "hit"),
        ("GET", 204, "/beacon", "hit"),
        ("HEAD", 200, "/", "hit"),
        ("POST", 200, "/form", "hit"),
        ("GET", 404, "/data/roads.csv", "error"),
        ("GET", 499, "/", "error"),
        ("POST", 500, "/form", "error"),
        (None, 400, "", "error"),
        ("GET", None, "/", "hit"),
    ],
)
def test_what_happened(method: str | None, status: int | None, path: str, expected: str) -> None:
    assert happened(method, status, path) == expected


def test_no_extension_is_both_a_download_and_an_asset() -> None:
    assert not DOWNLOADS & ASSETS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET / HTTP/1.1", ("GET", "/")),
        ("GET /a b HTTP/1.1", ("GET", "/a b")),
        ("GET /", ("GET", "/")),
        ("OPTIONS * HTTP/1.1", ("OPTIONS", "*")),
        ("\x16\x03\x01", (None, None)),
        ("nonsense", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_request_line(line: str, expected: tuple[str | None, str | None]) -> None:
    assert split_request(line) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a%20b?x=1#y", "/a%20b"),
        ("/#part", "/"),
        ("?x", "/"),
        ("//double//", "//double//"),
        ("http://maps.example.org/a?b", "/a"),
        ("HTTPS://maps.example.org", "/"),
        ("/?u=http://a/b.csv", "/"),
        ("*", "*"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_path_of_a_target(target: str | None, expected: str) -> None:
    assert path_of(target) == expected


def test_one_log_in_four_formats_gives_the_same_events() -> None:
    combined = events("nginx/access.log", apache_reader("auto"))
    lines = (PAYLOADS / "nginx/access.log").read_bytes().splitlines()
    main, vhost = apache_reader("auto"), apache_reader("auto")
    assert [to_event(main(line + b' "10.0.0.1, 10.0.0.2"')) for line in lines] == combined
    with_host = [to_event(vhost(b"maps.example.org:443 " + line)) for line in lines]
    assert [url for event in with_host if (url := event.pop("url", None)) is not None and "https://" not in url] == []
    assert with_host == combined
    as_json = events("nginx/access.json", json_reader)
    assert {event.pop("url", None) for event in as_json} >= {"http://maps.example.org/data/roads.csv", None}
    assert as_json == combined


def test_a_line_of_nginx_becomes_an_event_without_the_visitors_address() -> None:
    line = (
        b'198.51.100.7 - bob [21/Nov/2026:00:30:00 +0100] "GET /data/roads.csv?v=3 HTTP/1.1" 200 5200 '
        b'"https://arcgis.com/" "' + FIREFOX.encode() + b'"'
    )
    assert to_event(apache_reader("auto")(line)) == {
        "@timestamp": "2026-11-20T23:30:00.000Z",
        "event": "download",
        "id": "/data/roads.csv",
        "format": "csv",
        "status": 200,
        "method": "GET",
        "bytes": 5200,
        "referer": "https://arcgis.com/",
        "user_agent": FIREFOX,
    }


@pytest.mark.parametrize(
    ("file", "form", "expected"),
    [
        ("apache/vhost_combined.log", "auto", {"bytes": 5406, "url": "http://maps.example.org/data/roads.csv"}),
        ("apache/common.log", "auto", {"bytes": 5200, "referer": None, "user_agent": None}),
        ("apache/own.log", OWN_FORMAT, {"bytes": 5200, "url": "//127.0.0.1/data/roads.csv"}),
    ],
)
def test_logs_of_apache(file: str, form: str, expected: dict[str, Any]) -> None:
    found = events(file, apache_reader(form))
    wanted = {
        "@timestamp": "2026-11-22T02:43:48.000Z",
        "event": "download",
        "id": "/data/roads.csv",
        "format": "csv",
        "status": 200,
        "method": "GET",
        "referer": "https://arcgis.com/",
        "user_agent": FIREFOX,
        **expected,
    }
    assert found[1] == {name: value for name, value in wanted.items() if value is not None}
    assert [event["event"] for event in found] == ["view", "download", "view", "error", "view", "hit"]


def test_a_log_of_caddy() -> None:
    found = events("caddy/access.json", json_reader)
    assert found[4] == {
        "@timestamp": "2026-11-22T02:43:48.510Z",
        "event": "view",
        "id": "/about.html",
        "url": "//127.0.0.1:18998/about.html",
        "status": 200,
        "method": "GET",
        "bytes": 700,
        "referer": "https://arcgis.com/",
        "user_agent": FIREFOX,
    }
    assert [event["event"] for event in found] == ["view", "download", "view", "error", "view", "hit"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"status": "200", "request": "GET / HTTP/1.1", "id": "4f2a"}, True),
        ({"status": 400, "request": ""}, True),
        ({"status": 200, "method": "GET", "uri": "/"}, True),
        ({"status": 200, "request": {"method": "GET", "uri": "/"}}, True),
        ({"status": 200, "method": "GET", "url": "/", "id": "/"}, False),
        ({"status": 200, "request": "GET / HTTP/1.1", "event": "view", "id": "/"}, False),
        ({"id": "home"}, False),
        ({}, False),
    ],
)
def test_which_json_is_an_access_log(record: dict[str, Any], expected: bool) -> None:
    assert is_logged_request(record) is expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "isn't JSON"),
        (b"[1]", "not an object"),
        (b"{}", "neither request nor request_method"),
        (b'{"request": "GET / HTTP/1.1", "time": "2026-11-22T00:00:00Z"}', "no status"),
        (b'{"request": "GET / HTTP/1.1", "status": 200}', "no time"),
        (b'{"request": "GET / HTTP/1.1", "status": 200, "time": "yesterday"}', "time: 'yesterday' is not"),
        (b'{"request": 5, "status": 200, "time": true}', "time: is not a time"),
    ],
)
def test_json_that_cant_be_read_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        json_reader(line)


@pytest.mark.parametrize(
    "time", ["22/Nov/2026:10:30:00 +0100", "[22/Nov/2026:10:30:00 +0100]", 1795339800, "1795339800.000"]
)
def test_times_of_json_logs(time: Any) -> None:
    line = json.dumps({"request": "GET / HTTP/1.1", "status": 200, "time": time}).encode()
    assert to_event(json_reader(line))["@timestamp"] == "2026-11-22T09:30:00.000Z"


@pytest.mark.parametrize("form", ["%", "%Y%h", "%{a"])
def test_a_format_that_is_none(form: str) -> None:
    with pytest.raises(ValueError, match="is no LogFormat"):
        apache_reader(form)


def test_a_line_of_another_format() -> None:
    with pytest.raises(ValueError, match="isn't a line of an access log"):
        apache_reader("auto")(b"Nov 22 09:30:00 vm kernel: hello")
