"""Every limit on what a client may send, once: what `GET /limits` answers and docs/keys.md shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

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


#: What happens to an event that is past a limit of its own.
_ALONE = "the event is refused, the others are taken"

_KEPT = "the event is kept in the quarantine"

#: The rows whose value is a setting: the setting's name, the limit's, its unit, what happens beyond it.
_SETTINGS = {
    # a client and its connections
    "rate_limit": ("rate", "posts a client address and host", "429"),
    "connections": ("connections", "open a worker", "the slowest unfinished, then the longest idle one is closed"),
    "header_timeout_s": ("head", "seconds", "408"),
    "body_timeout_s": ("body's time", "seconds, beside its size by the slowest pace", "408"),
    "min_bytes_per_s": ("slowest pace", "bytes a second", "408"),
    "keepalive_s": ("idle", "seconds", "the connection is closed"),
    "streams": ("streams", "websockets and event streams open", "503, come again"),
    "stream_message_bytes": ("stream message", "bytes", "the websocket is closed, 1009"),
    "stream_messages_per_s": ("stream messages", "a second and websocket", "the websocket is closed, 1008"),
    "listen_connections": ("shippers", "connections by forward protocol and JSON lines", "the connection is refused"),
    # a request
    "max_body_bytes": ("body", "bytes after inflation", "413"),
    "max_inflation": ("inflation", "times its size", "413"),
    "max_batch_events": ("batch", "events", "413"),
    # an event
    "max_event_bytes": ("event", "bytes as stored", _ALONE),
    "max_properties": ("properties", "names", _ALONE),
    "max_depth": ("depth", "objects in each other, the event included", _ALONE),
    "max_key_length": ("name", "characters", _ALONE),
    "horizon_days": ("horizon", "days back (0: any)", _KEPT),
    "new_days": ("new days", "days an hour that have no events yet", _KEPT),
    "new_days_public": ("new days of public keys", "days an hour that have no events yet", _KEPT),
    # what waits, and what is asked
    "spool_max_bytes": ("spool", "bytes that wait, a worker", "503, come again"),
    "disk_reserve_bytes": ("disk reserve", "bytes left free", "503, come again"),
    "query_timeout_s": ("question", "seconds", "503, ask again"),
    "query_seconds": ("journey", "seconds for a funnel, retention or paths", "422"),
    "query_events": ("journey's events", "events read", "422"),
    "query_bytes": ("journey's memory", "bytes held", "422"),
    "query_parallel": ("journeys", "at one time a worker (0: as many as cores)", "they wait, then 503"),
}


def limits(settings: Settings) -> list[Limit]:
    """All of them, from the connection down to a property. Source: the table of limits in faults, section 5."""
    found = []
    for row in fields(Settings):
        if told := _SETTINGS.get(row.name):
            value = getattr(settings, row.name)
            # No rate is no limit. A number of 0 has a meaning of its own, which the row's unit tells.
            found.append(Limit(told[0], None if value == "" else value, told[1], row.metadata["variable"], told[2]))
    order = [name for name, _, _ in _SETTINGS.values()]
    found.sort(key=lambda limit: order.index(limit.name))
    return [*found, *_FIXED]


#: The limits that no setting changes.
_FIXED = (
    Limit("address", MAX_REQUEST_LINE, "bytes", None, "414"),
    Limit("address of /v1", MAX_EVENTS_LINE, "bytes", None, "414, nothing is stored"),
    Limit("id", MAX_ITEM_BYTES, "bytes", None, _ALONE),
    Limit("insert_id", MAX_INSERT_ID, "characters", None, _ALONE),
    Limit("distinct_id", MAX_DISTINCT_ID, "characters", None, _ALONE),
)


def blueprint(settings: Settings) -> Blueprint:
    routes = Blueprint("limits", __name__)
    rows = [asdict(limit) for limit in limits(settings)]

    @routes.get("/limits")
    @needs("public")
    def table() -> Response:
        return json_answer({"limits": rows})

    return routes
