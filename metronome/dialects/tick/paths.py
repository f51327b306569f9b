"""Tick and tock as OpenAPI operations."""

from __future__ import annotations

from typing import Any

from metronome.dialects import Paths, errors
from metronome.dialects.tick.ask import TockQuerySchema, TockSchema
from metronome.dialects.tick.post import ReceiptSchema, TickSchema


def paths() -> Paths:
    """The path items of all routes of this dialect."""
    return {
        "/tick": {"post": _tick()},
        **{path: {"get": _tock()} for path in ("/tock/{id}.json", "/tock/{id}", "/tocks/{id}")},
    }


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
            },
            {
                "in": "query",
                "name": "receipt",
                "schema": {"type": "string", "enum": ["full"]},
                "description": "`full`: a receipt with every id and every row, of whatever length",
            },
        ],
        "requestBody": {
            "content": {
                "application/json": {"schema": {"oneOf": [TickSchema, {"type": "array", "items": TickSchema}]}},
                "application/x-ndjson": {"schema": {"type": "string"}},
                "application/x-www-form-urlencoded": event,
                "multipart/form-data": event,
                "text/plain": {"schema": {"type": "string"}},
            }
        },
        "responses": {
            "202": {"description": "Accepted", "content": {"application/json": {"schema": ReceiptSchema}}},
            "200": {
                "description": "With `echo`: the record, or an array of records",
                "content": {"application/json": event},
            },
            **errors(400, 411, 413, 415, 422, 503),
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
            **errors(400, 404, 503),
        },
    }
