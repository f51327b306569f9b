"""Counted usage: what a repository's pages and servers say of the use of its items, under `/_/metrics/`.

    POST /_/metrics/events/counted_usage/     201 and no body
        metronome/counter/usage/    what may be sent, and the event that it becomes
        answers.py                  JSON:API: errors of all routes below /_/metrics/
    GET  reports/, reports/<id>/recent/       reports.py
    GET  query/…, preprints/…                 analytics.py
    GET  registries_moderation/transitions/   moderation.py
    *    raw/…, POST preprints/…              raw.py

Source: counted-usage contract.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

from metronome.counter.usage import Came, Invalid, read, refuse_servers_own
from metronome.dialects import Dialect, Doors
from metronome.dialects.counted import analytics, answers, moderation, raw, reports
from metronome.dialects.counted.paths import description, paths
from metronome.errors import BadPayload, Forbidden, UnsupportedMedia
from metronome.wire.access import current, needs, origin
from metronome.wire.request import body, json_answer, let_pages_call

__all__ = ["DIALECT"]

NAME = "counted"

USAGE = f"{answers.BASE}/events/counted_usage/"

_MEDIA = ("application/vnd.api+json", "application/json")


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    answers.render_errors(routes)
    let_pages_call(routes, USAGE)

    @routes.route(USAGE, methods=["POST"], provide_automatic_options=False)
    @needs("write")
    def counted_usage() -> Response:
        given = _posted(doors)
        came = origin(NAME)
        try:
            usage = doors.counter.usages.event(
                given, Came(came.address, request.headers.get("User-Agent", ""), doors.clock())
            )
        except Invalid as error:
            raise _as_json_api(error) from None
        receipt = doors.intake.accept([usage], came)
        if receipt.rejected:
            raise BadPayload(receipt.rejected[0]["reason"], field=receipt.rejected[0]["field"])
        return Response(status=201)

    @routes.get(f"{answers.BASE}/openapi.json")
    @needs("public")
    def metrics_openapi() -> Response:
        found = json_answer(description())
        found.headers["Cache-Control"] = "immutable, public, max-age=604800"
        return found

    reports.add_routes(routes, doors)
    analytics.add_routes(routes, doors)
    moderation.add_routes(routes, doors)
    raw.add_routes(routes, doors)
    return routes


def _posted(doors: Doors) -> dict[str, Any]:
    """The attributes of a usage, checked. Raises BadPayload, Invalid, Forbidden or UnsupportedMedia."""
    if request.mimetype not in _MEDIA:
        raise UnsupportedMedia(f"send Content-Type: {_MEDIA[0]}, or {_MEDIA[1]}")
    try:
        posted = orjson.loads(body(request, doors.settings))
    except ValueError as error:
        raise BadPayload(f"JSON parse error - {error}") from None
    try:
        given = read(answers.attributes_of(posted))
    except Invalid as error:
        raise _as_json_api(error) from None
    if current().publishable:
        try:
            refuse_servers_own(given)
        except Invalid as error:
            (path, detail), *_ = error.problems
            raise Forbidden(f"{'.'.join(path)}: {detail}") from None
    return given


def _as_json_api(error: Invalid) -> answers.Invalid:
    """Each problem with a pointer to its place; one of the whole usage has none."""
    return answers.Invalid(
        [
            {"source": {"pointer": "/".join(("/data/attributes", *path))}, "detail": detail}
            if path
            else {"detail": detail}
            for path, detail in error.problems
        ]
    )


DIALECT = Dialect(
    name=NAME,
    meaning="Usage of a repository's items, anonymised, and the reports made of it.",
    blueprint=blueprint,
    paths=paths,
)
