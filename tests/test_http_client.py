"""The commands' own HTTP: what the environment says of proxies is not for this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import Server, free_port

from metronome.client import get, is_ready, post
from metronome.errors import MetronomeError, StoreUnavailable


class Proxy(BaseHTTPRequestHandler):
    """Answers every request as a proxy that reaches nothing, and notes what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(502)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was asked of the proxy that the environment names."""
    found: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Noting", (Proxy,), {"asked": found}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    # urllib remembers what the environment said first.
    monkeypatch.setattr("urllib.request._opener", None)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gateway_on_this_machine_is_asked_without_the_proxy(server: Server, asked: list[str]) -> None:
    assert is_ready(server.bind)
    item = f"proxy-{free_port()}"
    for host in ("127.0.0.1", "localhost"):
        url = server.url.replace("127.0.0.1", host)
        assert post(f"{url}/tick", b'{"id": "%b"}' % item.encode())["accepted"] == 1
        assert get(f"{url}/tock/{item}.json", {}).keys() == {"views", "downloads", "referers"}
    assert asked == []


def test_a_gateway_elsewhere_is_asked_through_the_proxy(asked: list[str]) -> None:
    with pytest.raises(StoreUnavailable, match="HTTP 502"):
        get("http://ticks.example/tock/a.json", {})
    with pytest.raises(MetronomeError):
        post("http://ticks.example/tick", b"{}")
    assert asked == ["http://ticks.example/tock/a.json", "http://ticks.example/tick"]
