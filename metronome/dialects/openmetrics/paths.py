"""The routes of `/v1` as OpenAPI operations."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, fields

from metronome.dialects import Paths

_TEXT = {"text/plain": {"schema": {"type": "string"}}}


class _Object(Schema):
    class Meta:
        unknown = INCLUDE


class OptionsSchema(_Object):
    active = fields.Boolean(metadata={"description": "false: the user isn't active by this"})


class LoggedSchema(_Object):
    name = fields.String(required=True, metadata={"description": "What happened"})
    ts = fields.Raw(metadata={"description": "Unix time in seconds or milliseconds. Default: now"})
    props = fields.Dict(metadata={"description": "Properties of the event"})
    options = fields.Nested(OptionsSchema)


class _SessionSchema(_Object):
    session_id = fields.String(
        required=True, data_key="sessionId", metadata={"description": "The session, as the client chose it"}
    )


class CreateUserSchema(_SessionSchema):
    options = fields.Nested(OptionsSchema)


class LoggedEventsSchema(_SessionSchema):
    events = fields.List(fields.Nested(LoggedSchema), required=True)


class SetUserIdSchema(_SessionSchema):
    uid = fields.String(metadata={"description": "The application's id of the user; `userId` is the same"})
    user_id = fields.String(data_key="userId")


class SetPropsSchema(_SessionSchema):
    props = fields.Dict(required=True)


_SUMMARIES: dict[str, tuple[str, type[Schema]]] = {
    "createUser": ("Make a session's user known", CreateUserSchema),
    "events": ("Log events of a session, all or none", LoggedEventsSchema),
    "setUserId": ("Say which user of the application a session is", SetUserIdSchema),
    "setUserProps": ("Set properties of a session's user", SetPropsSchema),
    "setSessionProps": ("Set properties of a session", SetPropsSchema),
}


def paths() -> Paths:
    ping = {"summary": "Whether the gateway is there", "responses": {"200": _answer("`pong`")}}
    found: dict[str, dict[str, Any]] = {"/v1/ping": {"get": ping, "post": ping}}
    for name, (summary, schema) in _SUMMARIES.items():
        asked = {
            "in": "query",
            "name": "q",
            "required": True,
            "description": "The object as JSON; clients needn't encode it. It ends where the address ends",
            "content": {"application/json": {"schema": schema}},
        }
        answers = {
            "200": _answer("`ok`: all of it is on disk"),
            "400": _answer("What can't be read; nothing was stored"),
            "401": _answer("`no session ID`, or the gateway asks for a key"),
            "503": _answer("The spool is full or can't be written; send it again"),
        }
        found[f"/v1/{name}"] = {
            "get": {"summary": summary, "parameters": [asked], "responses": answers},
            "post": {
                "summary": summary,
                "requestBody": {"content": {"application/json": {"schema": schema}}},
                "responses": answers,
            },
        }
    return found


def _answer(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "content": _TEXT}
