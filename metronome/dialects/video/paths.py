"""The routes of the video API as OpenAPI operations."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields

from metronome.dialects import Paths, errors
from metronome.dialects.video.translate import INTERVAL, MAX_RANGES, RANGES, TIMEFRAME


class _Selection(Schema):
    identifier = fields.Raw(metadata={"description": "The video's identifier, compared as a whole JSON value"})
    query = fields.Dict(
        metadata={"description": '`{"video": {…}, "session": {…}, "key": "…"}`: metadata that contains these'}
    )


class WatchingSchema(_Selection):
    pass


class _InTime(_Selection):
    timeframe = fields.Raw(
        metadata={
            "description": "Back from now, such as `1 month`; or a Unix time in seconds; or "
            f'`{{"from": s, "to": s}}`, both inclusive. Default: {TIMEFRAME}'
        }
    )


class PlaysSchema(_InTime):
    interval = fields.String(metadata={"description": f"Width of buckets, such as `1 day`. Default: {INTERVAL}"})
    minimum_watch_seconds = fields.Float(metadata={"description": "A session that watched less is no view. Default: 1"})


class EngagementSchema(_InTime):
    ranges = fields.Integer(metadata={"description": f"Ranges of the video, 1 to {MAX_RANGES}. Default: {RANGES}"})
    interval = fields.String(metadata={"description": "Instead of ranges: stretches per second, by bucket"})


class ReportSchema(_InTime):
    ranges = fields.Integer(metadata={"description": f"Ranges of the video. Default: {RANGES}"})
    minimum_watch_seconds = fields.Float(metadata={"description": "A session that watched less is no play. Default: 1"})


class NewKeySchema(Schema):
    key = fields.String(metadata={"description": "The text of the key. Default: 16 random bytes in base64"})


_SUMMARIES: dict[str, tuple[str, type[Schema]]] = {
    "/api/v1/plays": ("Views and watched seconds by time, browser, platform and device", PlaysSchema),
    "/api/v1/views": ("The same as plays", PlaysSchema),
    "/api/v1/sources": ("Views by time and page", PlaysSchema),
    "/api/v1/engagement": ("Stretches that meet each part of the video", EngagementSchema),
    "/api/v1/watching": ("Sessions that play now", WatchingSchema),
    "/api/v1/video/summary": ("Coverage, completion, averages, concurrency, quality", ReportSchema),
    "/api/v1/video/curve": ("Viewers, watches, watch ratio and drop-off of each part", ReportSchema),
}


def paths() -> Paths:
    found: dict[str, dict[str, Any]] = {}
    for path, (summary, schema) in _SUMMARIES.items():
        posted = {"summary": summary, "requestBody": _json(schema), "responses": _answers("The figures", 400, 413, 503)}
        asked = {
            "summary": summary,
            "parameters": [{"in": "query", "schema": schema}],
            "responses": _answers("The figures", 400, 413, 503),
        }
        found[path] = {"post": posted, "get": asked}
    found["/api/v1/keys"] = {
        "post": {
            "summary": "Make a key for players",
            "requestBody": {**_json(NewKeySchema), "required": False},
            "responses": {"201": _answer("The key"), **errors(400, 503)},
        },
        "get": {"summary": "The keys of players, revoked ones too", "responses": _answers("The keys", 503)},
    }
    key = {"in": "path", "name": "key", "required": True, "schema": {"type": "string"}, "description": "Its text"}
    found["/api/v1/keys/{key}"] = {
        "delete": {
            "summary": "Revoke a key of players",
            "parameters": [key],
            "responses": _answers("It is revoked", 400, 503),
        }
    }
    return found


def _json(schema: type[Schema]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _answer(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": {"type": "object"}}}}


def _answers(description: str, *statuses: int) -> dict[str, Any]:
    return {"200": _answer(description), **errors(*statuses)}
