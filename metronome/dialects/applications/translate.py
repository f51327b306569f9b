"""From what AnalyticsTracker sends to events, and from names to conditions: pure functions."""

from __future__ import annotations

from typing import Any

import orjson

from metronome.client.retriever import DEFAULT_INDEX
from metronome.client.text import plain
from metronome.event.fields import FIELDS, TIME_NAMES, Event
from metronome.intake import Unreadable
from metronome.intake.settle import RENAMED
from metronome.periods import read_time
from metronome.query import All, Condition, Is, Missing

#: The field that keeps events of another index than the default apart.
INDEX = "analytics_index"

#: What properties are stored under.
PROPERTIES = "props."

_NAMED = frozenset(field.name for field in FIELDS) | frozenset(TIME_NAMES)

#: Where fields stand that aren't the application's own.
_FOREIGN = (RENAMED, "set.", "set_once.", "add.", "session.", "extra.")


def to_event(given: Any) -> Event | Unreadable:
    """The event of `{"application": "myapp", "event": "login", "time": …, "distinct_id": …, "properties": {…}}`."""
    if isinstance(given, Unreadable):
        return given
    if not isinstance(given, dict):
        return _unreadable('an event is a JSON object, such as {"application": "myapp", "event": "login"}', given)
    for name in ("application", "event"):
        if not isinstance(given.get(name), str) or not given[name].strip():
            return _unreadable(f"{name}: its name is missing", given)
    properties = given.get("properties") or {}
    if not isinstance(properties, dict):
        return _unreadable("properties: an object of names and values", given)
    event: Event = {"app": plain(given["application"]), "event": plain(given["event"])}
    if given.get("distinct_id") is not None:
        event["distinct_id"] = str(given["distinct_id"])
    if given.get("index") not in (None, "", DEFAULT_INDEX):
        event[INDEX] = str(given["index"])
    if given.get("insert_id"):
        event["insert_id"] = given["insert_id"]
    event.update(_time(given.get("time")))
    # Flat, so that the dot in `a.b` is part of the name.
    event.update({PROPERTIES + str(name): value for name, value in properties.items()})
    return event


def _time(given: Any) -> dict[str, Any]:
    """The time where it can be read. Another text is kept, and the event takes the time of receipt."""
    if given is None:
        return {}
    try:
        read_time(given)
    except ValueError:
        return {"ts_client": str(given)}
    return {"@timestamp": given}


def _unreadable(reason: str, given: Any) -> Unreadable:
    return Unreadable(reason, orjson.dumps(given))


def of_index(index: str) -> Condition:
    """The events of an index."""
    return Missing(INDEX) if index in ("", DEFAULT_INDEX) else Is(INDEX, index)


def of_application(index: str, application: str, event: str = "") -> Condition:
    """The events of an application, or those of one name."""
    parts = [of_index(index), Is("app", plain(application))]
    return All(*parts, *([Is("event", plain(event))] if event else []))


def property_of(field: str) -> str | None:
    """The property that a field holds, or None if the field isn't a property."""
    if field.startswith(PROPERTIES):
        return field.removeprefix(PROPERTIES) or None
    return None if field in _NAMED or field.startswith(_FOREIGN) else field


def fields_of(name: str) -> tuple[str, ...]:
    """The fields that may hold a property."""
    own = PROPERTIES + name
    return (own, name) if property_of(name) == name and not name.startswith("_") else (own,)
