"""OpenMetrics: sessions, users and their events, as small clients send them in the address of a GET.

    /v1/ping, createUser, events, setUserId, setUserProps, setSessionProps
        read.py         the JSON object of a request: `?q=` as it really comes, or the body of a POST
        literal.py      the single-quoted form of it that the documentation shows
        translate.py    objects to events

Answers are plain text, errors too, and any page may read them. Source: openmetrics contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from metronome.dialects import Dialect, Doors
from metronome.dialects.openmetrics import translate
from metronome.dialects.openmetrics.paths import paths
from metronome.dialects.openmetrics.read import posted_object
from metronome.errors import BadPayload
from metronome.event.fields import Event
from metronome.intake import NO_HORIZON, Origin
from metronome.people.fold import ALREADY_IDENTIFIED
from metronome.wire.access import needs, origin
from metronome.wire.caller import visitor_agent
from metronome.wire.request import let_pages_call

__all__ = ["DIALECT"]

NAME = "openmetrics"

#: Translates the object of a route, for this session, to events.
Translate = Callable[[str, dict[str, Any]], list[Event]]

ROUTES: dict[str, Translate] = {
    "createUser": translate.create_user,
    "events": translate.events,
    "setUserId": translate.set_user_id,
    "setUserProps": translate.set_user_props,
    "setSessionProps": translate.set_session_props,
}


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    routes.after_app_request(_as_text)

    @routes.route("/v1/ping", methods=["GET", "POST"], provide_automatic_options=False)
    @needs("public")
    def ping() -> Response:
        return _text("pong")

    let_pages_call(routes, "/v1/ping")
    for name, to_events in ROUTES.items():
        _add_route(routes, doors, name, to_events)
    return routes


def _add_route(routes: Blueprint, doors: Doors, name: str, to_events: Translate) -> None:
    let_pages_call(routes, f"/v1/{name}")

    @routes.route(f"/v1/{name}", methods=["GET", "POST"], endpoint=name, provide_automatic_options=False)
    @needs("write")
    def take() -> Response:
        given = posted_object(request, doors.settings)
        session = translate.session_of(given)
        events = to_events(session, given or {})
        if to_events is translate.set_user_id:
            return _identify(doors, session, events)
        _accept(doors, events)
        return _text("ok")


def _identify(doors: Doors, session: str, events: list[Event]) -> Response:
    """The users aren't merged if the session is another's already. That is said by a header, never by another body."""
    user = str(events[0]["distinct_id"])
    answer = _text("ok")
    if doors.people.already_identified(session, user):
        answer.headers["Metronome-Warning"] = ALREADY_IDENTIFIED
        answer.headers["Access-Control-Expose-Headers"] = "Metronome-Warning"
    _accept(doors, events)
    doors.people.note(session, user)
    return answer


def _accept(doors: Doors, events: list[Event]) -> None:
    """All events of the request, or none. Raises BadPayload where intake refuses one of them."""
    if not events:
        return
    receipt = doors.intake.accept(events, _origin(), whole=True)
    if receipt.rejected:
        first = receipt.rejected[0]
        where = f"{first['field']}: " if first["field"] else ""
        raise BadPayload(
            f"events[{first['index']}] can't be taken, and nothing of the request was stored: {where}{first['reason']}"
        )


def _origin() -> Origin:
    came = origin(NAME, visitor_agent(request))
    return Origin(NAME, came.agent, came.address, came.key, came.facts, horizon=NO_HORIZON)


def _text(text: str, status: int = 200) -> Response:
    response = Response(text, status, content_type="text/plain; charset=utf-8")
    # A GET that stores something must reach the gateway each time.
    response.headers["Cache-Control"] = "no-store"
    return response


def _as_text(response: Response) -> Response:
    """What is answered below `/v1`, by whomever: plain text for any page. Every error of the application is JSON."""
    if not request.path.startswith("/v1/"):
        return response
    if response.status_code >= 400 and response.is_json:
        error = (response.get_json(silent=True) or {}).get("error", {})
        response.set_data(str(error.get("message", "")))
        response.content_type = "text/plain; charset=utf-8"
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    return response


DIALECT = Dialect(
    name=NAME,
    meaning="Sessions, users and their events, as OpenMetrics' clients send them.",
    blueprint=blueprint,
    paths=paths,
)
