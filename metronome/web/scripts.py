"""The clients for pages: `/apis/javascript.js`, its later name `/apis/javascript/client.js`, and `/apis/video.js`.

`apis/` holds what is built from clients/javascript/. It is kept with the package, so that a gateway serves the clients
of its own version.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response

from metronome.web.assets import Asset
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs

PATHS = ("/apis/javascript.js", "/apis/javascript/client.js")

#: Path to the file of `apis/`.
FILES = {**dict.fromkeys(PATHS, "client.js"), "/apis/video.js": "video.js"}

_TYPE = "text/javascript"

_HEADERS = {
    # A page may load it from here whatever its own isolation is, and check it by its integrity attribute.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

CHAPTER = Chapter(
    "clients",
    "The clients that the gateway serves.",
    {
        **{path: {"get": plain("The JavaScript client for pages", "A classic script", _TYPE)} for path in PATHS},
        "/apis/video.js": {"get": plain("The client for videos on pages", "A classic script", _TYPE)},
    },
)


def blueprint() -> Blueprint:
    """The routes. Each file is read once, and packed once."""
    routes = Blueprint("scripts", __name__)
    views = {name: _view(name) for name in FILES.values()}
    for path, name in FILES.items():
        routes.add_url_rule(path, name.partition(".")[0], views[name])
    return routes


def _view(name: str) -> Callable[[], Response]:
    script = Asset((Path(__file__).parent / "apis" / name).read_bytes(), _TYPE, _HEADERS)

    @needs("public")
    def client() -> Response:
        return script.answer()

    return client
