"""Privacy: what is stored of a person, erased with a receipt or given out.

    POST /privacy/deletions    {"distinct_ids": ["u1"], "mode": "erase"}     a job, which the drain runs within seconds
    GET  /privacy/jobs/<id>    how it stands; with the signed receipt once it is done
    POST /privacy/exports      {"distinct_ids": ["u1"]}                      every event of the person as NDJSON

`metronome person` does the same by hand. Source: semantics, section 13.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from marshmallow import Schema, fields, validate

from metronome.dialects import Dialect, Doors, Paths, errors
from metronome.erasure.privately import Privately
from metronome.errors import Forbidden
from metronome.wire.access import bound_app, needs
from metronome.wire.request import json_answer, loaded

NAME = "privacy"

_JSON = "application/json"

#: Most ids of one request.
MOST_IDS = 2000


class ExportSchema(Schema):
    distinct_ids = fields.List(
        fields.String(validate=validate.Length(min=1)),
        required=True,
        validate=validate.Length(min=1, max=MOST_IDS),
        metadata={"description": "Any ids of the people; every other id that is linked to one of them goes along"},
    )


class DeletionSchema(ExportSchema):
    mode = fields.String(
        load_default="erase",
        validate=validate.OneOf(("erase", "anonymise")),
        metadata={"description": "anonymise: the events stay, under an id that says nothing"},
    )


class ErasureSchema(Schema):
    job = fields.String()
    state = fields.String(metadata={"description": "waiting, running or done"})
    asked_at = fields.String()
    ended_at = fields.String()
    problem = fields.String(metadata={"description": "Why it can't go on just now; it is tried again"})
    receipt = fields.Dict(metadata={"description": "What was found where, signed; no id is in it"})


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    privately = Privately(doors.settings)

    @routes.post("/privacy/deletions")
    @needs("admin")
    def deletions() -> Response:
        given = _read(DeletionSchema(), doors)
        return json_answer(privately.delete(given["distinct_ids"], given["mode"]), 202)

    @routes.get("/privacy/jobs/<id>")
    @needs("admin")
    def job(id: str) -> Response:  # noqa: A002 - the name of the route's parameter
        _refuse_bound()
        return json_answer(privately.job(id), 200)

    @routes.post("/privacy/exports")
    @needs("admin")
    def exports() -> Response:
        given = _read(ExportSchema(), doors)
        lines = privately.export(given["distinct_ids"])
        next(lines)  # what can't be asked is an error and not a cut answer
        return Response(lines, mimetype="application/x-ndjson")

    return routes


def _refuse_bound() -> None:
    if app := bound_app():
        raise Forbidden(f"people are one for all applications, and this key is bound to {app!r}; take another")


def _read(schema: Schema, doors: Doors) -> dict[str, Any]:
    _refuse_bound()
    return loaded(request, doors.settings, schema)


def paths() -> Paths:
    shown = {"content": {_JSON: {"schema": ErasureSchema}}}
    job = {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}, "example": "5f0c1d2e3a4b5c6d"}
    lines = {"application/x-ndjson": {"schema": {"type": "string"}}}
    return {
        "/privacy/deletions": {
            "post": {
                "summary": "Erase people from everywhere",
                "requestBody": {"required": True, "content": {_JSON: {"schema": DeletionSchema}}},
                "responses": {"202": {"description": "The job; the drain runs it", **shown}, **errors(400, 503)},
            }
        },
        "/privacy/jobs/{id}": {
            "get": {
                "summary": "How an erasure stands, and its receipt",
                "parameters": [job],
                "responses": {"200": {"description": "The job", **shown}, **errors(404, 503)},
            }
        },
        "/privacy/exports": {
            "post": {
                "summary": "Every event of people, wherever it is stored",
                "requestBody": {"required": True, "content": {_JSON: {"schema": ExportSchema}}},
                "responses": {"200": {"description": "One event a line", "content": lines}, **errors(400, 503)},
            }
        },
    }


DIALECT = Dialect(NAME, "Erase people with a receipt, and give out what is stored of them.", blueprint, paths)
