"""Logging, WSGI, ASGI and Flask: what a program does becomes events, and never the other way round."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Gateway, free_port
from flask import Flask, Response, abort
from live import Live
from werkzeug.test import Client

from metronome.client import ASGIMiddleware, EventHandler, MetronomeFlask, Tracker, WSGIMiddleware

AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


@pytest.fixture
def live(gateway: Gateway, tmp_path: Path) -> Iterator[Live]:
    running = Live(gateway, tmp_path)
    yield running
    running.stop()


@pytest.fixture
def tracker(live: Live) -> Iterator[Tracker]:
    with Tracker("shop", url=live.url) as found:
        yield found


def documents(live: Live, tracker: Tracker, *names: str) -> list[dict[str, Any]]:
    """The stored events in the order in which they were tracked, cut to these names."""
    assert tracker.flush(30)
    found = sorted(live.gateway.documents(), key=lambda one: one["seq"])
    return [{name: one[name] for name in names if name in one} for one in found]


# --- logging ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def logger(tracker: Tracker) -> Iterator[logging.Logger]:
    found = logging.getLogger("tests.shop")
    found.setLevel(logging.DEBUG)
    handler = EventHandler(tracker, logging.INFO)
    found.addHandler(handler)
    yield found
    found.removeHandler(handler)


def test_a_record_becomes_an_event_with_what_extra_says(live: Live, tracker: Tracker, logger: logging.Logger) -> None:
    logger.debug("too little")
    logger.warning("%d items of %s", 3, "shoes", extra={"distinct_id": "ann", "id": "basket", "event": "low stock"})
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logger.exception("it failed")
    names = ("app", "event", "level", "logger", "message", "distinct_id", "id", "exception")
    assert documents(live, tracker, *names) == [
        {
            "app": "shop", "event": "low stock", "level": "WARNING", "logger": "tests.shop", "message": "3 items of shoes",
            "distinct_id": "ann", "id": "basket",
        },
        {
            "app": "shop", "event": "log", "level": "ERROR", "logger": "tests.shop", "message": "it failed",
            "exception": "ZeroDivisionError",
        },
    ]  # fmt: skip


def test_the_clients_own_warnings_cause_no_further_events(live: Live) -> None:
    with Tracker("shop", url=live.url) as tracker:
        root = logging.getLogger("metronome.client")
        handler = EventHandler(tracker)
        root.addHandler(handler)
        tracker.track("view", insert_id="with spaces")
        assert tracker.flush(30)
        root.removeHandler(handler)
        assert (tracker.refused, tracker.delivered, tracker.pending) == (1, 0, 0)


def test_a_record_that_cannot_be_written_is_logging_s_own_affair(
    tracker: Tracker, logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.warning("%d", "no number")
    logger.warning("x", extra={"price": float("inf")})
    assert tracker.pending == 0


# --- Requests --------------------------------------------------------------------------------------------------------

#: What an application answers, and what is seen of it: path, method, status, type, event, format.
REQUESTS = [
    ("/", "GET", 200, "text/html; charset=utf-8", "view", None),
    ("/caf%C3%A9/1", "GET", 200, "text/html", "view", None),
    ("/old", "GET", 301, "text/html", "hit", None),
    ("/form", "POST", 200, "text/html", "hit", None),
    ("/api", "GET", 200, "application/json", "hit", None),
    ("/geo", "GET", 200, "application/geo+json", "hit", None),
    ("/logo.png", "GET", 200, "image/png", "hit", None),
    ("/report.CSV", "GET", 200, "text/csv", "download", "csv"),
    ("/export", "GET", 200, "application/pdf", "download", "pdf"),
    ("/nowhere", "GET", 404, "text/html", "error", None),
    ("/broken", "GET", 500, "application/json", "error", None),
]  # fmt: skip

SEEN = ("id", "method", "status", "event", "format")

EXPECTED = [
    {
        "id": path.replace("%C3%A9", "é"), "method": method, "status": status, "event": event,
        **({"format": form} if form else {}),
    }
    for path, method, status, _, event, form in REQUESTS
]  # fmt: skip


def test_each_request_to_a_wsgi_application_is_an_event(live: Live, tracker: Tracker) -> None:
    answers = {path.replace("%C3%A9", "é"): (status, kind) for path, _, status, kind, _, _ in REQUESTS}

    def app(environ: Any, start_response: Any) -> Any:
        status, kind = answers[environ["PATH_INFO"].encode("latin-1").decode()]
        start_response(f"{status} Status", [("Content-Type", kind)])
        return [b"x"]

    http = Client(WSGIMiddleware(app, tracker))
    for path, method, status, *_ in REQUESTS:
        headers = {"User-Agent": AGENT, "Referer": "https://a.example/x?token=1", "Cookie": "secret=1"}
        with http.open(path, method=method, query_string="token=secret", headers=headers) as answer:
            assert (answer.status_code, answer.data) == (status, b"x")
    assert documents(live, tracker, *SEEN) == EXPECTED
    first = next(one for one in live.gateway.documents() if one["id"] == "/")
    assert (first["browser"], first["platform"], first["is_robot"]) == ("Firefox", "Linux", False)
    assert (first["url"], first["referer_page"]) == ("http://localhost/", "a.example/x")
    assert "secret" not in str(live.gateway.documents()) and AGENT not in str(first)


def test_each_request_to_an_asgi_application_is_an_event(live: Live, tracker: Tracker) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            _, _, status, kind, *_ = next(row for row in REQUESTS if row[0].replace("%C3%A9", "é") == scope["path"])
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
            await send({"type": "http.response.body", "body": b"x"})

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        logged = ASGIMiddleware(app, tracker)
        await logged({"type": "lifespan"}, receive, send)
        for path, method, *_ in REQUESTS:
            scope = {
                "type": "http", "method": method, "path": path.replace("%C3%A9", "é"), "scheme": "https",
                "query_string": b"token=secret", "headers": [(b"host", b"shop.example"), (b"user-agent", AGENT.encode())],
            }  # fmt: skip
            await logged(scope, receive, send)

    asyncio.run(main())
    assert len(sent) == 2 * len(REQUESTS)
    assert documents(live, tracker, *SEEN) == EXPECTED
    first = next(one for one in live.gateway.documents() if one["id"] == "/")
    assert (first["url"], first["browser"]) == ("https://shop.example/", "Firefox")


def test_an_application_that_fails_is_an_error_and_fails_as_before(live: Live, tracker: Tracker) -> None:
    def fails(environ: Any, start_response: Any) -> Any:
        raise KeyError("basket")

    async def fails_too(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("basket")

    with pytest.raises(KeyError, match="basket"):
        Client(WSGIMiddleware(fails, tracker)).get("/wsgi")
    with pytest.raises(KeyError, match="basket"):
        asyncio.run(ASGIMiddleware(fails_too, tracker)({"type": "http", "path": "/asgi"}, None, None))  # type: ignore[arg-type]
    assert documents(live, tracker, "id", "event", "status") == [
        {"id": path, "event": "error", "status": 500} for path in ("/wsgi", "/asgi")
    ]


def test_a_body_that_is_streamed_is_logged_when_it_is_closed(live: Live, tracker: Tracker) -> None:
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"

        def close(self) -> None:
            closed.append("body")

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return Body()

    answer = Client(WSGIMiddleware(app, tracker)).get("/", buffered=False)
    assert tracker.pending == 0
    answer.close()
    assert closed == ["body"]
    assert documents(live, tracker, "event") == [{"event": "view"}]


def test_flask_has_its_extension(live: Live) -> None:
    app = Flask("bookshop")
    app.config["METRONOME"] = {"url": live.url}

    def describe(environ: Any, event: dict[str, Any]) -> dict[str, Any] | None:
        return None if event["id"] == "/health" else {**event, "plan": "free"}

    extension = MetronomeFlask(describe=describe)
    extension.init_app(app)
    assert app.extensions["metronome"] is extension

    @app.get("/")
    def home() -> str:
        extension.tracker.track("looked", distinct_id="ann")
        return "<p>hello"

    @app.get("/health")
    def health() -> Response:
        return Response("ok")

    @app.get("/gone")
    def gone() -> str:
        abort(410)

    http = app.test_client()
    for path, status in (("/", 200), ("/health", 200), ("/gone", 410)):
        with http.get(path) as answer:
            assert answer.status_code == status
    found = documents(live, extension.tracker, "app", "event", "id", "plan", "distinct_id")
    assert found == [
        {"app": "bookshop", "event": "looked", "distinct_id": "ann"},
        {"app": "bookshop", "event": "view", "id": "/", "plan": "free"},
        {"app": "bookshop", "event": "error", "id": "/gone", "plan": "free"},
    ]
    assert extension.tracker.close(30)


@pytest.mark.parametrize("wrong", ["a gateway that is away", "a describe that fails"])
def test_a_failure_to_log_keeps_no_request_from_its_answer(wrong: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"x"]

    def describe(environ: Any, event: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no")

    chosen: Callable[..., Any] | None = describe if "describe" in wrong else None
    tracker = Tracker(port=free_port(), exit_s=0)
    assert Client(WSGIMiddleware(app, tracker, chosen)).get("/").data == b"x"
    tracker.close(0)
