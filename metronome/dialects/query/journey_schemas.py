"""The keys of funnel, retention and paths, as marshmallow schemas."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from metronome.dialects.query.schemas import CommonSchema
from metronome.query.journeys.questions import MOST_PERIODS


def _choice(*values: str) -> Any:
    return fields.String(load_default=values[0], validate=validate.OneOf(values))


def _field(meaning: str) -> Any:
    return fields.String(load_default=None, allow_none=True, metadata={"description": meaning})


class JourneySchema(CommonSchema):
    """Keys of every question about the order of events."""

    explain = fields.Raw(
        load_default=None,
        allow_none=True,
        metadata={"description": '"query": the plan in meta.plan; {"subject": id}: the witness of this subject'},
    )


class FunnelSchema(JourneySchema):
    steps = fields.List(fields.Raw(), required=True, metadata={"description": "2 to 20 steps"})
    window = fields.String(load_default="7d", metadata={"description": "90s, 30m, 2h, 7d, 4w, or 3 sessions"})
    order = _choice("sequential", "strict", "any")
    entry = _choice("best", "first", "all")
    excluded = fields.List(
        fields.Raw(),
        data_key="exclude",
        load_default=list,
        metadata={"description": 'Steps with "between": [1, 2] and "mode"'},
    )
    by = _field("Groups by this field's value")
    attribution = fields.Raw(load_default="first", metadata={"description": "first, last, all, or a step's number"})
    hold = fields.List(fields.String(), load_default=list, metadata={"description": "Up to 3 fields, equal on all"})
    trend = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(("hour", "day", "week", "month", "year"))
    )
    clip = fields.Boolean(load_default=False, metadata={"description": "Cut all steps at the range's end"})
    tie_grace_ms = fields.Integer(load_default=0, strict=True, validate=validate.Range(min=0, max=3_600_000))
    collapse_repeats = fields.Boolean(load_default=True)
    strict_scope = fields.List(
        fields.Raw(), load_default=None, allow_none=True, metadata={"description": "Steps that strictness looks at"}
    )
    behind = fields.Raw(
        data_key="list",
        load_default=None,
        allow_none=True,
        metadata={"description": '{"step": 2, "state": "dropped"}: who is behind a step'},
    )


class RetentionSchema(JourneySchema):
    start = fields.Raw(required=True, metadata={"description": "The step that a subject starts with"})
    returns = fields.Raw(data_key="return", load_default=dict, metadata={"description": "The step of a return"})
    period = fields.String(load_default="day", validate=validate.OneOf(("hour", "day", "week", "month")))
    periods = fields.Integer(load_default=30, strict=True, validate=validate.Range(min=0, max=MOST_PERIODS))
    birth = _choice("first_time", "recurring")
    mode = _choice("calendar", "rolling")
    count = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(("on", "on_or_after", "on_or_before"))
    )
    brackets = fields.List(
        fields.Raw(), load_default=None, allow_none=True, metadata={"description": "[[1, 7], [8, 14]]"}
    )
    zero = _choice("returned", "size")
    average = _choice("weighted", "simple")
    by = _field("Groups by this field's value at birth")
    match = _choice("birth", "both")
    value = _field('"sum:" and a field: each cell also has the sum')


class PathsSchema(JourneySchema):
    start = fields.Raw(load_default=None, allow_none=True, metadata={"description": "The step that opens a path"})
    end = fields.Raw(load_default=None, allow_none=True, metadata={"description": "Instead of start: looks backward"})
    depth = fields.Integer(load_default=5, strict=True, validate=validate.Range(min=1, max=20))
    top = fields.Integer(load_default=10, strict=True, validate=validate.Range(min=1, max=1000))
    node = fields.String(load_default="event", metadata={"description": "The field that names events"})
    within = fields.String(load_default="30m", metadata={"description": "Longest pause between two events"})
    collapse_repeats = fields.Boolean(load_default=True)
    across_sessions = fields.Boolean(load_default=False)
