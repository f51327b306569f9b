"""AnalyticsTracker puts events in. Source: tracker contract, 2.1."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from analytics.options import of_gateway
from metronome.client.retriever import DEFAULT_INDEX as ANALYTICS_INDEX_NAME
from metronome.client.text import plain, printed, printed_properties
from metronome.client.tracker import Tracker

__all__ = ["AnalyticsTracker", "BadProperty"]

APPLICATION_KEY = "application"
EVENT_KEY = "event"
DISTINCT_KEY = "distinct_id"


class BadProperty(AssertionError):
    """A property can't be one: its value is a dictionary or a list, or its name is `application` or `event`."""


class AnalyticsTracker:
    """Logs events of one application. `track` returns once the event is on disk.

    `options` say where the gateway is: `url`, or `host`, `port` and `scheme`; `key`, or `username` and `password`.
    Events of another `index` than the default are seen by retrievers of that index alone.
    """

    def __init__(self, application_name: str, options: Mapping[str, Any], index: str = ANALYTICS_INDEX_NAME) -> None:
        self.application_name = application_name
        self.index = index
        self._tracker = Tracker(sync=True, path="/api/track", **of_gateway(options))

    def track(self, event_name: str, time: str | None = None, distinct_id: Any = None, **props: Any) -> str:
        """Log an event, and give its text.

        Raises BadProperty (an AssertionError), Refused where the gateway takes no such event, or StoreUnavailable if it
        couldn't be reached within the tracker's patience.
        """
        _check(props)
        when = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") if time is None else str(time)
        self._tracker.put(
            {
                APPLICATION_KEY: plain(self.application_name),
                EVENT_KEY: plain(event_name),
                "index": self.index,
                "time": when,
                DISTINCT_KEY: None if distinct_id is None else str(distinct_id),
                "properties": {name: str(value) for name, value in props.items()},
            }
        )
        return printed(when, self.application_name, event_name, distinct_id, props)

    @staticmethod
    def encode(props: Mapping[str, Any]) -> str:
        """Properties as they stand at the end of an event's text."""
        _check(props)
        return printed_properties(props)


def _check(props: Mapping[str, Any]) -> None:
    # Raised, since an assert statement does nothing when Python runs optimised.
    for name, value in props.items():
        if name in (APPLICATION_KEY, EVENT_KEY):
            raise BadProperty(f"{name!r} can't be the name of a property; each event has its own")
        if isinstance(value, dict | list):
            raise BadProperty(f"{name}: a {type(value).__name__} can't be a value; give each part a name of its own")
