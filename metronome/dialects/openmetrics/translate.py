"""From the objects of `/v1` to events: pure functions, one a route. Each raises BadPayload, which names the cause."""

from __future__ import annotations

from typing import Any

from metronome.errors import BadKey, BadPayload
from metronome.event.fields import Event
from metronome.event.identity import IDENTIFY, LINKED, MAX_ID, SESSION, SET, as_id, problem_of

Events = list[Event]


class NoSession(BadKey):
    """The request names no session: the contract's 401."""

    def __init__(self) -> None:
        super().__init__("no session ID")


def session_of(given: dict[str, Any] | None) -> str:
    """The session id as text. Raises NoSession."""
    value = (given or {}).get("sessionId")
    if value is None or value == "":
        raise NoSession
    session = as_id(value)
    if session is None:
        raise BadPayload("sessionId isn't text")
    if len(session) > MAX_ID:
        raise BadPayload(f"sessionId has {len(session)} characters; at most {MAX_ID} are taken")
    return session


def create_user(session: str, given: dict[str, Any]) -> Events:
    return [{"event": SESSION, "session_id": session, **_activity(given, "createUser")}]


def events(session: str, given: dict[str, Any]) -> Events:
    posted = given.get("events")
    if not isinstance(posted, list):
        raise BadPayload("events isn't an array")
    return [_event(session, one, position) for position, one in enumerate(posted)]


def set_user_id(session: str, given: dict[str, Any]) -> Events:
    user = user_of(given)
    return [{"event": IDENTIFY, "distinct_id": user, LINKED: session, "session_id": session, "active": False}]


def set_user_props(session: str, given: dict[str, Any]) -> Events:
    props = _object(given.get("props"), "props")
    return [{"event": SET, "session_id": session, "set": props, "active": False}]


def set_session_props(session: str, given: dict[str, Any]) -> Events:
    props = _object(given.get("props"), "props")
    return [{"event": SESSION, "session_id": session, "session": props, "active": False}]


def user_of(given: dict[str, Any]) -> str:
    """The application's id of the user: `uid`, or `userId` where there is none."""
    name = "uid" if given.get("uid") not in (None, "") else "userId"
    value = given.get(name)
    if value is None or value == "":
        raise BadPayload("setUserId without an id: send uid, or userId")
    problem = problem_of(value)
    if problem:
        raise BadPayload(f"{name}: {problem}")
    return str(value)


def _event(session: str, posted: Any, position: int) -> Event:
    where = f"events[{position}]"
    if not isinstance(posted, dict):
        raise BadPayload(f"{where} isn't an object")
    name = posted.get("name")
    if not isinstance(name, str) or not name:
        raise BadPayload(f"{where} has no name")
    event: Event = {"event": name, "session_id": session, "seq": position}
    if posted.get("ts") is not None:
        event["ts"] = posted["ts"]
    props = posted.get("props")
    if props is not None:
        event["props"] = _object(props, f"{where}.props")
    return {**event, **_activity(posted, where)}


def _activity(posted: dict[str, Any], where: str) -> dict[str, bool]:
    """`active: false` where the options say that the user isn't active by this."""
    options = posted.get("options")
    if options is None:
        return {}
    return {"active": False} if _object(options, f"{where}.options").get("active") is False else {}


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadPayload(f"{where} isn't an object")
    return value
