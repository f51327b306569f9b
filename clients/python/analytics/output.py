"""AnalyticsRetriever gets counts, properties, values and time series out. Source: tracker contract, 2.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analytics.options import of_gateway
from metronome.client.retriever import DEFAULT_INDEX as ANALYTICS_INDEX_NAME
from metronome.client.retriever import Counts, Retriever, TimeRange

__all__ = ["AnalyticsRetriever", "TimeRange"]


class AnalyticsRetriever:
    """Reads the events of one application. It is made exactly like an AnalyticsTracker.

    Each method raises Refused with the gateway's words, or StoreUnavailable if it can't answer now.
    """

    def __init__(self, application_name: str, options: Mapping[str, Any], index: str = ANALYTICS_INDEX_NAME) -> None:
        self.application_name = application_name
        self.index = index
        self._retriever = Retriever(application_name, index=index, **of_gateway(options))

    def applications(self) -> Counts:
        """All applications of the index: `[{"name": "myapp", "count": 2}]`."""
        return self._retriever.applications()

    def events(self) -> Counts:
        """Every kind of event of the application."""
        return self._retriever.events()

    def properties(self, event_name: str) -> Counts:
        """Every property of an event, with its number of distinct values."""
        return self._retriever.properties(event_name)

    def property_values(self, event_name: str, property: str) -> Counts:  # noqa: A002 - the contract's name
        """Every value of a property of an event, with its number of events."""
        return self._retriever.values(event_name, property)

    def events_over_time(
        self,
        event_name: str = "",
        time_range: str = TimeRange.MONTH,
        property: str = "",  # noqa: A002
    ) -> dict[str, list[dict[str, Any]]]:
        """`{"login": [{"count": 2, "time": "2026-11-01T00:00:00.000+00:00"}]}`; time_range is the width of a bucket."""
        over_time: dict[str, list[dict[str, Any]]] = {}
        for series in self._retriever.over_time(event_name, time_range, property):
            rows = over_time.setdefault(series["name"], [{**row, "count": 0} for row in series["data"]])
            # A value that is called OTHER or NULL shares its key with the special series.
            for row, added in zip(rows, series["data"], strict=True):
                row["count"] += added["count"]
        return over_time

    def unique_users(self, event_name: str = "") -> int:
        """How many distinct `distinct_id` the events have. The original stored these ids and never counted them."""
        return self._retriever.unique_users(event_name)
