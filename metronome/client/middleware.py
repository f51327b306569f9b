"""Each request to a web application as an event: middleware for WSGI and ASGI, and an extension for Flask.

    app = WSGIMiddleware(app, tracker)            any WSGI application
    app = ASGIMiddleware(app, tracker)            any ASGI application
    MetronomeFlask(app)                           Flask, configured by app.config["METRONOME"]

An event has the path as its `id`, and `url`, `referer`, `status`, `method`, `duration_ms`; the agent is sent to be
judged, and not stored. What happened is the first of these that applies, as with access logs:

    error       status 400 and above
    hit         any method but GET, any status but 200 and 304, or an answer that is neither a page nor a file to keep:
                JSON, a script, a style, a picture, a font
    view        a page
    download    any other file; `format` is the extension, or the media type's second half

Neither addresses of visitors nor cookies or query parameters are sent. A failure to log keeps no request from its
answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any
from urllib.parse import quote

from metronome.client.tracker import Tracker, log

#: Beginnings of media types that are parts of pages, or are for programs.
_PARTS = ("application/json", "application/javascript", "text/javascript", "text/css", "image/", "font/")
_PAGES = ("text/html", "application/xhtml+xml", "")

#: Says what more an event of a request has, or None for no event. It is given WSGI's environ, or ASGI's scope.
Describe = Callable[[Any, dict[str, Any]], dict[str, Any] | None]


class Requests:
    """What the middlewares share: a request that was answered becomes an event."""

    def __init__(self, tracker: Tracker, describe: Describe | None = None) -> None:
        self._tracker = tracker
        self._describe = describe

    def answered(self, request: Any, started: float, event: dict[str, Any], media_type: str) -> None:
        """`event` has method, path, status and what else is known of the request."""
        try:
            path = event.pop("path")
            what = happened(event["method"], event["status"], media_type)
            event.update(event=what, id=path, duration_ms=round((time.perf_counter() - started) * 1000, 1))
            if what == "download":
                event["format"] = format_of(path, media_type)
            kept = {name: value for name, value in event.items() if value not in (None, "")}
            said = self._describe(request, kept) if self._describe else kept
            if said is not None:
                self._tracker.track(**said)
        except Exception:
            log.exception("a request wasn't logged")


def happened(method: str, status: int, media_type: str) -> str:
    """What a request was: `error`, `hit`, `view` or `download`."""
    if status >= 400:
        return "error"
    media_type = media_type.partition(";")[0].strip().lower()
    if method != "GET" or status not in (200, 304) or media_type.startswith(_PARTS) or media_type.endswith("+json"):
        return "hit"
    return "view" if media_type in _PAGES else "download"


def format_of(path: str, media_type: str) -> str:
    """`csv` for `/report.csv`, and for text/csv."""
    stem, dot, extension = path.rpartition("/")[2].rpartition(".")
    if dot and stem and extension.isalnum() and len(extension) <= 8:
        return extension.lower()
    return media_type.partition(";")[0].strip().lower().rpartition("/")[2]


class WSGIMiddleware(Requests):
    """Logs each request of a WSGI application once its answer has been sent."""

    def __init__(self, app: Callable[..., Iterable[bytes]], tracker: Tracker, describe: Describe | None = None) -> None:
        super().__init__(tracker, describe)
        self._app = app

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started = time.perf_counter()
        answer: dict[str, Any] = {"status": 500, "type": ""}

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            answer["status"] = int(status[:3])
            answer["type"] = next((value for name, value in headers if name.lower() == "content-type"), "")
            return start_response(status, headers, *more)

        def done() -> None:
            event = {**_of_environ(environ), "status": answer["status"]}
            self.answered(environ, started, event, answer["type"])

        try:
            body = self._app(environ, start)
        except BaseException:
            done()
            raise
        return _Closing(body, done)


class _Closing:
    """A WSGI body that says when it was closed, which a server does after the last byte and after a failure."""

    def __init__(self, body: Iterable[bytes], done: Callable[[], None]) -> None:
        self._body, self._done = body, done

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            if hasattr(self._body, "close"):
                self._body.close()
        finally:
            self._done()


def _of_environ(environ: dict[str, Any]) -> dict[str, Any]:
    # WSGI's text holds one byte a character.
    path = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1", "replace")
    path = path.decode("utf-8", "replace") or "/"
    host = environ.get("HTTP_HOST") or environ.get("SERVER_NAME", "")
    return {
        "method": environ.get("REQUEST_METHOD", "GET"),
        "path": path,
        "url": f"{environ.get('wsgi.url_scheme', 'http')}://{host}{quote(path)}",
        "referer": environ.get("HTTP_REFERER"),
        "user_agent": environ.get("HTTP_USER_AGENT"),
    }


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ASGIMiddleware(Requests):
    """Logs each HTTP request of an ASGI application once its answer has been sent."""

    def __init__(self, app: Callable[..., Awaitable[None]], tracker: Tracker, describe: Describe | None = None) -> None:
        super().__init__(tracker, describe)
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        answer: dict[str, Any] = {"status": 500, "type": ""}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                answer["type"] = _header(message.get("headers", ()), b"content-type")
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            event = {**_of_scope(scope), "status": answer["status"]}
            self.answered(scope, started, event, answer["type"])


def _of_scope(scope: Message) -> dict[str, Any]:
    path, headers = scope.get("path") or "/", scope.get("headers", ())
    host = _header(headers, b"host") or str((scope.get("server") or ("",))[0])
    return {
        "method": scope.get("method", "GET"),
        "path": path,
        "url": f"{scope.get('scheme', 'http')}://{host}{quote(path)}",
        "referer": _header(headers, b"referer"),
        "user_agent": _header(headers, b"user-agent"),
    }


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")


class MetronomeFlask:
    """The extension for Flask: logs each request, and has the tracker for events of the application's own.

    metronome = MetronomeFlask(app)      or MetronomeFlask(), and later metronome.init_app(app)
    metronome.tracker.track("buy", price=9.5)

    `app.config["METRONOME"]` holds the arguments of Tracker: `{"application": "shop", "url": …, "key": …}`.
    The application's name is the default of `application`. Flask itself isn't imported here.
    """

    tracker: Tracker

    def __init__(self, app: Any = None, *, describe: Describe | None = None) -> None:
        self._describe = describe
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Any) -> None:
        self.tracker = Tracker(**{"application": app.name, **app.config.get("METRONOME", {})})
        app.wsgi_app = WSGIMiddleware(app.wsgi_app, self.tracker, self._describe)
        app.extensions["metronome"] = self
