"""Saved segments over HTTP.

    GET                /saved/segments            those that there are
    GET, PUT, DELETE   /saved/segments/<id>       one; ?version= reads an earlier version
    PUT                /saved/segments/<id>/ids   the same from a CSV file of ids

The ETag is the version. `If-Match: "3"` changes that version only, `If-None-Match: *` makes a new one only; otherwise
the last writer's version holds, and the ones before stay readable. Source: query contract, section 7.
"""

from __future__ import annotations

import csv
import io
from typing import Any

import orjson
from flask import Blueprint, Response, request
from marshmallow import Schema, fields

from metronome.dialects import Doors, Paths, errors
from metronome.dialects.query.segments import MAX_IDS, Setting, read
from metronome.errors import BadPayload, BadQuestion, Forbidden
from metronome.periods import Period
from metronome.query import PEOPLE
from metronome.segments import Segment
from metronome.wire.access import bound_app, needs
from metronome.wire.request import body, json_answer

#: Characters of a title.
MAX_TITLE = 200

#: A first row of these isn't an id.
_HEADINGS = ("id", "ids", "distinct_id", "user_id", "person")


class SegmentSchema(Schema):
    title = fields.String(metadata={"description": "What it is called; default: its id"})
    rule = fields.Dict(
        required=True,
        metadata={
            "description": "all, any, not of rules; person: a filter; did: a step with at_least, at_most, within; ids"
        },
    )


class SavedSegmentSchema(SegmentSchema):
    id = fields.String()
    version = fields.Integer(metadata={"description": "Rises with every change"})
    saved_at = fields.String()


def add_routes(routes: Blueprint, doors: Doors) -> None:
    segments = doors.segments

    @routes.get("/saved/segments")
    @needs("read")
    def list_segments() -> Response:
        _refuse_bound()
        return json_answer({"segments": [segment.to_json() for segment in segments.list()]})

    @routes.get("/saved/segments/<id>")
    @needs("read")
    def get_segment(id: str) -> Response:  # noqa: A002 - the name of the route's parameter
        _refuse_bound()
        return _answer(segments.get(id, _version()))

    @routes.put("/saved/segments/<id>")
    @needs("edit")
    def put_segment(id: str) -> Response:  # noqa: A002
        _refuse_bound()
        given = _posted(doors)
        for name in given:
            if name not in ("title", "rule"):
                raise BadPayload(f"{name[:40]}: isn't a key; there are title and rule", field=name[:40])
        if "rule" not in given:
            raise BadPayload("rule: is missing", field="rule")
        return _saved(doors, id, given.get("title", id), given["rule"])

    @routes.put("/saved/segments/<id>/ids")
    @needs("edit")
    def put_ids(id: str) -> Response:  # noqa: A002
        _refuse_bound()
        held = [segment for segment in segments.list() if segment.id == id]
        return _saved(doors, id, held[0].title if held else id, {"ids": _ids(body(request, doors.settings))})

    @routes.delete("/saved/segments/<id>")
    @needs("edit")
    def delete_segment(id: str) -> Response:  # noqa: A002
        _refuse_bound()
        segments.delete(id, doors.clock(), _expected())
        return Response(status=204)


def _saved(doors: Doors, segment_id: str, title: Any, rule: Any) -> Response:
    if not isinstance(title, str) or not 0 < len(title) <= MAX_TITLE:
        raise BadPayload(f"title: a text of 1 to {MAX_TITLE} characters", field="title")
    now = doors.clock()
    read(rule, "rule", Setting(Period(None, now), PEOPLE))
    return _answer(doors.segments.put(segment_id, title, rule, now, _expected()))


def _answer(segment: Segment) -> Response:
    response = json_answer(segment.to_json())
    response.set_etag(str(segment.version))
    return response


def _posted(doors: Doors) -> dict[str, Any]:
    try:
        given = orjson.loads(body(request, doors.settings))
    except ValueError as error:
        raise BadPayload(f"the body isn't JSON: {error}") from None
    if not isinstance(given, dict):
        raise BadPayload('a segment is an object such as {"title": "Buyers", "rule": {"did": {"event": "buy"}}}')
    return given


def _ids(data: bytes) -> list[str]:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"))))
    except (ValueError, csv.Error) as error:
        raise BadPayload(f"the body isn't CSV in UTF-8: {error}") from None
    ids = [row[0].strip() for row in rows if row and row[0].strip()]
    if ids and ids[0].lower() in _HEADINGS:
        del ids[0]
    if not 0 < len(ids) <= MAX_IDS:
        raise BadPayload(f"1 to {MAX_IDS:,} ids, each in the first column of a row; there are {len(ids):,}")
    return list(dict.fromkeys(ids))


def _expected() -> int | None:
    """The version that the request means to change: None for whichever holds, 0 for none."""
    if "*" in request.if_none_match:
        return 0
    if not request.if_match:
        return None
    found = [tag for tag in request.if_match.as_set() if tag.isdecimal()]
    if len(found) != 1:
        raise BadQuestion('If-Match: one version, such as "3"')
    return int(found[0])


def _version() -> int | None:
    given = request.args.get("version")
    if given is not None and not given.isdecimal():
        raise BadQuestion("version: a whole number", field="version")
    return None if given is None else int(given)


def _refuse_bound() -> None:
    if app := bound_app():
        raise Forbidden(f"segments are one for all applications, and this key is bound to {app!r}; take another")


def paths() -> Paths:
    name = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}, "example": "buyers"}
    version = {"in": "query", "name": "version", "schema": {"type": "integer"}, "description": "An earlier version"}
    found = {"description": "The segment; its ETag is the version", "content": {_JSON: {"schema": SavedSegmentSchema}}}
    changing = errors(400, 403, 409, 503)

    def sent(summary: str, content: dict[str, Any]) -> dict[str, Any]:
        given = {"required": True, "content": content}
        return {"summary": summary, "parameters": [name], "requestBody": given, "responses": {"200": found, **changing}}

    several = {"type": "object", "properties": {"segments": {"type": "array", "items": {"type": "object"}}}}
    return {
        "/saved/segments": {
            "get": {
                "summary": "The saved segments",
                "responses": {
                    "200": {"description": "All of them", "content": {_JSON: {"schema": several}}},
                    **errors(403, 503),
                },
            }
        },
        "/saved/segments/{id}": {
            "get": {
                "summary": "A saved segment",
                "parameters": [name, version],
                "responses": {"200": found, **errors(400, 403, 404, 503)},
            },
            "put": sent("Save a segment: a new version of it", {_JSON: {"schema": SegmentSchema}}),
            "delete": {
                "summary": "Delete a segment; its versions stay readable",
                "parameters": [name],
                "responses": {"204": {"description": "It is deleted"}, **errors(403, 404, 409, 503)},
            },
        },
        "/saved/segments/{id}/ids": {
            "put": sent(
                "Save a segment of ids", {"text/csv": {"schema": {"type": "string"}, "example": "id\nu1\nu2\n"}}
            )
        },
    }


_JSON = "application/json"
