"""`/live`: a page that shows what happens just now. Its events come from the streams process (streams/live.py).

The page loads nothing but its own script and style, from here. It asks for a key if the gateway does, and keeps it only
as long as the page is open. A request for one of the streams that doesn't ask for `text/event-stream` ends here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Response

from metronome.errors import BadQuestion
from metronome.web.assets import Asset
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs

_FOLDER = Path(__file__).parent / "templates"

#: Path to file and media type.
_FILES = {
    "/live": ("live.html", "text/html"),
    "/live/page.js": ("live.js", "text/javascript"),
    "/live/page.css": ("live.css", "text/css"),
}

_STREAMS = {
    "/live/events": "Events as they arrive, as server-sent events",
    "/live/counters": "Events, subjects and names of the last 5 and 30 minutes, every 2 s",
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def blueprint() -> Blueprint:
    """The page, its script and style, and what those get who ask for a stream in the wrong way."""
    routes = Blueprint("live", __name__)
    for path, (name, media_type) in _FILES.items():
        routes.add_url_rule(path, name.replace(".", "_"), _file((_FOLDER / name).read_bytes(), media_type))

    @needs("read")
    def no_stream() -> Response:
        raise BadQuestion("Accept: this is a stream; ask with Accept: text/event-stream", field="Accept")

    for path in _STREAMS:
        routes.add_url_rule(path, view_func=no_stream)
    return routes


def _file(data: bytes, media_type: str) -> Any:
    asset = Asset(data, media_type, _HEADERS)

    @needs("public")
    def file() -> Response:
        return asset.answer()

    return file


def _stream(summary: str, further: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    def parameter(name: str, meaning: str) -> dict[str, Any]:
        return {"in": "query", "name": name, "schema": {"type": "string"}, "description": meaning}

    shared = (
        parameter("where", 'Filters as JSON: [{"field": "event", "op": "is", "value": "buy"}]'),
        parameter("app", "Events of this application only"),
        parameter("robots", "false: left out (default); true: only robots; all"),
    )
    said = {"description": "Until the client leaves, or for 5 minutes", "content": {"text/event-stream": {}}}
    return {"summary": summary, "parameters": [*shared, *further], "responses": {"200": said}}


_RESUME = {
    "in": "header",
    "name": "Last-Event-ID",
    "schema": {"type": "string"},
    "description": "The id of the last event that came: what was missed follows. `?after=` is the same",
}

CHAPTER = Chapter(
    "live",
    "What happens just now.",
    {
        **{
            path: {"get": plain("The page that shows it, its script, its style", name, media_type)}
            for path, (name, media_type) in _FILES.items()
        },
        "/live/events": {"get": _stream(_STREAMS["/live/events"], (_RESUME,))},
        "/live/counters": {"get": _stream(_STREAMS["/live/counters"])},
    },
)
