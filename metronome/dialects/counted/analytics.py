"""`/_/metrics/query/` and `/_/metrics/preprints/`: fixed questions about usage, answered at once.

Counts of usages are of distinct `counter.key`, so clicks of one slot of 30 s are one.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, request

from metronome.dialects import Doors
from metronome.dialects.counted.answers import BASE, api_answer
from metronome.dialects.counted.frames import Frame, of_items, of_visits
from metronome.errors import BadKey, BadQuestion, Forbidden, NotFound
from metronome.periods import to_text
from metronome.query import (
    PEOPLE,
    All,
    AnyOf,
    Condition,
    Every,
    Has,
    In,
    Is,
    Known,
    Listing,
    Not,
    Question,
    Unique,
    Values,
)
from metronome.wire.access import current, needs
from metronome.wire.request import json_answer

#: Rows of a list of pages or domains.
TOP = 10

_GUID = re.compile(r"[a-z0-9]+")

_DAYS = {"week": 7, "fortnight": 14}

_INTERVALS = ("hour", "day", "week", "month", "year")

_USAGES = Unique("counter.key")
_PATH, _ROUTE, _TITLE = (f"pageview_info.{name}" for name in ("page_path", "route_name", "page_title"))
_HOUR, _DOMAIN = "pageview_info.hour_of_day", "pageview_info.referer_domain"


def add_routes(routes: Blueprint, doors: Doors) -> None:
    @routes.get(f"{BASE}/query/node_analytics/<guid>/<timespan>/")
    @needs("read")
    def node_analytics(guid: str, timespan: str) -> Response:
        if not _GUID.fullmatch(guid) or timespan not in (*_DAYS, "month"):
            raise NotFound("a timespan is week, fortnight or month, of an item of small letters and digits")
        item = AnyOf(Is("id", guid), Is("surrounding_guids", guid))
        _check_public(doors, item)
        start = _midnight(_start(timespan, doors.clock().astimezone(UTC).date()))
        attributes = _of_node(doors, item, Frame(start))
        return api_answer({"data": {"id": f"{guid}:{timespan}", "type": "node-analytics", "attributes": attributes}})

    def visits(kind: str, where: Condition) -> Response:
        frame = of_visits(request.args, doors.clock())
        (answer,) = doors.ask(
            Question(All(PEOPLE, Has("counter.key"), where), Unique("session_id"), (Every("day"),), frame.period)
        )
        span = f"{to_text(frame.start)}..{to_text(frame.end) if frame.end else ''}"
        attributes = {"unique_visits": _by_day(answer)}
        return json_answer({"data": {"id": f"{kind}:{span}", "type": f"{kind}-analytics", "attributes": attributes}})

    @routes.get(f"{BASE}/query/user_visits/")
    @needs("read")
    def user_visits() -> Response:
        return visits("user-visits", All())

    @routes.get(f"{BASE}/query/unique_user_visits/")
    @needs("read")
    def unique_user_visits() -> Response:
        return visits("unique-user-visits", Is("user_is_authenticated", True))

    @routes.get(f"{BASE}/preprints/<kind>/")
    @needs("read")
    def preprint_metrics(kind: str) -> Response:
        if kind not in ("views", "downloads"):
            raise NotFound("there are preprints/views/ and preprints/downloads/")
        return json_answer({"metric_type": kind, "data": _of_items(doors, kind.removesuffix("s"))})


def _check_public(doors: Doors, item: Condition) -> None:
    """Raises NotFound for an item that was never used, and BadKey or Forbidden for one that was private last."""
    known, page = doors.ask(Known(item), Listing(All(item, Has("item_public")), limit=1))
    if not known:
        raise NotFound("no usage of this item is known")
    if any(event["item_public"] is False for event in page.events):
        if current().key:
            raise Forbidden("this item isn't public")
        raise BadKey("this item isn't public")


def _of_node(doors: Doors, item: Condition, frame: Frame) -> dict[str, Any]:
    public = Not(Is("item_public", False))
    where = All(PEOPLE, item, public, Has("counter.key"), Is("action_labels", "view"), Is("action_labels", "web"))
    groups = ((Every("day"),), (Values(_HOUR),), (Values(_DOMAIN),), (Values(_PATH),))
    named = ((Values(_PATH), Values(_ROUTE)), (Values(_PATH), Values(_TITLE)))
    days, hours, domains, pages, routes, titles = doors.ask(
        *(Question(where, _USAGES, by, frame.period) for by in (*groups, *named))
    )
    route, title = _most_frequent(routes), _most_frequent(titles)
    return {
        "popular_pages": [
            {"path": row.key[0], "route": route.get(row.key[0]), "title": title.get(row.key[0]), "count": row.value}
            for row in pages.rows[:TOP]
        ],
        "unique_visits": _by_day(days),
        "time_of_day": [{"hour": row.key[0], "count": row.value} for row in hours.rows],
        "referer_domain": [{"referer_domain": row.key[0], "count": row.value} for row in domains.rows[:TOP]],
    }


def _most_frequent(answer: Any) -> dict[Any, Any]:
    """The first value of each page: rows come with the largest first."""
    found: dict[Any, Any] = {}
    for row in answer.rows:
        found.setdefault(row.key[0], row.key[1])
    return found


def _by_day(answer: Any) -> list[dict[str, Any]]:
    return [{"date": f"{row.key[0]:%Y-%m-%d}", "count": row.value} for row in answer.rows]


def _of_items(doors: Doors, event: str) -> list[dict[str, dict[str, Any]]]:
    guids = list(dict.fromkeys(one for one in request.args.get("guids", "").split(",") if one))
    if not guids:
        raise BadQuestion("guids: name the items, such as guids=ab12c,de34f", field="guids")
    interval = request.args.get("interval", "day")
    if interval not in _INTERVALS:
        raise BadQuestion(f"interval: {interval[:20]!r} is none of {', '.join(_INTERVALS)}", field="interval")
    frame = of_items(request.args, doors.clock())
    where = All(PEOPLE, Has("counter.key"), Is("event", event), In("id", tuple(guids)))
    every = Every(interval)
    totals, answer = doors.ask(
        Question(where, _USAGES, (every,), frame.period), Question(where, _USAGES, (every, Values("id")), frame.period)
    )
    found: dict[datetime, dict[str, Any]] = {row.key[0]: dict.fromkeys(guids, 0) for row in totals.rows}
    for row in answer.rows:
        found[row.key[0]][row.key[1]] = row.value
    return [{to_text(start): counts} for start, counts in found.items()]


def _start(timespan: str, today: date) -> date:
    if timespan in _DAYS:
        return today - timedelta(days=_DAYS[timespan])
    before = today.replace(day=1) - timedelta(days=1)
    return before.replace(day=min(today.day, before.day))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
