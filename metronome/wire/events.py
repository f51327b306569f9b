"""Turns an HTTP body into JSON values: inflates it within limits, and tells JSON from NDJSON.

Pure functions over bytes; dialects call them, whatever framework serves the request. Limits are checked before the
work: a body is weighed by its bytes before a reader makes objects of it.
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
import re2

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

#: How many times as long as stored an event may be when it is posted: `\\u0041` is six bytes of an A.
_AS_POSTED = 8

#: Members of a gzip body. Compressors that write blocks make one in 64 KB; an empty one costs as much as a full one.
_MAX_MEMBERS = 1000

#: What reading makes of a body, in bytes: a value, an object beside its values, a name.
_VALUE_BYTES, _OBJECT_BYTES, _NAME_BYTES = 72, 150, 130
_ORDINARY_NAMES = 64

#: Bytes that reading may take beyond four times the body: what as many small events as a request may have take.
_ROOM_AN_EVENT = 8 * 1024

#: Where a text may be an IP address: at its beginning. RE2 reads a body in one pass, 0.25 µs an event.
_BYTES = re2.Options()
_BYTES.encoding = re2.Options.Encoding.LATIN1
_MAYBE_ADDRESS = re2.compile(
    rb'"(?:\s|\\[nrtf])*\[?(?:\d{1,3}\.\d{1,3}\.\d{1,3}\.\d|[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:)', _BYTES
)

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
    """The `events` of a body, and whether it was a batch (array, NDJSON).

    `flat` says that no event holds an object or an array, as this module could tell from the bytes. Nobody else can
    say so of events: the field is no argument. Nor is `addresses`: whether a text of them may be an IP address. Nor is
    `may_be_usage`: whether an event of them may be a counted usage, since it has a name with `counter` in it.
    """

    events: list[Any]
    batch: bool
    flat: bool = field(default=False, init=False)
    addresses: bool = field(default=True, init=False)
    may_be_usage: bool = field(default=True, init=False)


@dataclass(frozen=True)
class Limits:
    """What a body may hold: events, and bytes of one event as it is stored.

    An event may be posted `_AS_POSTED` times as long, since blanks, escapes and what is withheld aren't stored.
    """

    events: int = 2000
    event_bytes: int = 32 * 1024

    @property
    def line_bytes(self) -> int:
        return _AS_POSTED * self.event_bytes


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
    size = members = at = 0
    try:
        while at < len(body):
            members += 1
            if members > _MAX_MEMBERS:
                raise TooLarge(f"the gzip body has more than {_MAX_MEMBERS} members; compress it as one")
            member = zlib.decompressobj(31)
            # Small pieces go in, since zlib copies what it leaves of a piece each time.
            rest = b""
            while not member.eof:
                if not rest:
                    rest = body[at : at + _STEP]
                    at += len(rest)
                part = member.decompress(rest, _STEP)
                rest = member.unconsumed_tail
                size += len(part)
                if size > limit:
                    raise TooLarge(f"the body inflates to more than {limit} bytes; send smaller batches")
                if not part and not rest and not member.eof and at >= len(body):
                    raise BadPayload("the gzip body is cut short")
                parts.append(part)
            at -= len(member.unused_data)
    except zlib.error as error:
        raise BadPayload(f"the body isn't gzip as its Content-Encoding says ({error})") from None
    return b"".join(parts)


def read_events(body: bytes, content_type: str, limits: Limits = Limits()) -> Posted:
    """The events of a body, by its media type; an unreadable NDJSON line is `Unreadable` and costs the others nothing.

    Raises BadPayload, TooLarge or UnsupportedMedia.
    """
    _weigh(body, limits)
    posted = _read(body, content_type, limits)
    object.__setattr__(posted, "addresses", _may_hold_addresses(body) if posted.batch else True)
    # "c\u006funter"    who writes the name so isn't understood: the event is a plain tick
    object.__setattr__(posted, "may_be_usage", b"counter" in body)
    return posted


def _weigh(body: bytes, limits: Limits) -> None:
    """Refuse a body that would take far more memory than its size; raises TooLarge.

    Commas and brackets inside texts are counted too. They weigh little beside the texts they are in.
    """
    least = 4 * len(body) + _ROOM_AN_EVENT * limits.events
    if _VALUE_BYTES * len(body) <= least:  # a comma wherever one could be wouldn't be too much
        return
    objects = body.count(b"{")
    values = body.count(b",") + body.count(b"[") + objects
    # Names repeat in ordinary batches, and are made once. Of very many in one object each is made for itself.
    names = max(0, body.count(b'":') - _ORDINARY_NAMES * objects)
    if _VALUE_BYTES * values + _OBJECT_BYTES * objects + _NAME_BYTES * names > least:
        raise TooLarge(f"the body holds about {values} values, too many for its size; send smaller batches")


def _may_hold_addresses(body: bytes) -> bool:
    """Whether any text of a JSON body may be an IP address, or a line of an access log; right where it says no."""
    # \u0031     is a 1: what is escaped isn't looked through
    # ] \"GET   is what an access log has behind the time
    if b"\\" in body and (b"\\u00" in body or b'] \\"' in body):
        return True
    return _MAYBE_ADDRESS.search(body) is not None


def _read(body: bytes, content_type: str, limits: Limits) -> Posted:
    media_type = content_type.partition(";")[0].strip().lower()
    body = body.removeprefix(b"\xef\xbb\xbf")
    if media_type in _NDJSON:
        return _ndjson(body, limits)
    # {"id": "a"}            one event; also as text/plain, as browsers' beacons send it
    # [{"id": "a"}, ...]     a batch
    # {"id": "a"}\n{...}     NDJSON under the name of JSON, as many shippers send it
    # id=a&load_ms=3         a form; but curl calls everything a form, so JSON is looked for first
    if media_type in _JSON or media_type.endswith("+json"):
        return _json(body, limits)
    if media_type == _FORM:
        return _json(body, limits) if body[:1024].lstrip()[:1] in (b"{", b"[") else _form(body)
    raise UnsupportedMedia(
        f"Content-Type: {media_type[:60]!r} isn't understood; send application/json or application/x-ndjson"
    )


def _json(body: bytes, limits: Limits) -> Posted:
    start = body[:1024].lstrip()[:1]
    # {"id": "a"}\n{...}     lines under the name of JSON: the first ends in a brace
    lines = start == b"{" and _first_line_is_whole(body)
    if start == b"{" and not lines and len(body) > limits.line_bytes:
        raise TooLarge(_too_long(len(body), limits))
    if lines and len(body) > limits.line_bytes:
        return _ndjson(body, limits)
    try:
        value = _loads(body, _has_long_number(body))
    except ValueError as error:
        if lines:
            return _ndjson(body, limits)
        events = _salvaged(body)
        if events is not None:
            return Posted(events, True)
        raise BadPayload(f"the body isn't JSON: {error}") from None
    if isinstance(value, list):
        return Posted(value, True)
    if not isinstance(value, dict):
        raise BadPayload("the body is JSON, but neither an object nor an array of objects")
    return Posted([value], False)


def _first_line_is_whole(body: bytes) -> bool:
    first, end, rest = body.lstrip().partition(b"\n")
    return bool(end) and first.rstrip().endswith(b"}") and not rest.isspace()


def _too_long(size: int, limits: Limits) -> str:
    return f"an event of {size} bytes; at most {limits.line_bytes} are read, and {limits.event_bytes} stored"


def _salvaged(body: bytes) -> list[Any] | None:
    """The events of an array in which some numbers aren't JSON (NaN, Infinity, 1e400). Such events are `Unreadable`.

    None if something else is wrong with the array, or if it is so large that the slow reader would delay other
    requests.
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


