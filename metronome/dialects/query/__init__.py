"""The query dialect: the questions of product analytics.

    POST /query/<kind>          a JSON object
    GET  /query/<kind>?q=       the same JSON, percent-encoded: can be linked and cached

    read.py       filters, steps, periods          schemas.py    the keys of each kind
    trend.py      series and measures              draw.py       a trend, answered
    formula.py    formulas over series             lists.py      values, properties, events
    journeys.py   funnel, retention, paths         journey_schemas.py    their keys
    lifecycle.py  new, returning, resurrecting and dormant subjects
    people.py     timeline, people               segments.py   rules about persons
    saved.py      segments over HTTP             external.py   figures of external series
    table.py      JSON with an ETag, CSV, NDJSON; parquet.py: the same as Parquet
    metrics/      custom metrics, external series, dashboards

Source: query contract, sections 1 to 7 and 9.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
from flask import Blueprint, Request, Response, request
from marshmallow import Schema

from metronome.dialects import Dialect, Doors, Paths, errors
from metronome.dialects.query import journeys, lists, people, saved, trend
from metronome.dialects.query.draw import Drawing
from metronome.dialects.query.journey_schemas import FunnelSchema, PathsSchema, RetentionSchema
from metronome.dialects.query.lifecycle import LifecycleSchema
from metronome.dialects.query.metrics.library import Library
from metronome.dialects.query.metrics.paths import saved_paths
from metronome.dialects.query.metrics.routes import add_routes, library
from metronome.dialects.query.people import PeopleSchema, TimelineSchema
from metronome.dialects.query.read import Common, common
from metronome.dialects.query.schemas import (
    AnswerSchema,
    EventsSchema,
    PropertiesSchema,
    TrendSchema,
    ValuesSchema,
    checked,
)
from metronome.dialects.query.segments import with_segment
from metronome.dialects.query.table import format_of, reply
from metronome.errors import BadQuestion, Forbidden
from metronome.event.agents import ROBOT_LIST
from metronome.periods import to_text
from metronome.query import Answer, watching
from metronome.settings import Settings
from metronome.wire.access import bound_app, needs
from metronome.wire.request import body

NAME = "query"

SCHEMAS: dict[str, Schema] = {
    "trend": TrendSchema(),
    "funnel": FunnelSchema(),
    "retention": RetentionSchema(),
    "lifecycle": LifecycleSchema(),
    "paths": PathsSchema(),
    "values": ValuesSchema(),
    "properties": PropertiesSchema(),
    "events": EventsSchema(),
    "timeline": TimelineSchema(),
    "people": PeopleSchema(),
}

#: Largest question, in bytes.
MAX_QUESTION = 256 * 1024


def blueprint(doors: Doors) -> Blueprint:
    """The dialect's routes, bound to the door out."""
    routes = Blueprint(NAME, __name__)
    key = _signing_key(doors)

    @needs("read")
    def query(kind: str) -> Response:
        format_of(request)  # an unknown one is refused before anything is asked
        given = _posted(request, doors.settings)
        asked, answer = answered(kind, given, library(doors))
        return reply(request, kind, asked, answer)

    def answered(kind: str, given: Any, shelf: Library) -> tuple[dict[str, Any], dict[str, Any]]:
        """The question's keys, and `{"result": …, "meta": …}`."""
        started = time.perf_counter()
        asked = _of_the_key(kind, to_question(kind, given), bound_app())
        shelf = replace(shelf, robots=asked["robots"])
        shared = common(asked, now := doors.clock(), kind)
        shared = with_segment(shared, asked, bound_app(), doors.segments.get)
        with watched(request):
            engine, result, answers = _answered(kind, asked, shared, doors, key, now, shelf)
        meta = _meta(engine, shared, asked, answers, (time.perf_counter() - started) * 1000)
        if shelf.used:
            meta["saved"] = shelf.used
        return asked, {"result": result, "meta": meta}

    for kind in SCHEMAS:
        routes.add_url_rule(f"/query/{kind}", kind, query, methods=["GET", "POST"], defaults={"kind": kind})
    # An unknown kind gets an answer that lists the known ones.
    routes.add_url_rule("/query/<kind>", "unknown", query, methods=["GET", "POST"])
    saved.add_routes(routes, doors)
    add_routes(routes, doors, lambda *asked: answered(*asked)[1])
    return routes


