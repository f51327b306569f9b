"""Event text of the analytics example's tracker, as its store exports it.

    2011-08-08T11:45:17 application="myapp" event="login" distinct_id="42"  analytics_prop__username="jo"
    {"preview": false, "result": {"_raw": "2011-08-08T11:45:17 application=…"}}      an export as JSON lines

An event must have a time that can be read, without a zone in UTC: loaded without one it would get the day of the load,
and a load on another day would count it again. Source: tracker contract, 2.1.
"""

from __future__ import annotations

import orjson

from metronome.client.text import parsed
from metronome.dialects.applications.translate import to_event
from metronome.event.fields import Event
from metronome.periods import read_time


def splunk_event(line: bytes) -> Event:
    """The event of a line, as the tracker's own are stored; raises ValueError with the reason."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise ValueError("isn't UTF-8") from None
    said = parsed(_raw(text) if text.startswith("{") else text)
    try:
        read_time(said.time)
    except ValueError as error:
        raise ValueError(f"its time {error}") from None
    event = to_event(
        {
            "application": said.application,
            "event": said.event,
            "time": said.time,
            "distinct_id": said.distinct_id,
            "properties": said.properties,
        }
    )
    if not isinstance(event, dict):
        raise ValueError(event.reason)  # noqa: TRY004 - a reason for the user
    return event


def _raw(text: str) -> str:
    try:
        row = orjson.loads(text)
        return str(row.get("result", row)["_raw"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError("is JSON without an event's text in _raw") from None
