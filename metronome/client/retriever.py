"""Retriever: counts, properties, values and time series of an application's events, and every kind of question."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from metronome.client.http import TIMEOUT_S, Target

#: The events of the gateway that carry no name of an index.
DEFAULT_INDEX = "sample_analytics"

Counts = list[dict[str, Any]]


class TimeRange:
    """Widths of the buckets of a time series."""

    HOUR = "1h"
    DAY = "1d"
    WEEK = "1w"
    MONTH = "1mon"


class Retriever:
    """Asks a gateway about the events of an application. It is safe to use from many threads.

    `options` are those of `Target.of`: `url` or `host`, `port` and `scheme`; `key`, or `username` and `password`.
    Each method raises Refused with the gateway's words, or StoreUnavailable if it can't answer now.
    """

    def __init__(
        self, application: str = "", *, index: str = DEFAULT_INDEX, timeout_s: float = TIMEOUT_S, **options: Any
    ) -> None:
        self.application = application
        self.index = index
        self._target = Target.of(options, timeout_s)

    def applications(self) -> Counts:
        """Every application, with its number of events: `[{"name": "shop", "count": 3}]`, the largest first."""
        return self._counts("applications")

    def events(self) -> Counts:
        """Every event of the application, with how often it happened."""
        return self._counts("events")

    def properties(self, event: str) -> Counts:
        """Every property of an event, with its number of distinct values."""
        return self._counts("properties", event_name=event)

    def values(self, event: str, property: str) -> Counts:  # noqa: A002 - the contract's name
        """Every value of a property of an event, as text, with its number of events. Empty values are left out."""
        return self._counts("property_values", event_name=event, property=property)

    def over_time(
        self,
        event: str = "",
        time_range: str = TimeRange.MONTH,
        property: str = "",  # noqa: A002
    ) -> list[dict[str, Any]]:
        """One series for each event, or for each value of a property, all with the same buckets.

        `[{"name": "login", "special": false, "data": [{"time": "2026-11-01T00:00:00.000+00:00", "count": 2}]}]`

        The ten largest are there; `OTHER` is the sum of the others, `NULL` the events without the property. Both are
        marked as special, so that values of these names can be told from them.
        """
        series: list[dict[str, Any]] = self._asked(
            "events_over_time", event_name=event, time_range=time_range, property=property
        )["series"]
        return series

    def unique_users(self, event: str = "") -> int:
        """How many distinct `distinct_id` the events have, or those of one name."""
        return int(self._asked("unique_users", event_name=event)["count"])

    def tock(self, item: str, **query: str) -> dict[str, Any]:
        """Views by date, downloads by format and referers of an item, as `GET /tock/<item>.json` gives them."""
        found: dict[str, Any] = self._target.get(f"/tock/{quote(item, safe='')}.json", query)
        return found

    def ask(self, kind: str, **question: Any) -> dict[str, Any]:
        """`{"result": …, "meta": …}` of a question of docs/query.md, about this application unless it says another.

        retriever.ask("trend", series=[{"event": "buy", "measure": "sum:price"}], **{"from": "-7d"})
        """
        if self.application:
            question.setdefault("app", self.application)
        found: dict[str, Any] = self._target.get(f"/query/{quote(kind, safe='')}", {"q": json.dumps(question)})
        return found

    def _counts(self, what: str, **asked: str) -> Counts:
        rows: Counts = self._asked(what, **asked)["rows"]
        return rows

    def _asked(self, what: str, **asked: str) -> dict[str, Any]:
        query = {"application": self.application, "index": self.index, **asked}
        found: dict[str, Any] = self._target.get(f"/api/retrieve/{what}", query)
        return found