def _ndjson(body: bytes, limits: Limits) -> Posted:
    body = body.strip(b" \t\r\n")
    if body.count(b"\n") >= 2 * limits.events:  # blank lines are taken, but not without end
        raise _too_many(body.count(b"\n") + 1, limits)
    exact = _has_long_number(body)
    lines = body.split(b"\n")
    if len(lines) > limits.events and len([line for line in lines if line and not line.isspace()]) > limits.events:
        raise _too_many(len(lines), limits)
    if len(body) > limits.line_bytes and max(map(len, lines)) > limits.line_bytes:
        return Posted([_line(line, exact, limits) for line in lines if line and not line.isspace()], True)
    # Every object has a brace of its own. If there are as many braces as objects, no object holds another.
    braces = -1 if b"[" in body else body.count(b"{")
    events = None if exact else _as_one_array(lines, braces) or _plain_lines(lines)
    if events is None:
        events = [_line(line, exact, limits) for line in lines if line and not line.isspace()]
    posted = Posted(events, True)
    object.__setattr__(posted, "flat", braces == list(map(type, events)).count(dict))
    return posted


def _as_one_array(lines: list[bytes], braces: int) -> list[Any] | None:
    """The objects of lines, if each line is a flat object; else None.

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


def _too_many(lines: int, limits: Limits) -> TooLarge:
    return TooLarge(f"{lines} lines in one request; send at most {limits.events} events (METRONOME_MAX_BATCH_EVENTS)")


def _line(line: bytes, exact: bool, limits: Limits) -> Any:
    if len(line) > limits.line_bytes:
        return Unreadable(_too_long(len(line), limits), line)
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
    """The value as the standard library reads it, which takes ten times as long. The fast reader found it valid."""
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