#: Kinds that say what is known of persons, whichever application it comes from.
_OF_PEOPLE = ("timeline", "people")


def _of_the_key(kind: str, asked: dict[str, Any], app: str) -> dict[str, Any]:
    """A key that is bound to an application can't ask for another, nor for people; raises Forbidden."""
    if app and kind in _OF_PEOPLE:
        raise Forbidden(f"people are one for all applications, and this key is bound to {app!r}; take another")
    if app and asked["app"] not in (None, app):
        raise Forbidden(f"app: this key asks about {app!r} only", field="app")
    return asked


def _answered(
    kind: str, asked: Mapping[str, Any], shared: Common, doors: Doors, key: bytes, now: datetime, shelf: Library
) -> tuple[str, dict[str, Any], list[Answer]]:
    """Which engine answered, the result, and the answers that it was made of."""
    if kind == "trend":
        drawing = Drawing(trend.read(asked, shared, now, shelf), shared, doors.ask)
        result = drawing.result()
        return _ENGINES[drawing.of_persons or drawing.recounted], result, drawing.answers
    if kind in journeys.KINDS:
        return "parts", *journeys.answered(kind, asked, shared, doors.ask)
    parts, found, answers = _listed(kind, asked, shared, doors, key)
    return _ENGINES[parts], found, answers


def _listed(kind: str, asked: Mapping[str, Any], shared: Common, doors: Doors, key: bytes) -> lists.Result:
    if kind == "people":
        return people.people(asked, shared, doors, key)
    if kind == "timeline":
        return people.timeline(asked, shared, doors, key)
    if kind == "values":
        return lists.values(asked, shared, doors.ask)
    if kind == "properties":
        return lists.properties(asked, shared, doors.ask)
    return lists.events(asked, shared, doors.ask, key)


#: By whether day parts have answered.
_ENGINES = {False: "elasticsearch", True: "parts"}


def to_question(kind: str, given: Any) -> dict[str, Any]:
    """The keys of a question, checked; raises BadQuestion that names the key or the kind."""
    schema = SCHEMAS.get(kind)
    if schema is None:
        raise BadQuestion(f"{kind[:40]!r} isn't a kind of question; there are {', '.join(SCHEMAS)}")
    return checked(schema, given)


def _posted(request: Request, settings: Settings) -> Any:
    for name in request.args:
        if name not in ("q", "format", "archive") and not name.startswith("_"):
            raise BadQuestion(f"{name[:40]}: isn't a parameter; there are q, format and archive", field=name[:40])
    if request.args.get("archive", "yes") not in ("yes", "no"):
        raise BadQuestion("archive: yes or no", field="archive")
    data = body(request, settings) if request.method == "POST" else request.args.get("q", "").encode()
    if len(data) > MAX_QUESTION:
        raise BadQuestion(f"a question has at most {MAX_QUESTION} bytes")
    if not data and request.method == "GET":
        raise BadQuestion("q: the question as JSON is missing", field="q")
    try:
        return orjson.loads(data)
    except ValueError as error:
        raise BadQuestion(f"the question isn't JSON: {error}") from None


