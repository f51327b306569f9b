"""`GET /videos/`: two small videos, watched by the gateway's own client, and their figures beside them.

The same page is at `/` if METRONOME_BIND says port 3000, where the mave metrics server has it. It uses the sample key,
so it shows nothing new once that is revoked.

videos/ holds what the page needs. Its two films were made by
`ffmpeg -f lavfi -i testsrc=size=320x180:rate=10:duration=12.5 -c:v libvpx-vp9 -b:v 0 -crf 45 -g 20` (and smptebars).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Blueprint, Response, request

from metronome.settings import Settings
from metronome.video import sample
from metronome.web.openapi import Chapter, plain
from metronome.wire.access import needs

HOME = "/videos/"

#: File to its media type.
FILES = {
    "page.js": "text/javascript; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "clock.webm": "video/webm",
    "stripes.webm": "video/webm",
}

_FOLDER = Path(__file__).parent / "videos"

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

CHAPTER = Chapter(
    "example",
    "A page with videos that are watched, and the files that it needs.",
    {
        HOME: {"get": plain("A page with videos, and their figures", "The page", "text/html")},
        **{
            f"{HOME}{name}": {"get": plain(f"`{name}` of that page", "The file", kind.partition(";")[0])}
            for name, kind in FILES.items()
        },
    },
)


def blueprint(settings: Settings) -> Blueprint:
    """The page and its files."""
    routes = Blueprint("example", __name__)
    page = (_FOLDER / "page.html").read_text().replace("{{ key }}", sample.KEY)

    @needs("public")
    def show() -> Response:
        return Response(page, content_type="text/html; charset=utf-8", headers=_HEADERS)

    routes.add_url_rule(HOME, view_func=show)
    if settings.bind.endswith(":3000"):
        routes.add_url_rule("/", "home", show)
    for name in FILES:
        routes.add_url_rule(HOME + name, name.replace(".", "_"), _file(name))
    return routes


def _file(name: str) -> Callable[[], Response]:
    data = (_FOLDER / name).read_bytes()

    @needs("public")
    def file() -> Response:
        response = Response(data, content_type=FILES[name], headers=_HEADERS)
        # A browser seeks in a video by asking for ranges of it.
        response.make_conditional(request, accept_ranges=True, complete_length=len(data))
        return response

    return file
