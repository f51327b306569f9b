"""Tick and tock: Metronome's own dialect.

    POST /tick                 post.py    events in: JSON object, array, NDJSON, form, query parameters, gzip of each
    GET  /tock/<id>[.json]     ask.py     views by date, downloads by format, referers of one item; also /tocks/
                               paths.py   both as OpenAPI operations

Source: tick/tock contract. Where it lets the answer to a tick be the record itself, ours is a receipt, and the
record comes with `?echo=1`.
"""

from flask import Blueprint

from metronome.dialects import Dialect, Doors
from metronome.dialects.tick import ask, post
from metronome.dialects.tick.paths import paths

__all__ = ["DIALECT"]


def blueprint(doors: Doors) -> Blueprint:
    """The dialect's routes, bound to the two doors."""
    routes = Blueprint(post.NAME, __name__)
    post.add_routes(routes, doors)
    ask.add_routes(routes, doors)
    return routes


DIALECT = Dialect(
    name=post.NAME,
    meaning="Post usage events as ticks, ask for an item's numbers as a tock.",
    blueprint=blueprint,
    paths=paths,
    converters={"item": ask.ItemConverter},
)
