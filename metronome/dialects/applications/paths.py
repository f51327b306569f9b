"""The routes of applications as OpenAPI operations."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from metronome.client.retriever import TimeRange
from metronome.dialects import Paths, errors
from metronome.dialects.applications.pages import FILES, TYPES

_WIDTHS = [TimeRange.HOUR, TimeRange.DAY, TimeRange.WEEK, TimeRange.MONTH]


class TrackedSchema(Schema):
    """One event, as AnalyticsTracker sends it; also in arrays and as NDJSON."""

    application = fields.String(required=True, metadata={"example": "myapp"})
    event = fields.String(required=True, metadata={"example": "login"})
    time = fields.String(metadata={"description": "ISO 8601; a text that can't be read is kept. Default: now"})
    distinct_id = fields.String(metadata={"description": "Who"})
    properties = fields.Dict(metadata={"description": "Names and values"})
    index = fields.String(metadata={"description": "Keeps these events from all other retrievers than those of it"})
    insert_id = fields.String(metadata={"description": "Idempotency key: the same one twice is one event"})


def _parameter(name: str, meaning: str, **schema: Any) -> dict[str, Any]:
    return {"in": "query", "name": name, "description": meaning, "schema": {"type": "string", **schema}}


_EVENT = _parameter("event_name", "Events of this name only")
_PROPERTY = _parameter("property", "Split by the values of this property")
_WIDTH = _parameter("time_range", "Width of the buckets", enum=_WIDTHS, default=TimeRange.MONTH)
_APPLICATION = _parameter("application", "The application")
_INDEX = _parameter("index", "Events that were tracked into this index")
_NAME = {"in": "path", "name": "name", "required": True, "schema": {"type": "string"}, "example": "myapp"}

_RETRIEVED = {
    "applications": ("Applications, with their numbers of events", [_INDEX]),
    "events": ("Events of an application", [_APPLICATION, _INDEX]),
    "properties": ("Properties of an event, with their numbers of values", [_APPLICATION, _INDEX, _EVENT]),
    "property_values": ("Values of a property", [_APPLICATION, _INDEX, _EVENT, _PROPERTY]),
    "events_over_time": ("Series over time", [_APPLICATION, _INDEX, _EVENT, _PROPERTY, _WIDTH]),
    "unique_users": ("How many distinct ids the events have", [_APPLICATION, _INDEX, _EVENT]),
}


def paths() -> Paths:
    return {
        "/applications": {"get": _page("Page: the applications", [])},
        "/application/{name}": {"get": _page("Page: an application's events over time", [_NAME, _EVENT, _PROPERTY])},
        "/api/application/{name}": {
            "get": _json("What the page of an application shows", [_NAME, _EVENT, _PROPERTY, _WIDTH])
        },
        "/api/track": {"post": _track()},
        **{
            f"/api/retrieve/{what}": {"get": _json(summary, parameters)}
            for what, (summary, parameters) in _RETRIEVED.items()
        },
        **{f"/static/{file}": {"get": _static(file)} for file in FILES},
    }


def _page(summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answer = {"description": "The page", "content": {"text/html": {"schema": {"type": "string"}}}}
    return {"summary": summary, "parameters": parameters, "responses": {"200": answer, **errors(503)}}


def _json(summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    answer = {"description": "The answer", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {"summary": summary, "parameters": parameters, "responses": {"200": answer, **errors(400, 503)}}


def _track() -> dict[str, Any]:
    answer = {
        "description": "Every event not in `rejected` is on disk",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    return {
        "summary": "Track events of an application",
        "parameters": [_parameter("receipt", "`full`: a receipt with every row", enum=["full"])],
        "requestBody": {
            "content": {
                "application/json": {"schema": {"oneOf": [TrackedSchema, {"type": "array", "items": TrackedSchema}]}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            }
        },
        "responses": {"202": answer, **errors(400, 411, 413, 415, 422, 503)},
    }


def _static(file: str) -> dict[str, Any]:
    media_type = TYPES[file[file.rindex(".") :]].partition(";")[0]
    answer = {"description": "The file", "content": {media_type: {"schema": {"type": "string"}}}}
    return {"summary": "Script or style of the pages", "responses": {"200": answer}}
