"""The OpenAPI description of counted usage."""

from __future__ import annotations

from typing import Any

from metronome.dialects import Paths, errors
from metronome.dialects.counted.answers import BASE, JSON_API

_EXAMPLE = {
    "data": {
        "type": "counted-usage",
        "attributes": {
            "action_labels": ["view", "web"],
            "item_guid": "ab12c",
            "pageview_info": {"page_url": "https://repo.example/ab12c/"},
        },
    }
}


def paths() -> Paths:
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "object",
                "required": ["attributes"],
                "properties": {"type": {"type": "string"}, "attributes": {"type": "object"}},
            }
        },
    }
    content = {media: {"schema": schema, "example": _EXAMPLE} for media in (JSON_API, "application/json")}
    usage = {
        "summary": "Record one usage of an item, a page or a search",
        "requestBody": {"required": True, "content": content},
        "responses": {"201": {"description": "It is on disk; the body is empty"}, **errors(400, 413, 415, 503)},
    }
    return {f"{BASE}/events/counted_usage/": {"post": usage}}
