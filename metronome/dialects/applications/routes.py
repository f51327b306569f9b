"""The routes, bound to the two doors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.routing import BaseConverter

from metronome.client.retriever import DEFAULT_INDEX, TimeRange
from metronome.dialects import Doors
from metronome.dialects.applications import pages
from metronome.dialects.applications.retrieve import NULL, OverTime, Retrieving, as_time
from metronome.dialects.applications.tracked import SelfTracking
from metronome.dialects.applications.translate import to_event
from metronome.errors import BadQuestion
from metronome.intake import NO_HORIZON, Origin
from metronome.periods import to_ms
from metronome.wire.access import needs, origin
from metronome.wire.request import cacheable, json_answer, posted, receipted

NAME = "applications"

#: A name of the original's store that stands for a series of no value.
_VALUE = "VALUE"


class ApplicationConverter(BaseConverter):
    """An application's name as the rest of the path: any character, slashes too."""

    part_isolating = False
    regex = r"[\s\S]+"


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__, template_folder="templates")
    tracked = SelfTracking(doors.intake)
    _add_retrieving(routes, doors)
    pages.add_routes(routes, doors, tracked)

    @routes.post("/api/track", provide_automatic_options=False)
    @needs("write")
    def track() -> Response:
        found = posted(request, doors.settings)
        receipt = doors.intake.accept([to_event(one) for one in found.events], _origin())
        full = request.args.get("receipt") == "full"
        return json_answer(receipted(receipt, full=full, ids=not found.batch), 202)

    @routes.get("/api/application/<application:name>")
    @needs("read")
    def chart(name: str) -> Response:
        event, of_property = request.args.get("event_name", ""), request.args.get("property", "")
        width = request.args.get("time_range") or TimeRange.MONTH
        tracked.note("api_app_details", ev_name=event, prop_name=of_property, time_range=width)
        retrieving = Retrieving(doors.ask, DEFAULT_INDEX, name)
        over_time = retrieving.over_time(event, width, of_property)
        answer = {
            "events": retrieving.events(),
            "event_name": event,
            "application_name": name,
            "properties": retrieving.properties(event) if event else [],
            "data": _lines(over_time),
            "property_name": of_property,
        }
        return cacheable(answer)

    return routes


def _origin() -> Origin:
    """Tracked events may be of any age, unless a public key sent them."""
    came = origin(NAME)
    return came if came.is_public else replace(came, horizon=NO_HORIZON)


def _lines(over_time: OverTime) -> list[dict[str, Any]]:
    """The series as a chart takes them: `{"label": "login", "data": [[1793491200000, 2]]}`, times in Unix ms."""
    return [
        {
            "label": one.name,
            "data": [[to_ms(at), count] for at, count in zip(over_time.starts, one.counts, strict=True)],
        }
        for one in over_time.series
        if one.name not in (_VALUE, NULL)
    ]


Asked = Mapping[str, str]

#: What can be retrieved: the names of AnalyticsRetriever's methods.
RETRIEVED: dict[str, Callable[[Retrieving, Asked], dict[str, Any]]] = {
    "applications": lambda found, asked: {"rows": found.applications()},
    "events": lambda found, asked: {"rows": found.events()},
    "properties": lambda found, asked: {"rows": found.properties(_needed(asked, "event_name"))},
    "property_values": lambda found, asked: {
        "rows": found.property_values(_needed(asked, "event_name"), _needed(asked, "property"))
    },
    "events_over_time": lambda found, asked: _series(
        found.over_time(
            asked.get("event_name", ""), asked.get("time_range") or TimeRange.MONTH, asked.get("property", "")
        )
    ),
    "unique_users": lambda found, asked: {"count": found.unique_users(asked.get("event_name", ""))},
}

PARAMETERS = ("application", "index", "event_name", "property", "time_range")


def _add_retrieving(routes: Blueprint, doors: Doors) -> None:
    @needs("read")
    def retrieve(what: str) -> Response:
        asked = request.args
        for name in asked:
            if name not in PARAMETERS:
                raise BadQuestion(f"{name[:40]}: isn't a parameter; there are {', '.join(PARAMETERS)}", field=name[:40])
        retrieving = Retrieving(doors.ask, asked.get("index", ""), asked.get("application", ""))
        return cacheable(RETRIEVED[what](retrieving, asked))

    for what in RETRIEVED:
        routes.add_url_rule(f"/api/retrieve/{what}", f"retrieve_{what}", retrieve, defaults={"what": what})


def _needed(asked: Asked, name: str) -> str:
    if not asked.get(name):
        raise BadQuestion(f"{name}: is missing", field=name)
    return asked[name]


def _series(over_time: OverTime) -> dict[str, Any]:
    times = [as_time(start) for start in over_time.starts]
    return {
        "series": [
            {
                "name": one.name,
                "special": one.special,
                "data": [{"time": time, "count": count} for time, count in zip(times, one.counts, strict=True)],
            }
            for one in over_time.series
        ]
    }
