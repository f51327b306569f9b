"""Reads a document's values for the columns of a part, in the same way as Elasticsearch reads them."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from metronome.event.fields import Event

_INT64 = 2**63

#: "-12" or "12.7": what Elasticsearch's `long` takes for a number in text.
_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]+)?")

#: "1700000000123": milliseconds in digits, the second form that Elasticsearch's `date` takes.
_DIGITS = re.compile(r"-?[0-9]{5,15}")

#: "2026-11-22T09:30:00.123Z": all but the year may be left out, from the right.
_TIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(?:(\d\d)(?::(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?)?)?)?",
    re.ASCII,
)

_NESTED = frozenset((dict, list))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(source: bytes) -> Event:
    """A document as flat properties: names with dots, arrays flat and without nulls.

    Half a surrogate pair, which JSON can spell and UTF-8 can't, becomes U+FFFD, as it does in Lucene.
    """
    try:
        document = orjson.loads(source)
    except ValueError:  # half a surrogate pair, or a number beyond a double's range
        document = json.loads(_clean(json.dumps(json.loads(source), ensure_ascii=False)))
    event: Event = document
    return event if _NESTED.isdisjoint(map(type, event.values())) else flatten(event)


def _clean(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def flatten(document: dict[str, Any]) -> Event:
    """`{"a": {"b": [1, [2]]}, "a.b": 3}` is `{"a.b": [1, 2, 3]}`: all values of one name are one list."""
    flat: Event = {}
    _collect(flat, "", document, in_array=False)
    return flat


def _collect(flat: Event, name: str, value: Any, *, in_array: bool) -> None:
    if type(value) is dict:
        for key, inner in value.items():
            _collect(flat, f"{name}.{key}" if name else key, inner, in_array=in_array)
    elif type(value) is list:
        for inner in value:
            _collect(flat, name, inner, in_array=True)
    elif value is None:
        return
    elif name in flat:
        before = flat[name]
        flat[name] = [*(before if type(before) is list else [before]), value]
    else:
        flat[name] = [value] if in_array else value


def first(value: Any) -> Any:
    """The value, or the first of several."""
    return value[0] if type(value) is list else value


def subject_of(event: Event, source: bytes) -> str | None:
    """The subject of an event: `distinct_id`, else `session_id`, as text; None if it has neither."""
    for name in ("distinct_id", "session_id"):
        value = event.get(name)
        if type(value) is str:
            return value
        if value is not None:
            return _as_written(name, source)
    return None


def _as_written(name: str, source: bytes) -> str:
    """An id that isn't text, as Elasticsearch's `keyword` reads it: `1.10` is the text 1.10."""
    document = json.loads(source, parse_int=str, parse_float=str)
    value = first(flatten(document)[name])
    return _clean(value) if type(value) is str else json.dumps(value)


def time_ms(value: Any) -> int | None:
    """A stored time as Unix milliseconds, rounded down; None where Elasticsearch's `date` reads none either.

    Text is ISO 8601 (UTC where it names no offset) or milliseconds in digits; numbers are milliseconds.
    """
    value = first(value)
    if type(value) is int or type(value) is float:
        return math.floor(value) if abs(value) < 10**15 else None
    if type(value) is not str:
        return None
    found = _TIME.fullmatch(value)
    if found is not None:
        return _from_parts(*found.groups())
    return int(value) if _DIGITS.fullmatch(value) else None


def _from_parts(*parts: str | None) -> int | None:
    """Milliseconds of (year, month, day, hour, minute, second, fraction, offset), of which only the year must be."""
    fraction, offset = parts[6] or "", parts[7] or "Z"
    numbers = [int(part) if part else low for part, low in zip(parts[:6], (1, 1, 1, 0, 0, 0), strict=True)]
    try:
        moment = datetime(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], tzinfo=UTC)
    except ValueError:
        return None
    ms = (moment - _EPOCH) // timedelta(milliseconds=1) + int(fraction.ljust(3, "0")[:3])
    if offset == "Z":
        return ms
    digits = offset[1:].replace(":", "").ljust(4, "0")
    ahead_ms = (int(digits[:2]) * 60 + int(digits[2:])) * 60_000
    return ms - ahead_ms if offset[0] == "+" else ms + ahead_ms


def seq_of(value: Any) -> int | None:
    """A sequence number as Elasticsearch's `long` reads it: fractions are cut off, digits in text count."""
    value = first(value)
    if type(value) is str:
        if not _NUMBER.fullmatch(value):
            return None
        value = int(value.partition(".")[0])
    if type(value) is float:
        value = int(value) if math.isfinite(value) else None
    return value if type(value) is int and -_INT64 <= value < _INT64 else None
