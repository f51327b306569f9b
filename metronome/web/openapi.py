"""The description of the HTTP interface, made from the dialects' marshmallow schemas, and a page to try it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Response
from flask_swagger_ui import get_swaggerui_blueprint
from marshmallow import Schema, fields

from metronome import __version__
from metronome.dialects.tick import ReceiptSchema, TickSchema, TockQuerySchema, TockSchema

TRY = "/try"


class ErrorDetailSchema(Schema):
    status = fields.Integer()
    code = fields.String(metadata={"description": "Stable name of the error, for programs"})
    message = fields.String(metadata={"description": "What is wrong, where, and what to do"})
    field = fields.String(metadata={"description": "The parameter or property at fault, if one is"})


class ErrorSchema(Schema):
    """The one error body of all routes."""

    error = fields.Nested(ErrorDetailSchema)


_ERRORS = {
    400: "The body or a parameter can't be read",
    404: "There is nothing here",
    411: "No length was sent",
    413: "The body, the batch or what it inflates to is too large",
    415: "The media type or encoding isn't understood",
    422: "Every event was refused; the receipt says why",
    429: "Too many ticks from one address; Retry-After says when to return",
    503: "The spool is full or Elasticsearch is away; Retry-After says when to return",
}


@lru_cache(maxsize=1)
def description() -> dict[str, Any]:
    """The OpenAPI 3.1 document of everything that is served."""
    spec = APISpec(
        title="Metronome",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": "Post usage events as ticks, ask for an item's numbers as a tock."},
        plugins=[MarshmallowPlugin()],
    )
    spec.components.schema("Error", schema=ErrorSchema)
    spec.path("/tick", operations={"post": _tick()})
    for path in ("/tock/{id}.json", "/tock/{id}", "/tocks/{id}"):
        spec.path(path, operations={"get": _tock()})
    spec.path("/healthz", operations={"get": _plain("Alive", "The process answers", "application/json")})
    spec.path(
        "/readyz",
        operations={"get": {**_plain("Ready", "Ticks are taken; `status` is ready or degraded", "application/json")}},
    )
    spec.path(
        "/metrics",
        operations={"get": _plain("Figures for Prometheus", "Text exposition format", "text/plain")},
    )
    return spec.to_dict()


def _tick() -> dict[str, Any]:
    event = {"schema": TickSchema}
    return {
        "summary": "Log one event or a batch",
        "description": "A 202 means that every event not in `rejected` is on disk, fsynced.",
        "parameters": [
            {
                "in": "query",
                "name": "echo",
                "schema": {"type": "boolean"},
                "description": "Answer 200 with the records as they will be stored",
            }
        ],
        "requestBody": {
            "content": {
                "application/json": {"schema": {"oneOf": [TickSchema, {"type": "array", "items": TickSchema}]}},
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/x-www-form-urlencoded": event,
                "text/plain": {"schema": {"type": "string"}},
            }
        },
        "responses": {
            "202": {"description": "Accepted", "content": {"application/json": {"schema": ReceiptSchema}}},
            "200": {
                "description": "With `echo`: the record, or an array of records",
                "content": {"application/json": event},
            },
            **_errors(400, 411, 413, 415, 422, 429, 503),
        },
    }


def _tock() -> dict[str, Any]:
    return {
        "summary": "Views by date, downloads by format and referers of one item",
        "parameters": [
            {
                "in": "path",
                "name": "id",
                "required": True,
                "schema": {"type": "string"},
                "description": "The item: any characters, slashes too",
            },
            {"in": "query", "schema": TockQuerySchema},
        ],
        "responses": {
            "200": {
                "description": "The item's numbers; empty maps for an unknown one",
                "content": {"application/json": {"schema": TockSchema}},
            },
            "304": {"description": "Unchanged since the ETag sent as If-None-Match"},
            **_errors(400, 404, 503),
        },
    }


def _plain(summary: str, description: str, media_type: str) -> dict[str, Any]:
    content = {media_type: {"schema": {"type": "string" if media_type.startswith("text") else "object"}}}
    return {"summary": summary, "responses": {"200": {"description": description, "content": content}}}


def _errors(*statuses: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(s): {"description": _ERRORS[s], "content": {"application/json": {"schema": schema}}} for s in statuses}


def blueprints() -> list[Blueprint]:
    """`/openapi.json`, and a page at /try where the routes can be called."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    def document() -> Response:
        return Response(
            orjson.dumps(description()),
            content_type="application/json",
            headers={"Access-Control-Allow-Origin": "*"},
        )

    page = get_swaggerui_blueprint(TRY, "/openapi.json", config={"app_name": "Metronome"})
    return [routes, page]
