"""The client for pages: `/apis/javascript.js`, and `/apis/javascript/client.js`, a later name of the same.

`apis/client.js` is built from clients/javascript/ and kept with the package, so that a gateway serves the client of
its own version.
"""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response

from metronome.web.assets import Asset
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs

PATHS = ("/apis/javascript.js", "/apis/javascript/client.js")

_TYPE = "text/javascript"

_HEADERS = {
    # A page may load it from here whatever its own isolation is, and check it by its integrity attribute.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

CHAPTER = Chapter(
    "clients",
    "The clients that the gateway serves.",
    {path: {"get": plain("The JavaScript client for pages", "A classic script", _TYPE)} for path in PATHS},
)


def blueprint() -> Blueprint:
    """The two routes. The file is read once, and packed once."""
    routes = Blueprint("scripts", __name__)
    script = Asset((Path(__file__).parent / "apis" / "client.js").read_bytes(), _TYPE, _HEADERS)

    @needs("public")
    def client() -> Response:
        return script.answer()

    for path in PATHS:
        routes.add_url_rule(path, view_func=client)
    return routes
