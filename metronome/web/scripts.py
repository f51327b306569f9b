"""The clients for pages: `/apis/javascript.js`, its later name
`/apis/javascript/client.js`, and `/apis/video.js`.

`apis/` holds what is built from clients/javascript/. It is kept with the package, so that a gateway serves the clients
of its own version.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response, request

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
    "X-Content-Type-Options": "nosniff",
    # The address stays the same from version to version: an hour, then the ETag is asked for.
    "Cache-Control": "public, max-age=3600",
    "Vary": "Accept-Encoding",
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
    script = (Path(__file__).parent / "apis" / name).read_bytes()
    packed = gzip.compress(script, mtime=0)
    etag = hashlib.blake2b(script, digest_size=12).hexdigest()

    @needs("public")
    def client() -> Response:
        wants_packed = request.accept_encodings.quality("gzip") > 0
        response = Response(packed if wants_packed else script, content_type=f"{_TYPE}; charset=utf-8")
        response.headers.update(_HEADERS)
        if wants_packed:
            response.headers["Content-Encoding"] = "gzip"
        response.set_etag(f"{etag}-gzip" if wants_packed else etag)
        response.make_conditional(request)
        return response

    return client
