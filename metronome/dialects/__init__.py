"""Each dialect is a package or module: schemas (the wire), pure translations, routes. It uses only the two doors.

It ends in one value, a `Dialect`, which says everything that the application and its description must know. To add one,
write it and name that value in `DIALECTS` of web/app.py; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Blueprint
from werkzeug.routing import BaseConverter

from metronome.counter import Counter
from metronome.intake import Intake
from metronome.keyring import Keyring
from metronome.metrics import Metrics
from metronome.people import People
from metronome.query import Ask
from metronome.reports import Reports
from metronome.saved import Saved
from metronome.segments import Segments
from metronome.settings import Settings

#: OpenAPI path items: `{"/tick": {"post": {operation}}}`. A schema in it may be a marshmallow class.
Paths = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Doors:
    """The arguments of a dialect: the doors in and out, people, COUNTER, and what it may use of the installation."""

    intake: Intake
    ask: Ask
    settings: Settings
    metrics: Metrics
    clock: Callable[[], datetime]
    people: People
    segments: Segments
    counter: Counter
    reports: Reports
    keyring: Keyring
    saved: Saved


@dataclass(frozen=True)
class Dialect:
    """A dialect's description of itself.

    `blueprint` makes its routes; each view says its scope by `needs`. `paths` describes the routes for OpenAPI: the
    description adds the tag, the scope as `security`, and what a request for that scope may be refused for.
    """

    name: str
    meaning: str
    blueprint: Callable[[Doors], Blueprint]
    paths: Callable[[], Paths]
    #: URL converters by the name that routes use them under, `<item:id>`.
    converters: Mapping[str, type[BaseConverter]] = field(default_factory=dict)


_ERRORS = {
    400: "The body or a parameter can't be read",
    401: "A key is missing, or isn't valid",
    403: "The key isn't for this scope, origin, network or application",
    404: "There is nothing here",
    409: "It was changed by somebody else since it was read, or exists already",
    411: "No length was sent",
    413: "The body, the batch or what it inflates to is too large",
    415: "The media type or encoding isn't understood",
    422: "Every event was refused; the receipt says why",
    429: "More than the rate of the address or key; Retry-After says when to return",
    503: "The spool is full or Elasticsearch is away; Retry-After says when to return",
}


def errors(*statuses: int) -> dict[str, Any]:
    """OpenAPI responses for these statuses, all with the project's one error body."""
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(s): {"description": _ERRORS[s], "content": {"application/json": {"schema": schema}}} for s in statuses}
