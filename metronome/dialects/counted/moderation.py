"""`/_/metrics/registries_moderation/transitions/`: what moderators did with registrations, by provider.

A platform records each transition as an event `moderation` (docs/reports.md): its item is the registration, and
`provider_id`, `trigger`, `from_state`, `to_state` and `comment` are properties.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from metronome.dialects import Doors
from metronome.dialects.counted.answers import BASE
from metronome.query import All, Condition, Has, In, Is, Not, Question, Values
from metronome.wire.access import needs
from metronome.wire.request import json_answer

EVENT = "moderation"

_ENTERED = In("trigger", ("submit", "accept_submission"))

#: What is counted of a provider's transitions, by its name in the answer.
COUNTS: dict[str, Condition] = {
    "transitions_without_comments": Not(Has("comment")),
    "transitions_with_comments": Has("comment"),
    "submissions": Is("trigger", "submit"),
    "accepted_with_embargo": All(_ENTERED, Is("to_state", "embargo")),
    "accepted_without_embargo": All(_ENTERED, Is("to_state", "accepted")),
    "rejected": All(Is("trigger", "reject_submission"), Is("to_state", "rejected")),
    "withdrawn": All(Is("trigger", "accept_withdrawal"), Is("to_state", "withdrawn")),
}


def add_routes(routes: Blueprint, doors: Doors) -> None:
    @routes.get(f"{BASE}/registries_moderation/transitions/")
    @needs("read")
    def transitions() -> Response:
        return json_answer(_providers(doors))


def _providers(doors: Doors) -> dict[str, Any]:
    """As Elasticsearch answers a terms aggregation, with all providers in it."""
    by = (Values("provider_id"),)
    event = Is("event", EVENT)
    answers = doors.ask(*(Question(All(event, one), by=by) for one in (All(), *COUNTS.values())))
    total, *counted = ({row.key[0]: row.value for row in answer.rows} for answer in answers)
    buckets = [
        {
            "key": provider,
            "doc_count": count,
            **{name: {"doc_count": found.get(provider, 0)} for name, found in zip(COUNTS, counted, strict=True)},
        }
        for provider, count in total.items()
    ]
    return {"doc_count_error_upper_bound": 0, "sum_other_doc_count": 0, "buckets": buckets}
