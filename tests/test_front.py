"""`GET /` says what this is; and no page of another site may pass for it."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Callable

import pytest
from conftest import Gateway, Server

from metronome import __version__
from metronome.kinds import is_loopback
from metronome.web.dashboard import FOLDER


def test_the_front_page_says_what_this_is_and_where_to_go(gateway: Gateway) -> None:
    page = gateway.http.get("/")
    assert (page.status_code, page.content_type) == (200, "text/html; charset=utf-8")
    assert "METRONOME" in page.text
    assert f"Metronome {__version__}" in page.text
    assert "http://localhost/tick" in page.text

    links = re.findall(r'href="([^"#]+)"', page.text)
    assert {"/try/", "/openapi.json", "/healthz", "/readyz", "/metrics"} <= set(links)
    assert [link for link in links if gateway.http.get(link).status_code != 200] == []


def test_the_front_page_loads_nothing_from_elsewhere_and_runs_nothing_of_its_own(gateway: Gateway) -> None:
    page = gateway.http.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["style-src"] == f"'self' 'sha256-{base64.b64encode(hashlib.sha256().digest()).decode()}'"
    loaded = re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]+)"', page.text)
    assert [path for path in loaded if not path.startswith("/dashboard/")] == []
    assert not re.search(r"<style|<img|<form|<iframe|\bon\w+=|style=|<script(?![^>]*src)", page.text)


SCRIPTS = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_pages_load_only_what_is_served_and_make_no_markup_of_text(gateway: Gateway, name: str) -> None:
    served = gateway.http.get(f"/dashboard/{name}")
    assert (served.status_code, served.headers["X-Content-Type-Options"]) == (200, "nosniff")
    text = (FOLDER / name).read_text()
    assert served.text == text
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert set(re.findall(r'from "\./([^"]+)"', text)) <= set(SCRIPTS)
    assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_a_file_of_the_pages_is_packed_and_asked_for_once(gateway: Gateway) -> None:
    first = gateway.http.get("/dashboard/plotly.js", headers={"Accept-Encoding": "gzip"})
    assert (first.status_code, first.headers["Content-Encoding"]) == (200, "gzip")
    again = gateway.http.get(
        "/dashboard/plotly.js", headers={"Accept-Encoding": "gzip", "If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")
    page = [gateway.http.get(f"/dashboard/{name}", headers={"Accept-Encoding": "gzip"}).data for name in SCRIPTS]
    assert sum(map(len, [first.data, *page])) < 1_600_000


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        pytest.param(None, "text/html", id="a client that doesn't say"),
        pytest.param("*/*", "text/html", id="curl"),
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", "text/html", id="a browser"),
        pytest.param("application/json", "application/json", id="a program"),
        pytest.param("text/html;q=0.5,application/json", "application/json", id="rather JSON"),
        pytest.param("image/png", "text/html", id="neither"),
    ],
)
def test_the_front_page_is_html_or_json_as_is_asked_for(gateway: Gateway, accept: str | None, media_type: str) -> None:
    answer = gateway.http.get("/", headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.mimetype, answer.headers["Vary"]) == (200, media_type, "Accept")
    if media_type == "application/json":
        assert answer.json["name"] == "Metronome"
        assert answer.json["version"] == __version__
        assert "/openapi.json" in answer.json["links"]


def test_a_host_with_markup_in_it_stays_text(gateway_for: Callable[..., Gateway]) -> None:
    gateway = gateway_for(bind="0.0.0.0:8000")
    page = gateway.http.get("/", headers={"Host": "<b>x</b>"})
    assert "<b>x" not in page.text


# --- Hosts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("[::1]", True),
        ("::1", True),
        ("localhost.example.org", False),
        ("notlocalhost", False),
        ("127.0.0.1.example.org", False),
        ("192.0.2.1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_a_loopback_host_is_known_by_name_or_address(host: str, local: bool) -> None:
    assert is_loopback(host) is local


LOCAL = "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("bind", "hosts", "host", "status"),
    [
        pytest.param(LOCAL, (), "127.0.0.1:8000", 200, id="the address that it is bound to"),
        pytest.param(LOCAL, (), "localhost:8000", 200, id="localhost"),
        pytest.param(LOCAL, (), "[::1]:8000", 200, id="IPv6"),
        pytest.param(LOCAL, (), "[::1]", 200, id="IPv6 without a port"),
        pytest.param(LOCAL, (), "evil.example", 421, id="a stranger's name"),
        pytest.param(LOCAL, (), "evil.example:8000", 421, id="a stranger's name and our port"),
        pytest.param(LOCAL, (), "localhost.evil.example", 421, id="a name that begins like ours"),
        pytest.param(LOCAL, (), "192.0.2.1:8000", 421, id="another address"),
        pytest.param(LOCAL, (), "x" * 5000, 421, id="a long name"),
        pytest.param(LOCAL, ("ticks.example.org",), "Ticks.Example.ORG", 200, id="a name of METRONOME_HOSTS, in any case"),
        pytest.param(LOCAL, ("ticks.example.org",), "ticks.example.org.:443", 200, id="the same with a dot and a port"),
        pytest.param(LOCAL, ("ticks.example.org",), "localhost", 200, id="localhost beside it"),
        pytest.param(LOCAL, ("ticks.example.org",), "evil.ticks.example.org", 421, id="a name below it"),
        pytest.param("0.0.0.0:8000", (), "evil.example", 200, id="bound to all addresses, any name"),
        pytest.param("0.0.0.0:8000", ("ticks.example.org",), "evil.example", 421, id="but not where names are set"),
        pytest.param("0.0.0.0:8000", ("ticks.example.org",), "10.1.2.3:8000", 200, id="nor by address, as a probe does"),
        pytest.param("gateway:8000", ("ticks.example.org",), "gateway:8000", 200, id="nor by the name it is bound to"),
    ],
)  # fmt: skip
def test_a_request_for_another_host_is_refused(
    gateway_for: Callable[..., Gateway], bind: str, hosts: tuple[str, ...], host: str, status: int
) -> None:
    http = gateway_for(bind=bind, hosts=hosts, open="yes").http
    for path in ("/healthz", "/"):
        answer = http.get(path, headers={"Host": host})
        assert answer.status_code == status
        if status == 421:
            assert answer.json == {
                "error": {
                    "status": 421,
                    "code": "misdirected",
                    "message": f"Host: {host[:100]!r} isn't a name of this gateway; "
                    "add it to METRONOME_HOSTS if it is meant to be one",
                }
            }
    posted = http.post("/tick", json={"id": "home"}, headers={"Host": host})
    assert posted.status_code == (202 if status == 200 else 421)


def test_a_page_whose_name_is_made_to_mean_this_machine_reads_nothing(server: Server) -> None:
    address, _, port = server.bind.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=20) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"metronome_" not in answer


def test_http_1_0_needs_no_host(server: Server) -> None:
    address, _, port = server.bind.rpartition(":")
    with socket.create_connection((address, int(port)), timeout=20) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] == b"200"
