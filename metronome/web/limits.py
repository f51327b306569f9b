"""Every limit on what a client may send, once: what `GET /limits` answers and docs/keys.md shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flask import Blueprint, Response

from metronome.intake.ids import MAX_INSERT_ID
from metronome.intake.stamp import MAX_DISTINCT_ID, MAX_ITEM_BYTES
from metronome.settings import Settings
from metronome.web.arriving import MAX_EVENTS_LINE, MAX_REQUEST_LINE
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs
from metronome.wire.request import json_answer

CHAPTER = Chapter(
    "limits",
    "How much may be sent.",
    {"/limits": {"get": plain("Every limit on what is sent", "A row a limit: name, value, unit, setting, beyond")}},
)


@dataclass(frozen=True)
class Limit:
    """One limit: the most that is taken (None: no limit), the variable that changes it, what happens to more."""

    name: str
    value: int | str | None
    unit: str
    setting: str | None
    beyond: str


def limits(settings: Settings) -> list[Limit]:
    """All of them, from the whole request down to a property. Source: the table of limits in faults, section 5."""
    alone = "the event is refused, the others are taken"
    return [
        Limit("rate", settings.rate_limit or None, "posts a client address and host", "METRONOME_RATE_LIMIT", "429"),
        Limit("address", MAX_REQUEST_LINE, "bytes", None, "414"),
        Limit("address of /v1", MAX_EVENTS_LINE, "bytes", None, "414, nothing is stored"),
        Limit("body", settings.max_body_bytes, "bytes after inflation", "METRONOME_MAX_BODY_BYTES", "413"),
        Limit("inflation", settings.max_inflation, "times its size", "METRONOME_MAX_INFLATION", "413"),
        Limit("batch", settings.max_batch_events, "events", "METRONOME_MAX_BATCH_EVENTS", "413"),
        Limit("event", settings.max_event_bytes, "bytes as stored", "METRONOME_MAX_EVENT_BYTES", alone),
        Limit("properties", settings.max_properties, "names", "METRONOME_MAX_PROPERTIES", alone),
        Limit("depth", settings.max_depth, "objects in each other, the event included", "METRONOME_MAX_DEPTH", alone),
        Limit("name", settings.max_key_length, "characters", "METRONOME_MAX_KEY_LENGTH", alone),
        Limit("id", MAX_ITEM_BYTES, "bytes", None, alone),
        Limit("insert_id", MAX_INSERT_ID, "characters", None, alone),
        Limit("distinct_id", MAX_DISTINCT_ID, "characters", None, alone),
        Limit(
            "spool",
            settings.spool_max_bytes,
            "bytes that wait, a worker",
            "METRONOME_SPOOL_MAX_BYTES",
            "503, come again",
        ),
        Limit("question", settings.query_timeout_s, "seconds", "METRONOME_QUERY_TIMEOUT_S", "503, ask again"),
    ]


def blueprint(settings: Settings) -> Blueprint:
    routes = Blueprint("limits", __name__)
    rows = [asdict(limit) for limit in limits(settings)]

    @routes.get("/limits")
    @needs("public")
    def table() -> Response:
        return json_answer({"limits": rows})

    return routes
