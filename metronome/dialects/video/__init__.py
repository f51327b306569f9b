"""The video API: plays, engagement, sources, who watches now, and the keys that players join with.

    access.py       Basic authentication, CORS, errors in the original's form
    read.py         arguments from a body or the query string
    translate.py    arguments to questions, answers to rows
    keys.py         POST, GET, DELETE /api/v1/keys
    paths.py        the routes for OpenAPI

Players themselves join over a websocket (`metronome.streams.video`). Source: video contract, section 2.2.
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from metronome.dialects import Dialect, Doors
from metronome.dialects.video import keys, translate
from metronome.dialects.video.access import Access
from metronome.dialects.video.keys import KeyConverter
from metronome.dialects.video.paths import paths
from metronome.dialects.video.read import arguments
from metronome.event.privacy import Privacy
from metronome.wire.request import json_answer

__all__ = ["DIALECT"]

NAME = "video"


def blueprint(doors: Doors) -> Blueprint:
    routes = Blueprint(NAME, __name__)
    access = Access(routes, doors.settings)
    privacy = Privacy(doors.settings.keep_fields, doors.settings.keep_parameters)
    for path, (to_question, from_answer) in translate.ROUTES.items():
        _add(routes, access, doors, privacy, path, to_question, from_answer)
    keys.add(routes, access, doors)
    return routes


def _add(
    routes: Blueprint,
    access: Access,
    doors: Doors,
    privacy: Privacy,
    path: str,
    to_question: translate.ToQuestion,
    from_answer: translate.FromAnswer,
) -> None:
    def answer() -> Response:
        question = to_question(arguments(request, doors.settings), doors.clock(), privacy)
        (found,) = doors.ask(question)
        return json_answer(from_answer(found))

    access.add(path, answer, "read", methods=["GET", "POST"])


DIALECT = Dialect(
    name=NAME,
    meaning="Figures of videos, as the mave metrics server gives them, and more.",
    blueprint=blueprint,
    paths=paths,
    converters={"playerkey": KeyConverter},
)
