"""From an HTTP body to JSON values: inflating within limits, and telling JSON from NDJSON.

Pure functions over bytes; dialects call them, whatever framework serves the request.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any
from urllib.parse import parse_qsl

import orjson

from metronome.errors import BadPayload, TooLarge, UnsupportedMedia
from metronome.intake import Unreadable

_JSON = frozenset(
    ("", "application/json", "text/json", "text/plain", "application/csp-report", "application/reports+json")
)
_NDJSON = frozenset(
    (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "application/x-jsonlines",
        "application/json-lines",
        "application/stream+json",
    )
)
_FORM = "application/x-www-form-urlencoded"

_STEP = 64 * 1024

#: Largest body that is read again for the sake of its good events, in bytes.
_MAX_SALVAGED = 2**20

_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = b"\\ud"

#: Turns every digit into a zero. Nineteen zeros in a row may be a number that 64 bits don't hold. They may also be part
#: of a text; then the body is only read more slowly. Every fourth byte of nineteen zeros makes four zeros in a row.
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 19
_LONG_BY_FOUR = b"0" * 4

_FIRST = itemgetter(0)
_BRACE = frozenset(b"{")


@dataclass(frozen=True)
class Posted:
    """What a body held: `events`, and whether it was a batch (array, NDJSON).

    `flat` says that no event holds an object or an array, as this module could tell from the bytes. Nobody else can
    say so of events: the field is no argument.
    """

    events: list[Any]
    batch: bool
    flat: bool = field(default=False, init=False)


def inflate(body: bytes, encoding: str, *, max_bytes: int, max_ratio: int) -> bytes:
    """Undo a Content-Encoding of `gzip` (several members, as gzip allows) or `identity`.

    Both limits are checked while streaming, so a bomb costs no more memory than `max_bytes`. Raises TooLarge,
    BadPayload (not gzip, cut short, rubbish behind the end) or UnsupportedMedia.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMedia(f"Content-Encoding: {encoding[:40]!r} isn't understood; send gzip or nothing")
    limit = min(max_bytes, max(len(body) * max_ratio, _STEP))
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest:
            member = zlib.decompressobj(31)
            while not member.eof:
                part = member.decompress(rest, _STEP)
                rest = member.unconsumed_tail
                size += len(part)
                if size > limit:
                    raise TooLarge(f"the body inflates to more than {limit} bytes; send smaller batches")
                if not part and not rest and not member.eof:
                    raise BadPayload("the gzip body is cut short")
                parts.append(part)
            rest = member.unused_data
    except zlib.error as error:
        raise BadPayload(f"the body isn't gzip as its Content-Encoding says ({error})") from None
    return b"".join(parts)


