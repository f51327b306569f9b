"""The routes of saved things as OpenAPI operations."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from metronome.dialects import Paths, errors
from metronome.dialects.query.metrics.schemas import DashboardSchema, MetricSchema, SeriesSchema, ThingSchema

_JSON = "application/json"

_NAMES: dict[str, tuple[str, str, type[ThingSchema]]] = {
    "metrics": ("metric", "custom metrics, with those that are there from the start", MetricSchema),
    "series": ("series", "external series", SeriesSchema),
    "dashboards": ("dashboard", "dashboards", DashboardSchema),
}


class ResultSchema(Schema):
    """The figure: a number, a list of values by time or group, or of a funnel's steps."""

    data = fields.Raw()
    time_step = fields.String(data_key="timeStep", metadata={"description": "Of a timeSerie: hour, day, week or month"})
    meta = fields.Dict(metadata={"description": "How it was made; `saved` has the versions of what it was made of"})


class PointSchema(Schema):
    ts = fields.Raw(metadata={"description": "ISO 8601 or Unix time"})
    value = fields.Float()
    dims = fields.Dict(metadata={"description": 'What it can be split by: {"country": "NL"}'})


class PointsSchema(Schema):
    points = fields.List(fields.Nested(PointSchema))
    cursor = fields.String(allow_none=True)


class StoredSchema(Schema):
    stored = fields.Integer()
    rejected = fields.List(fields.Dict(), metadata={"description": "The first ones, with index and reason"})
    rejected_in_all = fields.Integer()


def saved_paths() -> Paths:
    found: dict[str, Any] = {}
    for what, (name, several, schema) in _NAMES.items():
        found |= _of_thing(what, name, several, schema)
    result = _operation("A saved metric's figure", ResultSchema, _ID, _query("version", "An older version"))
    return {**found, "/saved/metrics/{id}/result": {"get": result}, "/saved/series/{id}/points": _of_points()}


def _of_thing(what: str, name: str, several: str, schema: type[Schema]) -> dict[str, Any]:
    match = {"in": "header", "name": "If-Match", "schema": {"type": "string"}, "description": "The version to change"}
    put = _operation(f"Save a {name}", schema, _ID, match)
    put["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema}}}
    put["responses"] |= {"201": {"description": "It is new"}, "409": _changed()}
    deleted = {"204": {"description": "It is gone; its versions stay readable"}, "409": _changed()}
    return {
        f"/saved/{what}": {"get": _operation(f"All {several}", None)},
        f"/saved/{what}/{{id}}": {
            "get": _operation(f"A saved {name}", schema, _ID, _query("version", "An older version")),
            "put": put,
            "delete": {
                "summary": f"Delete a {name}",
                "parameters": [_ID, match],
                "responses": {**deleted, **errors(400, 404, 503)},
            },
        },
    }


def _of_points() -> dict[str, Any]:
    span = (_query("from", "First day, or instant"), _query("to", "Last day, included, or instant"))
    page = (_query("limit", "1 to 10000"), _query("cursor", "From the page before"))
    put = _operation("Store points; one with the same time and dims is replaced", StoredSchema, _ID)
    points = {"type": "array", "items": PointSchema}
    put["requestBody"] = {"content": {_JSON: {"schema": points}, "text/csv": {"schema": {"type": "string"}}}}
    put["responses"] |= errors(413, 422)
    return {
        "get": _operation("The points of a series", PointsSchema, _ID, *span, *page),
        "put": put,
        "delete": _operation("Delete points", None, _ID, *span, _query("all", "true: every point")),
    }


_ID = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}, "example": "revenue"}


def _query(name: str, meaning: str) -> dict[str, Any]:
    return {"in": "query", "name": name, "schema": {"type": "string"}, "description": meaning}


def _operation(summary: str, schema: type[Schema] | None, *parameters: dict[str, Any]) -> dict[str, Any]:
    content = {"schema": schema} if schema is not None else {"schema": {"type": "object"}}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": {"description": summary, "content": {_JSON: content}}, **errors(400, 404, 503)},
    }


def _changed() -> dict[str, Any]:
    return {
        "description": "It has another version than If-Match says",
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
