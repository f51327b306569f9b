"""The pages for people: the list of applications, and one page an application. Source: tracker contract, 2.3 to 2.5.

A page holds its own text. Its script asks `/api/application/<name>` for what the chart shows. Nothing comes from
another host, and no script or style stands in the page itself.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, render_template, request

from metronome.client.retriever import DEFAULT_INDEX
from metronome.dialects import Doors
from metronome.dialects.applications.retrieve import Counts, Retrieving
from metronome.dialects.applications.tracked import APPLICATION, SelfTracking
from metronome.wire.access import bound_app, needs

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # The figures are as of now, and each view is tracked.
    "Cache-Control": "no-store",
}

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}

#: The files of `/static`, by name. They are read once.
FILES = {
    path.name: path.read_bytes()
    for path in sorted((Path(__file__).parent / "static").iterdir())
    if path.suffix in TYPES
}


def add_routes(routes: Blueprint, doors: Doors, tracked: SelfTracking) -> None:
    @routes.get("/applications")
    @needs("read")
    def applications() -> Response:
        is_tracked = tracked.note("list_applications")
        found = Retrieving(doors.ask, DEFAULT_INDEX, "").applications()
        return _page("applications.html", applications=_with_own(found, is_tracked=is_tracked))

    @routes.get("/application/<application:name>")
    @needs("read")
    def application(name: str) -> Response:
        event, of_property = request.args.get("event_name", ""), request.args.get("property", "")
        tracked.note("app_details", ev_name=event, prop_name=of_property)
        return _page("application.html", name=name, event_name=event, property_name=of_property)

    @needs("public")
    def static_file(file: str) -> Response:
        found = FILES[file]
        response = Response(found, content_type=TYPES[Path(file).suffix])
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(hashlib.blake2b(found, digest_size=12).hexdigest())
        response.make_conditional(request)
        return response

    for file in FILES:
        routes.add_url_rule(f"/static/{file}", f"static_{file.replace('.', '_')}", static_file, defaults={"file": file})


def _with_own(found: Counts, *, is_tracked: bool) -> Counts:
    """The list with the web application in it, whose first event is on disk but may not be searchable yet."""
    known = any(row["name"] == APPLICATION for row in found)
    return found if known or not is_tracked or bound_app() else [*found, {"name": APPLICATION, "count": 1}]


def _page(template: str, **given: Any) -> Response:
    response = Response(
        render_template(template, link=lambda name: quote(name, safe=""), **given),
        content_type="text/html; charset=utf-8",
    )
    response.headers.update(_HEADERS)
    return response
