"""From a request of `/v1` to the JSON object that it carries.

Clients put JSON into the address without encoding it: `&`, `+` and a lone `%` are raw in it, and `#` with some. So
all that stands behind the first `q=` is the object, whatever a parser of query strings makes of it (contract, 2.3).
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from flask import Request

from metronome.dialects.openmetrics.literal import read_literal
from metronome.errors import BadPayload
from metronome.settings import Settings
from metronome.wire.events import read_events
from metronome.wire.request import body

_Q = re.compile("(?:^|&)q=")


def query_of(request: Request) -> str:
    """The raw query string, as it stood in the request line."""
    target = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or ""
    # Servers cut the query string at a `#`, which stands raw in the JSON of some clients.
    return str(target).partition("?")[2] or str(request.environ.get("QUERY_STRING", ""))


def posted_object(request: Request, settings: Settings) -> dict[str, Any] | None:
    """The object of `q`, or of the body of a POST; None where there is none. Raises BadPayload."""
    if request.method == "POST":
        has_body = request.content_length is not None or "Transfer-Encoding" in request.headers
        found = body(request, settings).strip() if has_body else b""
        return _object(found) if found else None
    query = query_of(request)
    start = _Q.search(query)
    text = unquote(query[start.end() :]).strip() if start else ""
    if not text:
        return None
    try:
        return _object(text.encode("utf-8", "replace"))
    except BadPayload:
        if "'" not in text:
            raise
    value = read_literal(text)
    if not isinstance(value, dict):
        raise BadPayload('q isn\'t a JSON object such as {"sessionId": "abc"}')
    return value


def _object(text: bytes) -> dict[str, Any]:
    try:
        posted = read_events(text, "application/json")
    except BadPayload as error:
        raise BadPayload(f"q can't be read: {error.message}") from None
    (value,) = posted.events if len(posted.events) == 1 else [None]
    if posted.batch or not isinstance(value, dict):
        raise BadPayload('q isn\'t a JSON object such as {"sessionId": "abc"}')
    return value
