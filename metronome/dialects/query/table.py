"""An answer on the wire: JSON with an ETag, or its result as a table in CSV, NDJSON or Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from flask import Request, Response

from metronome.errors import BadQuestion

_TYPES = {
    "json": "application/json",
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}

#: Keys that change with every request. The ETag leaves them out.
_MOVING = ("took_ms", "watermark", "to")


def format_of(request: Request) -> str:
    """A name of _TYPES, by `?format=` or the Accept header; raises BadQuestion for another."""
    wanted = request.args.get("format")
    if wanted is None:
        accept = request.accept_mimetypes
        best = accept.best_match(list(_TYPES.values())) if accept else "application/json"
        wanted = next((name for name, media_type in _TYPES.items() if media_type == best), str(accept))
    if wanted not in _TYPES:
        raise BadQuestion(f"format: {wanted[:60]!r} isn't there; there are {', '.join(_TYPES)}", field="format")
    return wanted


def reply(request: Request, kind: str, asked: Mapping[str, Any], body: Mapping[str, Any]) -> Response:
    """The answer in the requested format; 304 if the client holds the same answer."""
    wanted = format_of(request)
    result: Mapping[str, Any] = body["result"]
    if wanted == "json":
        data = orjson.dumps(body)
    else:
        rows = list(_ROWS[kind](result, asked))
        data = _WRITERS[wanted](rows)
    lasting = {name: value for name, value in body["meta"].items() if name not in _MOVING}
    response = Response(data, content_type=_TYPES[wanted] + ("; charset=utf-8" if wanted == "csv" else ""))
    response.set_etag(hashlib.blake2b(orjson.dumps([wanted, result, lasting]), digest_size=12).hexdigest())
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept"
    response.make_conditional(request)
    return response


def _ndjson(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    # DuckDB takes memory in each worker, so it is loaded with the first answer that needs it.
    from metronome.dialects.query.parquet import parquet

    return parquet(rows)


def _csv(rows: list[dict[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
    return out.getvalue().encode()


_WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {"csv": _csv, "ndjson": _ndjson, "parquet": _parquet}


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return orjson.dumps(value).decode()


def _trend(result: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, drawn in (("", result), ("previous", result.get("previous"))):
        for series in drawn["series"] if drawn else ():
            # The rest stands in the place of the first field.
            group = dict.fromkeys(asked["by"]) | dict(zip(asked["by"], series["group"], strict=False))
            for bucket, value in zip(drawn["buckets"] if drawn else (), series["values"], strict=True):
                row = {"bucket": bucket, "series": series["name"], **group, "value": value}
                yield {**row, "range": name or "asked"} if "previous" in result else row


def _funnel(result: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for group in ({"steps": result["steps"]}, *result.get("groups", ())):
        for step in group["steps"]:
            times = {f"{name}_s": value for name, value in (step["time_from_previous_s"] or {}).items() if name != "n"}
            row = {name: value for name, value in step.items() if name != "time_from_previous_s"} | times
            yield {"group": group.get("group"), **row} if "groups" in result else row


def _retention(result: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    lists = ("returned", "rate", "complete", "can_rise", "value")
    for table in (result, *result.get("groups", ())):
        for cohort in table["cohorts"]:
            for period in range(len(cohort["returned"])):
                cells = {name: cohort[name][period] for name in lists if name in cohort}
                row = {"cohort": cohort["cohort"], "period": period, "size": cohort["size"], **cells}
                yield {"group": table.get("group"), **row} if "groups" in result else row


def _lifecycle(result: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, bucket in enumerate(result["buckets"]):
        states = {series["name"]: series["values"][number] for series in result["series"]}
        yield {"bucket": bucket, **states, "complete": result["complete"][number]}


_ROWS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Iterator[dict[str, Any]]]] = {
    "trend": _trend,
    "funnel": _funnel,
    "retention": _retention,
    "lifecycle": _lifecycle,
    "paths": lambda result, asked: iter(result["links"]),
    "values": lambda result, asked: iter(result["values"]),
    "properties": lambda result, asked: iter(result["properties"]),
    "events": lambda result, asked: iter(result["events"]),
    "timeline": lambda result, asked: iter(result["events"]),
    "people": lambda result, asked: iter(result["people"]),
}
