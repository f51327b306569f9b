"""Lifecycle: who is new, returns, comes back after a pause, or stays away, by period.

With `split: "new_returning"` all who are active are new or return. Source: query contract, sections 1 and 7; semantics,
section 5, which names the states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import fields, validate

from metronome.dialects.query.draw import shown
from metronome.dialects.query.journey_schemas import JourneySchema
from metronome.dialects.query.read import Common, step
from metronome.periods import Every
from metronome.query import Lifecycle
from metronome.query.journeys import answers

INTERVALS = ("hour", "day", "week", "month", "year")


class LifecycleSchema(JourneySchema):
    active = fields.Raw(load_default=dict, metadata={"description": "The step that makes a subject active"})
    interval = fields.String(load_default="day", validate=validate.OneOf(INTERVALS))
    split = fields.String(
        load_default="lifecycle",
        validate=validate.OneOf(("lifecycle", "new_returning")),
        metadata={"description": "new, returning, resurrecting, dormant; or new and returning alone"},
    )


def read(asked: Mapping[str, Any], common: Common) -> tuple[Lifecycle, Callable[[Any], dict[str, Any]]]:
    """The question, and what makes its answer the result; raises BadQuestion."""
    every = Every(asked["interval"], tz=common.tz, week_start=common.week_start)
    question = Lifecycle(
        step(asked["active"], "active"),
        where=common.where,
        period=common.period,
        subject=common.subject,
        every=every,
        split=asked["split"],
        explain=common.witness,
    )
    return question, lambda found: _drawn(found, every)


def _drawn(found: answers.LifecycleAnswer, every: Every) -> dict[str, Any]:
    result: dict[str, Any] = {
        "buckets": [every.label(start) for start in found.starts],
        "series": [{"name": one.name, "values": list(one.values), "total": one.total} for one in found.states],
        "complete": list(found.complete),
    }
    if found.witness is not None:
        result["witness"] = [
            {
                "bucket": every.label(one.bucket),
                "state": one.state,
                "event": None if one.event is None else shown(one.event),
                "before": None if one.before is None else shown(one.before),
            }
            for one in found.witness
        ]
    return result