def read_events(body: bytes, content_type: str) -> Posted:
    """The events of a body, by its media type; an unreadable NDJSON line is `Unreadable` and costs the others nothing.

    Raises BadPayload or UnsupportedMedia.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    body = body.removeprefix(b"\xef\xbb\xbf")
    if media_type in _NDJSON:
        return _ndjson(body)
    # {"id": "a"}            one event; also as text/plain, as browsers' beacons send it
    # [{"id": "a"}, ...]     a batch
    # {"id": "a"}\n{...}     NDJSON under the name of JSON, as many shippers send it
    # id=a&load_ms=3         a form; but curl calls everything a form, so JSON is looked for first
    if media_type in _JSON or media_type.endswith("+json"):
        return _json(body)
    if media_type == _FORM:
        return _json(body) if body.lstrip()[:1] in (b"{", b"[") else _form(body)
    raise UnsupportedMedia(
        f"Content-Type: {media_type[:60]!r} isn't understood; send application/json or application/x-ndjson"
    )


def _json(body: bytes) -> Posted:
    try:
        value = _loads(body, _has_long_number(body))
    except ValueError as error:
        lines = body.strip().split(b"\n")
        if len(lines) > 1 and lines[0][:1] != b"[" and lines[0].rstrip().endswith(b"}"):
            return _ndjson(body)
        events = _salvaged(body)
        if events is not None:
            return Posted(events, True)
        raise BadPayload(f"the body isn't JSON: {error}") from None
    if isinstance(value, list):
        return Posted(value, True)
    if not isinstance(value, dict):
        raise BadPayload("the body is JSON, but neither an object nor an array of objects")
    return Posted([value], False)


def _salvaged(body: bytes) -> list[Any] | None:
    """The events of an array in which some numbers aren't JSON (NaN, Infinity, 1e400): those events are `Unreadable`.

    None if something else is wrong with the array, or if it is so large that the slow reader would hold up others.
    """
    if len(body) > _MAX_SALVAGED:
        return None
    reason = "it holds NaN, Infinity or a number as large, which JSON can't; send null"
    try:
        value = json.loads(_mended(body.decode()))
        if isinstance(value, list):
            return [event if _is_finite(event) else Unreadable(reason, json.dumps(event).encode()) for event in value]
    except (ValueError, RecursionError):
        pass
    return None


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _ndjson(body: bytes) -> Posted:
    exact = _has_long_number(body)
    lines = body.strip(b" \t\r\n").split(b"\n")
    # Every object has a brace of its own. If there are as many braces as objects, no object holds another.
    braces = -1 if b"[" in body else body.count(b"{")
    events = None if exact else _as_one_array(lines, braces) or _plain_lines(lines)
    if events is None:
        events = [_line(line, exact) for line in lines if line and not line.isspace()]
    posted = Posted(events, True)
    object.__setattr__(posted, "flat", braces == list(map(type, events)).count(dict))
    return posted


def _as_one_array(lines: list[bytes], braces: int) -> list[Any] | None:
    """The objects of lines that are a flat object each; None where any is something else.

    Each line begins with a brace, and there are as many braces as lines and as objects found. So no brace is part of a
    text, and each line is one object. Joined by commas, the lines are an array, which is read in one call.
    """
    try:
        if braces != len(lines) or set(map(_FIRST, lines)) != _BRACE:
            return None
        events: list[Any] = orjson.loads(b"[%b]" % b",".join(lines))
    except (IndexError, ValueError):
        return None
    return events if list(map(type, events)) == [dict] * len(lines) else None


def _plain_lines(lines: list[bytes]) -> list[Any] | None:
    """The values of lines that the fast reader can read; None if it can't read one of them."""
    try:
        return list(map(orjson.loads, lines))
    except ValueError:
        return None


def _line(line: bytes, exact: bool) -> Any:
    try:
        return _loads(line, exact)
    except ValueError as error:
        return Unreadable(f"the line isn't JSON: {error}", line)


def _has_long_number(text: bytes) -> bool:
    """Whether the text may hold a whole number of more than 64 bits, whose digits only the slow reader keeps."""
    return _LONG_BY_FOUR in text[::4].translate(_DIGITS) and _LONG in text.translate(_DIGITS)


def _loads(text: bytes, exact: bool) -> Any:
    """One JSON value; raises ValueError. With `exact`, whole numbers of any length keep every digit."""
    try:
        value = orjson.loads(text)
        return _exactly(text, value) if exact else value
    except orjson.JSONDecodeError:
        # "\ud83d"    a browser that cuts a text in the middle of an emoji sends half of it
        if _ESCAPED_HALF not in text.lower():
            raise
        try:
            mended = _mended(text.decode())
            value = orjson.loads(mended)
            return _exactly(mended.encode(), value) if exact else value
        except (ValueError, RecursionError):
            pass  # something else is wrong with the text, too; the error of the first reader says what
        raise


def _exactly(text: bytes, value: Any) -> Any:
    """The value as the standard library reads it, ten times as slow as the fast reader, which found the text valid."""
    try:
        return json.loads(text)
    except (RecursionError, ValueError):  # nested too deep, or a number too long, for this reader
        return value


def _mended(text: str) -> str:
    """JSON with U+FFFD for halves of surrogate pairs, which can't be written in UTF-8."""
    return _HALF.sub("\ufffd", json.dumps(json.loads(text), ensure_ascii=False))


def _form(body: bytes) -> Posted:
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=2000)
    except ValueError:
        raise BadPayload("the body is neither a form (id=home&load_ms=312) nor JSON") from None
    return Posted([from_pairs(pairs)], False)


def from_pairs(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Form fields as an event; a name given several times becomes an array."""
    event: dict[str, Any] = {}
    for name, value in pairs:
        if name not in event:
            event[name] = value
        elif isinstance(event[name], list):
            event[name].append(value)
        else:
            event[name] = [event[name], value]
    return event
