"""The routes of saved things. Reading needs the scope `read`, changing `edit`."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request

from metronome.dialects import Doors
from metronome.dialects.query.metrics import imported, points
from metronome.dialects.query.metrics.library import Library
from metronome.dialects.query.metrics.ready import READY
from metronome.dialects.query.metrics.results import Answerer, check, result_of
from metronome.dialects.query.metrics.schemas import SCHEMAS, checked_id, definition
from metronome.errors import BadQuestion, Conflict, NothingAccepted
from metronome.periods import Period, period, zone
from metronome.saved import Thing
from metronome.wire.access import bound_app, current, needs
from metronome.wire.request import body, cacheable, json_answer


def add_routes(routes: Blueprint, doors: Doors, answer: Answerer) -> None:
    """Add the routes of all kinds of saved things to a blueprint."""
    for what in SCHEMAS:
        _add_things(routes, doors, what)
    _add_result(routes, doors, answer)
    _add_points(routes, doors)


def library(doors: Doors) -> Library:
    """The saved things that the request's key may name."""
    return Library(doors.saved, doors.segments.get, bound_app())


def _add_things(routes: Blueprint, doors: Doors, what: str) -> None:
    saved = doors.saved

    @needs("read")
    def all_things() -> Response:
        _only_parameters()
        found = {thing.id: thing for thing in saved.list(what, bound_app())}
        if what == "metrics":
            found = {**{name: library(doors).find(name) for name in READY if name not in found}, **found}
        rows = sorted(found.values(), key=lambda thing: (_order(thing), thing.id))
        return cacheable({what: [_shown(thing) for thing in rows]})

    @needs("read")
    def one(id: str) -> Response:  # noqa: A002 - the name of the route's parameter
        _only_parameters("version")
        return _with_version(_found(doors, what, id))

    @needs("edit")
    def put(id: str) -> Response:  # noqa: A002
        _only_parameters()
        given = definition(what, body(request, doors.settings))
        if what == "metrics":
            check(given, checked_id(id), library(doors), doors.clock(), doors.settings)
            given["order"] = given["order"] or len(saved.list(what, bound_app())) + 1
        thing = saved.put(what, checked_id(id), bound_app(), given, by=current().key, expected=_expected())
        response = json_answer(_shown(thing), 201 if thing.version == 1 else 200)
        response.set_etag(str(thing.version))
        return response

    @needs("edit")
    def delete(id: str) -> Response:  # noqa: A002
        _only_parameters()
        saved.delete(what, checked_id(id), bound_app(), by=current().key, expected=_expected())
        if what == "series":
            saved.points.delete(saved.points_name(id, bound_app()), Period())
        return Response(status=204)

    routes.add_url_rule(f"/saved/{what}", f"saved_{what}", all_things)
    for method, view in (("GET", one), ("PUT", put), ("DELETE", delete)):
        routes.add_url_rule(f"/saved/{what}/<id>", f"saved_{what}_{method.lower()}", view, methods=[method])


def _found(doors: Doors, what: str, name: str) -> Thing:
    version = _version()
    if what == "metrics":
        return library(doors).find(checked_id(name), version)
    return doors.saved.get(what, checked_id(name), bound_app(), version)


def _add_result(routes: Blueprint, doors: Doors, answer: Answerer) -> None:
    @routes.get("/saved/metrics/<id>/result")
    @needs("read")
    def metric_result(id: str) -> Response:  # noqa: A002
        _only_parameters("version")
        shelf = library(doors)
        thing = shelf.find(checked_id(id), _version())
        if thing.body.get("request") is not None:
            found = {**imported.fetch(thing.body["request"], doors.settings), "meta": {"saved": shelf.used}}
        else:
            found = result_of(thing.body, id, shelf, answer)
        response = json_answer(found)
        response.headers["Cache-Control"] = "private, no-cache"
        return response


def _add_points(routes: Blueprint, doors: Doors) -> None:
    saved = doors.saved
    path = "/saved/series/<id>/points"

    def holder(name: str) -> str:
        """The name under which the points of a series are stored; raises NotFound where there is no such series."""
        saved.get("series", checked_id(name), bound_app())
        return saved.points_name(name, bound_app())

    @routes.put(path)
    @needs("edit")
    def put_points(id: str) -> Response:  # noqa: A002
        _only_parameters()
        series = holder(id)
        given, rejected = points.read_points(body(request, doors.settings), request.mimetype)
        receipt = {"stored": 0, "rejected": rejected[: points.NAMED], "rejected_in_all": len(rejected)}
        if rejected and not given:
            raise NothingAccepted("no point can be taken; `rejected` says why", receipt)
        return json_answer({**receipt, "stored": saved.points.put(series, given)})

    @routes.get(path)
    @needs("read")
    def get_points(id: str) -> Response:  # noqa: A002
        _only_parameters("from", "to", "limit", "cursor")
        series, within = holder(id), _within()
        limit = request.args.get("limit", "1000")
        if not re.fullmatch(r"[1-9]\d{0,3}|10000", limit, re.ASCII):
            raise BadQuestion("limit: 1 to 10000", field="limit")
        after = points.read_cursor(request.args["cursor"]) if "cursor" in request.args else None
        page = saved.points.read(series, within, limit=int(limit) + 1, after=after)
        more = page[int(limit) :]
        page = page[: int(limit)]
        cursor = points.cursor_of(saved.points.place(series, page[-1])) if more else None
        return cacheable({"points": list(map(points.shown, page)), "cursor": cursor})

    @routes.delete(path)
    @needs("edit")
    def delete_points(id: str) -> Response:  # noqa: A002
        _only_parameters("from", "to", "all")
        series, within = holder(id), _within()
        if within == Period() and request.args.get("all") != "true":
            raise BadQuestion("from: say from, to or both; all=true deletes every point", field="from")
        return json_answer({"deleted": saved.points.delete(series, within)})


def _within() -> Period:
    try:
        return period(request.args.get("from"), request.args.get("to"), zone("UTC"))
    except ValueError as error:
        raise BadQuestion(str(error)) from None


def _only_parameters(*known: str) -> None:
    for name in request.args:
        if name not in known and not name.startswith("_"):
            there = f"there are {', '.join(known)}" if known else "there are none"
            raise BadQuestion(f"{name[:40]}: isn't a parameter; {there}", field=name[:40])


def _version() -> int | None:
    given = request.args.get("version")
    if given is not None and not re.fullmatch(r"\d{1,9}", given, re.ASCII):
        raise BadQuestion("version: a whole number", field="version")
    return None if given is None else int(given)


def _expected() -> int | None:
    """The version that the newest must have, by If-Match and If-None-Match; None if it may have any."""
    if request.headers.get("If-None-Match", "").strip() == "*":
        return 0
    given = request.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        return None
    if not (found := re.fullmatch(r'"(\d{1,9})"', given, re.ASCII)):
        raise Conflict('If-Match: a version in quotes, such as "3", as GET gives it as ETag')
    return int(found[1])


def _order(thing: Thing) -> Any:
    order = thing.body.get("order")
    return order is None, order or 0


def _shown(thing: Thing) -> dict[str, Any]:
    return {"id": thing.id, "version": thing.version, "at": thing.at, "by": thing.by, **thing.body}


def _with_version(thing: Thing) -> Response:
    """The thing, with its version as ETag: what If-Match takes."""
    response = json_answer(_shown(thing))
    response.set_etag(str(thing.version))
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response
