"""Points of an external series as they are sent and given.

    JSON    [{"ts": "2026-11-01", "value": 12.5, "dims": {"country": "NL"}}, …]
    CSV     ts,value,country      every further column is a dimension; an empty cell is none

A point that can't be taken is named with its place and the reason, and the others are stored.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from metronome.errors import BadPayload, BadQuestion
from metronome.periods import read_time, to_text
from metronome.saved import Point

#: Most points of one request.
MOST = 10_000

MOST_DIMS = 20
MOST_TEXT = 1024

#: Rejected points that an answer names.
NAMED = 20


def read_points(data: bytes, mimetype: str) -> tuple[list[Point], list[dict[str, Any]]]:
    """The points of a body, and what can't be taken; raises BadPayload where nothing can be read."""
    given = _from_csv(data) if mimetype == "text/csv" else _from_json(data)
    if len(given) > MOST:
        raise BadPayload(f"at most {MOST:,} points in a request; send several")
    points, rejected = [], []
    for number, one in enumerate(given):
        try:
            points.append(_point(one))
        except ValueError as error:
            rejected.append({"index": number, "reason": str(error)})
    return points, rejected


def _from_json(data: bytes) -> Sequence[Any]:
    try:
        given = orjson.loads(data)
    except ValueError as error:
        raise BadPayload(f"the body isn't JSON: {error}") from None
    if not isinstance(given, list):
        raise BadPayload('the body is a list such as [{"ts": "2026-11-01", "value": 12.5}], or CSV as text/csv')
    return given


def _from_csv(data: bytes) -> Sequence[Any]:
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPayload(f"the CSV can't be read: {error}") from None
    if rows and not {"ts", "value"} <= set(rows[0]):
        raise BadPayload("the CSV's first line names its columns; ts and value are two of them")
    return [_from_row(row) for row in rows]


def _from_row(row: Mapping[Any, Any]) -> Any:
    if None in row or None in row.values():
        return "a line of another length"
    dims = {name: value for name, value in row.items() if name not in ("ts", "value") and value != ""}
    try:
        value: Any = float(row["value"])
    except ValueError:
        value = row["value"]
    return {"ts": row["ts"], "value": value, "dims": dims}


def _point(given: Any) -> Point:
    """A point; raises ValueError that says what is wrong."""
    if not isinstance(given, dict):
        raise ValueError('a point is {"ts", "value", "dims"}')  # noqa: TRY004 - as of the other reasons
    for name in given:
        if name not in ("ts", "value", "dims"):
            raise ValueError(f"{name[:40]!r} isn't a key; there are ts, value, dims")
    value = given.get("value")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("value: a finite number")
    if "ts" not in given:
        raise ValueError("ts: the point's time is missing")
    try:
        at = read_time(given["ts"])
    except ValueError as error:
        raise ValueError(f"ts: {error}") from None
    return Point(at, float(value), _dims(given.get("dims") or {}))


def _dims(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict) or len(given) > MOST_DIMS:
        raise ValueError(f"dims: an object of at most {MOST_DIMS} names")
    for name, value in given.items():
        if not name or len(name) > MOST_TEXT or not isinstance(value, str | int | float):
            raise ValueError(f"dims: {name[:40]!r}: a text, a number, true or false under a name")
        if isinstance(value, str) and len(value) > MOST_TEXT:
            raise ValueError(f"dims: {name[:40]!r}: at most {MOST_TEXT} characters")
    return given


def shown(point: Point) -> dict[str, Any]:
    return {"ts": to_text(point.at), "value": point.value, "dims": dict(point.dims)}


def cursor_of(place: Sequence[Any]) -> str:
    return f"{place[0]}.{place[1]}"


def read_cursor(text: str) -> list[Any]:
    at, _, name = text.partition(".")
    if not at.lstrip("-").isdecimal() or not at.isascii() or len(at) > 18 or not name.isalnum() or len(name) > 64:
        raise BadQuestion("cursor: it isn't one of ours; take it from the page before", field="cursor")
    return [int(at), name]
