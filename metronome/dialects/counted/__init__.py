"""Counted usage: what a repository's pages and servers say of the use of its items, under `/_/metrics/`.

    POST /_/metrics/events/counted_usage/     201 and no body
        schemas.py      what may be sent
        translate.py    a usage -> an event, with hashes where a visitor was
        answers.py      JSON:API: errors of all routes below /_/metrics/
    GET  reports/, reports/<id>/recent/       reports.py
    GET  query/…, preprints/…                 analytics.py
    GET  registries_moderation/transitions/   moderation.py
    *    raw/…, POST preprints/…              raw.py

Source: counted-usage contract.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, request

from metronome.counter.identities import Identities
from metronome.dialects import Dialect, Doors
from metronome.dialects.counted import analytics, answers, moderation, raw, reports, translate
from metronome.dialects.counted.paths import description, paths
from metronome.dialects.counted.schemas import read_usage
from metronome.errors import BadPayload, Forbidden, UnsupportedMedia
from metronome.wire.access import current, needs, origin
from metronome.wire.request import body, json_answer, let_pages_call

__all__ = ["DIALECT"]

NAME = "counted"

USAGE = f"{answers.BASE}/events/counted_usage/"

_MEDIA = ("application/vnd.api+json", "application/json")

#: What only a server may say: a page's script could say anything.
_SERVERS_ONLY = ("timestamp", "customer_id", "user_id", "user_cookie", "ip", "user_agent", "status")


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    identities = Identities(doors.settings.home)
    answers.render_errors(routes)
    let_pages_call(routes, USAGE)

    @routes.route(USAGE, methods=["POST"], provide_automatic_options=False)
    @needs("write")
    def counted_usage() -> Response:
        given = _posted(doors)
        came = origin(NAME)
        usage = translate.usage(
            given,
            translate.Came(came.address, request.headers.get("User-Agent", ""), doors.clock()),
            doors.counter.customers,
            identities,
            doors.settings.url,
        )
        facts = {**came.facts, **usage.facts}
        receipt = doors.intake.accept(
            [usage.event], replace(came, agent=usage.agent or None, facts=facts, steps=usage.steps)
        )
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
    given = read_usage(posted)
    if current().publishable:
        for name in _SERVERS_ONLY:
            if given.get("counter", {}).get(name) is not None:
                raise Forbidden(f"counter.{name}: a publishable key may not say this; send it with a key of a server")
    return given


DIALECT = Dialect(
    name=NAME,
    meaning="Usage of a repository's items, anonymised, and the reports made of it.",
    blueprint=blueprint,
    paths=paths,
)
