"""The pages for analysts: their scripts and style below `/dashboard/`, and the chart library out of plotly's wheel.

`GET /` (front.py) is the page that loads them. The scripts ask `/query`, `/tock` and the other routes as any client
does, with the key that the user has typed in, so that what a page shows is what its user may read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response

from metronome.web.assets import Asset
from metronome.wire.access import needs

#: Where the scripts stand.
FOLDER = Path(__file__).parent / "pages"

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def blueprint() -> Blueprint:
    """A route for each file of the pages, and `/dashboard/plotly.js`."""
    routes = Blueprint("dashboard", __name__)
    for path in sorted(FOLDER.iterdir()):
        asset = Asset(path.read_bytes(), _TYPES[path.suffix])
        routes.add_url_rule(
            f"/dashboard/{path.name}", f"page_{path.stem}_{path.suffix[1:]}", needs("public")(_serve(asset))
        )

    @routes.get("/dashboard/plotly.js")
    @needs("public")
    def plotly() -> Response:
        return _plotly().answer()

    return routes


def _serve(asset: Asset) -> Callable[[], Response]:
    def serve() -> Response:
        return asset.answer()

    return serve


@cache
def _plotly() -> Asset:
    """Five megabytes, so they are read and packed with the first page that draws a chart."""
    return Asset(files("plotly").joinpath("package_data", "plotly.min.js").read_bytes(), "text/javascript")