def _meta(
    engine: str, shared: Common, asked: Mapping[str, Any], answers: list[Answer], took_ms: float
) -> dict[str, Any]:
    start, end = shared.period.start, shared.period.end
    assert start is not None and end is not None
    watermarks = [answer.watermark for answer in answers if answer.watermark is not None]
    exact = all(answer.exact for answer in answers)
    meta: dict[str, Any] = {
        "from": to_text(start),
        "to": to_text(end),
        "tz": shared.tz.key,
        "exact": exact,
        "watermark": to_text(min(watermarks)) if watermarks else None,
        "as_of": None if shared.as_of is None else to_text(shared.as_of),
        "robots": {"counted": asked["robots"], "list": ROBOT_LIST},
        "ignored_values": max((answer.ignored_values for answer in answers), default=0),
        "engine": engine,
        "took_ms": round(took_ms, 1),
    }
    if not exact:
        meta["error_bound"] = max(answer.error_bound for answer in answers)
    archived = [answer.archived for answer in answers if answer.archived]
    if archived:
        days = sorted({day for found in archived for day in found})
        fetched = sum(sum(found.values()) for found in archived)
        meta["archive"] = {"asked": True, "days": days, "bytes": fetched}
    elif request.args.get("archive") == "no":
        meta["archive"] = {"asked": False, "days": [], "bytes": 0}
    if shared.segment is not None:
        meta["segment"] = dict(shared.segment)
    if asked.get("unit"):
        meta["unit"] = asked["unit"]
    if shared.explain:
        meta["plan"] = {"where": repr(shared.where), "searches_of": engine, "answers": len(answers)}
    return meta


def watched(request: Request) -> AbstractContextManager[None]:
    """While it runs, work for a client that has gone away is stopped."""
    # What WSGI was given, not the process's environment.
    connection = vars(request)["environ"].get("gunicorn.socket")

    def gone() -> bool:
        try:
            return connection is not None and connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except (BlockingIOError, ValueError):  # nothing was sent; or TLS, which can't be looked into
            return False
        except OSError:
            return True

    return watching(gone)


def _signing_key(doors: Doors) -> bytes:
    """The key that signs cursors. All workers have the same; only somebody with access to Elasticsearch can know it."""
    settings = doors.settings
    known = (
        settings.index_prefix,
        settings.elasticsearch_url,
        settings.elasticsearch_password,
        settings.elasticsearch_api_key,
    )
    return hashlib.blake2b("\n".join(known).encode(), person=b"cursor").digest()


_SUMMARIES = {
    "trend": "Figures over time, by groups, with formulas",
    "funnel": "How many did one step after another",
    "retention": "How many came back, by period since their start",
    "lifecycle": "Who is new, returns, comes back after a pause, or stays away",
    "paths": "What follows an event, or came before it",
    "values": "Values of a field",
    "properties": "Fields that events have",
    "events": "The events themselves, page by page",
    "timeline": "The events of one person or session, with what is known of the person",
    "people": "Persons with their properties, page by page",
}


def paths() -> Paths:
    """The routes as OpenAPI operations."""
    asked = {
        f"/query/{kind}": {"get": _operation(kind, None), "post": _operation(kind, type(schema))}
        for kind, schema in SCHEMAS.items()
    }
    return {**asked, **saved.paths(), **saved_paths()}


def _operation(kind: str, schema: type[Schema] | None) -> dict[str, Any]:
    formats = {
        "in": "query",
        "name": "format",
        "schema": {"type": "string", "enum": ["json", "csv", "ndjson", "parquet"]},
    }
    archive = {
        "in": "query",
        "name": "archive",
        "schema": {"type": "string", "enum": ["yes", "no"]},
        "description": "no: Elasticsearch alone is asked, and archived days are left out",
    }
    shared = [formats, archive]
    operation: dict[str, Any] = {
        "summary": _SUMMARIES[kind],
        "parameters": shared,
        "responses": {
            "200": {
                "description": "The answer; as a table with format=csv, ndjson or parquet",
                "content": {
                    "application/json": {"schema": AnswerSchema},
                    "text/csv": {"schema": {"type": "string"}},
                    "application/x-ndjson": {"schema": {"type": "string"}},
                    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
                },
            },
            "304": {"description": "Unchanged since the ETag sent as If-None-Match"},
            **errors(400, 503),
            **_too_much(),
        },
    }
    if schema is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    else:
        q = {"in": "query", "name": "q", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [{**q, "description": "The question as JSON, percent-encoded"}, *shared]
    return operation


def _too_much() -> dict[str, Any]:
    found = errors(422)
    return {"422": {**found["422"], "description": "It reads, holds or takes more than it may; it says what to narrow"}}


DIALECT = Dialect(
    NAME,
    "Ask for figures over time, funnels, retention, lifecycle, paths, persons, values, fields and events.",
    blueprint,
    paths,
)

__all__ = ["DIALECT"]
