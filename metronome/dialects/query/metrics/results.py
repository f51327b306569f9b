"""A metric's figure, in the shape that OpenMetrics gives it.

    total       {"data": 12.5}; with `by`, {"data": [{"group": ["Chrome"], "value": 12.5}]}
    timeSerie   {"timeStep": "day", "data": [{"tsId": 20781, "value": 12.5}]}
    funnel      {"data": [{"order": 1, "value": 1000}]}
    lifecycle   {"timeStep": "day", "data": [{"tsId": 20781, "group": ["new"], "value": 12}]}

A tsId counts such steps since 1970-01-01, as the metric's own calendar has them: days and weeks by the local date.
Source: openmetrics contract, sections 3.2 and 3.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from metronome.dialects.query import journeys, trend
from metronome.dialects.query.journey_schemas import FunnelSchema
from metronome.dialects.query.lifecycle import LifecycleSchema
from metronome.dialects.query.metrics.imported import check_request
from metronome.dialects.query.metrics.library import Library
from metronome.dialects.query.read import Common, common
from metronome.dialects.query.schemas import TrendSchema, checked
from metronome.dialects.query.segments import with_segment
from metronome.errors import BadQuestion
from metronome.settings import Settings

#: Answers a question of a kind: its JSON to result and meta.
Answerer = Callable[[str, Mapping[str, Any], Library], Mapping[str, Any]]

STEPS = ("hour", "day", "week", "month")

_EPOCH = date(1970, 1, 1)

_TREND, _JOURNEYS = TrendSchema(), {"funnel": FunnelSchema(), "lifecycle": LifecycleSchema()}


def check(body: Mapping[str, Any], name: str, library: Library, now: datetime, settings: Settings) -> None:
    """Refuse a metric that could never be computed; raises BadQuestion."""
    query, request, kind = body["query"], body["request"], body["type"]
    if (query is None) == (request is None):
        raise BadQuestion("query: a metric has a query, or a request to import it by", field="query")
    if request is not None:
        check_request(request, settings)
    elif kind in _JOURNEYS:
        asked = checked(_JOURNEYS[kind], query)
        if kind == "lifecycle" and asked["interval"] not in STEPS:
            raise BadQuestion(f"interval: a metric has {', '.join(STEPS)}", field="interval")
        journeys.read(kind, asked, _common(kind, asked, library, now))
    else:
        _check_trend(query, kind, name, library, now)


def _check_trend(query: Any, kind: str, name: str, library: Library, now: datetime) -> None:
    asked = checked(_TREND, query)
    shared = _common("trend", asked, library, now)
    within = replace(library.within_one(name), robots=asked["robots"])
    lines = trend.read(asked, shared, now, within).lines
    if len(lines) > 1:
        raise BadQuestion("formula: several series need one, which says what the metric is", field="formula")
    if kind == "timeSerie" and asked["interval"] not in STEPS:
        raise BadQuestion(f"interval: a timeSerie has {', '.join(STEPS)}", field="interval")
    if kind == "timeSerie" and asked["by"]:
        raise BadQuestion("by: a timeSerie has no groups; a total may", field="by")


def _common(kind: str, asked: dict[str, Any], library: Library, now: datetime) -> Common:
    return with_segment(common(asked, now, kind), asked, library.app, library.segment)


def result_of(body: Mapping[str, Any], name: str, library: Library, answer: Answerer) -> dict[str, Any]:
    """The figure of a metric that has a query, and how it was made."""
    query, kind = body["query"], body["type"]
    if kind == "funnel":
        found = answer("funnel", query, library)
        data: Any = [{"order": step["step"], "value": step["count"]} for step in found["result"]["steps"]]
        return {"data": data, "meta": found["meta"]}
    if kind == "lifecycle":
        found = answer("lifecycle", query, library)
        step = query.get("interval", "day")
        return {"timeStep": step, "data": list(_states(step, found["result"])), "meta": found["meta"]}
    asked = query if kind == "timeSerie" else {**query, "interval": "total"}
    found = answer("trend", asked, library.within_one(name))
    lines = found["result"]["series"]
    if kind == "timeSerie":
        step = asked.get("interval", "day")
        buckets = zip(found["result"]["buckets"], lines[0]["values"], strict=True)
        data = [{"tsId": step_number(step, bucket), "value": value} for bucket, value in buckets]
        return {"timeStep": step, "data": data, "meta": found["meta"]}
    groups = [{"group": line["group"], "value": line["total"]} for line in lines]
    return {"data": groups if query.get("by") else groups[0]["value"], "meta": found["meta"]}


def _states(step: str, result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, bucket in enumerate(result["buckets"]):
        for line in result["series"]:
            yield {"tsId": step_number(step, bucket), "group": [line["name"]], "value": line["values"][number]}


def step_number(step: str, label: str) -> int:
    """The number of hours, days, weeks or months from 1970 to the bucket of this label."""
    if step == "hour":
        return int(datetime.fromisoformat(label).replace(tzinfo=_zone(label)).timestamp() // 3600)
    if step == "month":
        return (int(label[:4]) - 1970) * 12 + int(label[5:7]) - 1
    days = (date.fromisoformat(label) - _EPOCH).days
    return days if step == "day" else (days + 3) // 7


def _zone(label: str) -> Any:
    return datetime.fromisoformat(label).tzinfo or UTC
