"""The charts of the dashboard, as values. Robots are left out of all but their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metronome.event.fields import DOWNLOAD, VIEW

_PEOPLE = "not is_robot : true"
_VIEWS = f"event : {VIEW} and {_PEOPLE}"
_DOWNLOADS = f"event : {DOWNLOAD} and {_PEOPLE}"
_ERRORS = f"status >= 400 and {_PEOPLE}"
_ROBOTS = "is_robot : true"


@dataclass(frozen=True)
class Chart:
    """Counts the events that a KQL query matches: over time, by the largest values of a field, or as one number.

    `size` is its width and height on the dashboard, whose rows are 48 wide.
    """

    name: str
    title: str
    kind: Literal["number", "time", "table"]
    query: str
    by: str = ""
    size: tuple[int, int] = (24, 12)


#: In rows of the dashboard's width.
CHARTS = (
    Chart("views", "Views", "number", _VIEWS, size=(12, 6)),
    Chart("downloads", "Downloads", "number", _DOWNLOADS, size=(12, 6)),
    Chart("errors", "Errors", "number", _ERRORS, size=(12, 6)),
    Chart("robots", "Events of robots", "number", _ROBOTS, size=(12, 6)),
    Chart("views-over-time", "Views over time", "time", _VIEWS),
    Chart("downloads-over-time", "Downloads over time, by format", "time", _DOWNLOADS, "format"),
    Chart("viewed-items", "Most viewed", "table", _VIEWS, "id"),
    Chart("downloaded-items", "Most downloaded", "table", _DOWNLOADS, "id"),
    Chart("referers", "Where they came from", "table", f"referer_page : * and {_PEOPLE}", "referer_page"),
    Chart("browsers", "Browsers", "table", _VIEWS, "browser"),
    Chart("errors-over-time", "Errors over time, by status", "time", _ERRORS, "status"),
    Chart("failing-items", "What fails most", "table", _ERRORS, "id"),
    Chart("shippers", "Events over time, by the door they came through", "time", "", "dialect"),
    Chart("robots-over-time", "Robots over time, by pattern", "time", _ROBOTS, "robot_pattern"),
)
