"""Arguments of a request: the JSON object of its body, or its query string. A GET may have a body too."""

from __future__ import annotations

import math
from typing import Any

import orjson
from flask import Request

from metronome.errors import BadQuestion
from metronome.settings import Settings
from metronome.wire.request import body

#: Arguments that are JSON in a query string, where they look like it.
_JSON = ("query", "timeframe", "identifier")


def has_body(request: Request) -> bool:
    return bool(request.content_length) or "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def arguments(request: Request, settings: Settings) -> dict[str, Any]:
    """Raises BadQuestion, and what reading a body raises."""
    if has_body(request):
        return json_object(body(request, settings))
    given: dict[str, Any] = dict(request.args)
    for name in _JSON:
        text = given.get(name, "").strip()
        # {"video": {…}}      an object. Other texts are what they are: an identifier may look like a number
        if text.startswith("{") or (name == "query" and text):
            given[name] = _json(text, name)
    return given


def json_object(data: bytes) -> dict[str, Any]:
    found = _json(data, "the body") if data.strip() else {}
    if not isinstance(found, dict):
        raise BadQuestion('the body isn\'t a JSON object, such as {"identifier": "my video"}')
    return found


def _json(data: str | bytes, name: str) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        raise BadQuestion(f"{name} isn't JSON", field=name) from None


def number(given: Any, name: str, *, least: float | None = None, whole: bool = False) -> float:
    """A number, or its text as a query string has it. Raises BadQuestion."""
    what = "a whole number" if whole else "a number"
    wrong = BadQuestion(
        f"{name}: {str(given)[:40]!r} isn't {what}" + (f" of at least {least:g}" if least is not None else ""),
        field=name,
    )
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            raise wrong from None
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise wrong
    if (whole and given != int(given)) or (least is not None and given < least):
        raise wrong
    return given
