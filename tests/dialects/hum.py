"""A second dialect, as small as one can be: a song is hummed, and counted. It serves the tests alone.

POST /hum/<song>    {"by": "ann"}    201 {"hummed": "<song>"}
GET  /hum/<song>                     200 {"times": 3}
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request
from marshmallow import Schema, ValidationError, fields
from werkzeug.routing import BaseConverter

from metronome.dialects import Dialect, Doors, Paths, errors
from metronome.errors import BadPayload
from metronome.query import All, Is, Item, Question
from metronome.wire.access import needs, origin
from metronome.wire.request import body, cacheable, json_answer


class HumSchema(Schema):
    by = fields.String(required=True, metadata={"description": "Who hums"})


class HummedSchema(Schema):
    hummed = fields.String()


class TimesSchema(Schema):
    times = fields.Integer()


class SongConverter(BaseConverter):
    """A song's name: small letters."""

    regex = "[a-z]+"


def to_event(song: str, hum: dict[str, Any]) -> dict[str, Any]:
    return {"id": song, "event": "hum", "distinct_id": hum["by"]}


def to_question(song: str) -> Question:
    return Question(All(Item(song), Is("event", "hum")))


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint("hum", __name__)

    @routes.post("/hum/<song:song>")
    @needs("write")
    def hum(song: str) -> Response:
        try:
            given = HumSchema().load(orjson.loads(body(request, doors.settings)))
        except (ValueError, ValidationError) as error:
            raise BadPayload(f"a hum says by whom: {error}") from None
        doors.intake.accept([to_event(song, given)], origin("hum"))
        return json_answer({"hummed": song}, 201)

    @routes.get("/hum/<song:song>")
    @needs("read")
    def times(song: str) -> Response:
        (answer,) = doors.ask(to_question(song))
        return cacheable({"times": answer.total})

    return routes


def paths() -> Paths:
    song = {"in": "path", "name": "song", "required": True, "schema": {"type": "string"}, "example": "yesterday"}
    return {
        "/hum/{song}": {
            "post": {
                "summary": "Hum a song",
                "parameters": [song],
                "requestBody": {"content": {"application/json": {"schema": HumSchema}}},
                "responses": {
                    "201": {"description": "Hummed", "content": {"application/json": {"schema": HummedSchema}}},
                    **errors(400, 503),
                },
            },
            "get": {
                "summary": "How often a song was hummed",
                "parameters": [song],
                "responses": {
                    "200": {"description": "The times", "content": {"application/json": {"schema": TimesSchema}}},
                    **errors(503),
                },
            },
        }
    }


DIALECT = Dialect("hum", "Hum songs, and count them.", blueprint, paths, {"song": SongConverter})
