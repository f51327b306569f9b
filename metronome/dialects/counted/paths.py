"""The OpenAPI description of counted usage and its reports, for ours and for `/_/metrics/openapi.json`."""

from __future__ import annotations

from typing import Any

from metronome import __version__
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

_TEXT = {"type": "string"}


def _in_path(name: str, example: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": _TEXT, "example": example}


def _in_query(name: str, meaning: str, **schema: Any) -> dict[str, Any]:
    return {"in": "query", "name": name, "description": meaning, "schema": schema or _TEXT}


_START = _in_query("timeframeStart", "From this time on", type="string", format="date-time")
_END = _in_query("timeframeEnd", "Up to before this time", type="string", format="date-time")

_FRAME = [
    {**_in_query("days_back", "From so many days ago", type="integer", minimum=1), "deprecated": True},
    _in_query("timeframe", "previous_N_days"),
    _START,
    _END,
    _in_query("start_date", "The first day", type="string", format="date"),
    _in_query("end_date", "The last day", type="string", format="date"),
    _in_query("format", "json, csv or tsv"),
]

_VISITS = [_in_query("timeframe", "previous_N_days, previous_N_months or previous_N_years"), _START, _END]


def _get(summary: str, *parameters: dict[str, Any], refused: tuple[int, ...] = (400,)) -> dict[str, Any]:
    answer = {"200": {"description": summary, "content": {JSON_API: {"schema": {"type": "object"}}}}}
    return {"get": {"summary": summary, "parameters": list(parameters), "responses": {**answer, **errors(*refused)}}}


_SEARCH = {"data": {"type": "preprint_metrics", "attributes": {"query": {"size": 1}}}}


def _passed(summary: str, example: Any = None, name: str = "", known: str = "") -> dict[str, Any]:
    """An operation that answers as Elasticsearch does."""
    schema = {"type": "object"}
    answer = {"200": {"description": "As Elasticsearch answers", "content": {"application/json": {"schema": schema}}}}
    found: dict[str, Any] = {
        "summary": summary,
        "parameters": [_in_path(name, known)] if name else [],
        "responses": {**answer, **errors(400, 401, 403, 404)},
    }
    if example:
        found["requestBody"] = {"content": {"application/json": {"schema": schema, "example": example}}}
    return found


def _usage() -> dict[str, Any]:
    data = {
        "type": "object",
        "required": ["attributes"],
        "properties": {"type": _TEXT, "attributes": {"type": "object", "required": ["action_labels"]}},
    }
    schema = {"type": "object", "required": ["data"], "properties": {"data": data}}
    return {
        "summary": "Record one usage of an item, a page or a search",
        "requestBody": {
            "required": True,
            "content": {media: {"schema": schema, "example": _EXAMPLE} for media in (JSON_API, "application/json")},
        },
        "responses": {"201": {"description": "It is on disk; the body is empty"}, **errors(400, 413, 415, 503)},
    }


def paths() -> Paths:
    guids = _in_query("guids", "Items, separated by commas")
    guids["required"] = True
    when = [_in_query(name, "A day, or a time to the minute") for name in ("on_date", "start_datetime", "end_datetime")]
    return {
        f"{BASE}/events/counted_usage/": {"post": _usage()},
        f"{BASE}/reports/": _get("Which reports there are", refused=()),
        f"{BASE}/reports/{{name}}/recent/": _get(
            "The recent reports of a kind", _in_path("name", "download_count"), *_FRAME, refused=(400, 404)
        ),
        f"{BASE}/query/node_analytics/{{guid}}/{{timespan}}/": _get(
            "How an item was used", _in_path("guid", "ab12c"), _in_path("timespan", "week"), refused=(401, 403, 404)
        ),
        f"{BASE}/query/user_visits/": _get("Sessions by day", *_VISITS),
        f"{BASE}/query/unique_user_visits/": _get("Sessions by day of those who were logged in", *_VISITS),
        f"{BASE}/preprints/{{kind}}/": {
            **_get(
                "Views or downloads of items over time",
                _in_path("kind", "views"),
                guids,
                _in_query("interval", "hour, day, week, month or year"),
                *when,
                refused=(400, 404),
            ),
            "post": _passed("Search views or downloads by a search of Elasticsearch's own", _SEARCH, "kind", "views"),
        },
        f"{BASE}/registries_moderation/transitions/": _get("What moderators did, by provider", refused=()),
        f"{BASE}/raw/": {name: _passed(f"{name.upper()} to Elasticsearch's root") for name in ("get", "post", "put")},
        f"{BASE}/raw/{{path}}": {
            name: _passed(f"{name.upper()} to Elasticsearch, where METRONOME_RAW=yes", None, "path", "_search")
            for name in ("get", "post", "put")
        },
        f"{BASE}/openapi.json": _get("The description of these routes in OpenAPI", refused=()),
    }


def description() -> dict[str, Any]:
    """The document of `/_/metrics/openapi.json`: these routes alone."""
    found: dict[str, Any] = {path: dict(operations) for path, operations in paths().items()}
    for operations in found.values():
        for method, operation in operations.items():
            kept = {status: {"description": one["description"]} for status, one in operation["responses"].items()}
            operations[method] = {**operation, "responses": kept}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Metronome: counted usage and reports", "version": __version__},
        "paths": found,
    }
