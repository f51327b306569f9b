"""The Flask application: hands the two doors to every dialect, and turns every error into the one error body."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

from elasticsearch import Elasticsearch
from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, HTTPException

from metronome.counter import Counter
from metronome.dialects import (
    Dialect,
    Doors,
    applications,
    counted,
    openmetrics,
    people,
    privacy,
    query,
    sushi,
    tick,
    video,
)
from metronome.errors import BadPayload, MetronomeError, SetupError, error_body
from metronome.intake import Intake
from metronome.keyring import Keyring
from metronome.logs import Sparing
from metronome.metrics import Metrics
from metronome.people import People
from metronome.query import Ask, of_app, open_door
from metronome.reports import Reports
from metronome.saved import Saved
from metronome.segments import Segments
from metronome.settings import Settings
from metronome.spool.spool import Spool
from metronome.web import dashboard, example, front, health, hosts, limits, live, openapi, scripts
from metronome.web.openapi import Chapter
from metronome.wire.access import bound_app, guard
from metronome.wire.request import error_answer, json_answer

log = logging.getLogger("metronome.web")

#: Every front door. To add one, write its room and name its description here.
DIALECTS: tuple[Dialect, ...] = (
    tick.DIALECT,
    query.DIALECT,
    openmetrics.DIALECT,
    people.DIALECT,
    privacy.DIALECT,
    applications.DIALECT,
    counted.DIALECT,
    sushi.DIALECT,
    video.DIALECT,
)


#: The descriptions of routes that are of no dialect.
CHAPTERS = (health.CHAPTER, limits.CHAPTER, scripts.CHAPTER, live.CHAPTER, example.CHAPTER)


@dataclass
class Opened:
    """What one worker process has open."""

    spool: Spool
    client: Elasticsearch


def create_app(
    settings: Settings,
    opened: Opened,
    metrics: Metrics | None = None,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Flask:
    """The application of one worker. The caller that opened `opened` also closes it.

    Raises SetupError if a view has no scope.
    """
    app = Flask("metronome.web", static_folder=None)
    # Werkzeug cuts a chunked body at this length without a word. One byte more than is allowed shows that it was cut.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    metrics = metrics or Metrics()
    people, unbound = _open_past(settings, opened.client, clock)
    app.extensions["people"] = people
    ask = _for_keys(unbound)
    intake = Intake(settings, opened.spool, metrics, folder=settings.spool_dir, clock=clock)
    keyring = app.extensions["keyring"] = Keyring(settings, opened.client)
    doors = Doors(
        intake,
        ask,
        settings,
        metrics,
        clock,
        people,
        Segments(opened.client, settings),
        Counter(opened.client, settings),
        Reports(opened.client, settings),
        keyring,
        Saved(opened.client, settings, clock),
    )
    _answer_errors(app)
    _count_requests(app, metrics)
    hosts.guard(app, settings)
    for dialect in DIALECTS:
        app.url_map.converters.update(dialect.converters)
        app.register_blueprint(dialect.blueprint(doors))
    # On port 3000 the example page takes the place of the front page, so it is asked first.
    first = (health.blueprint(settings, opened.spool, opened.client, metrics), example.blueprint(settings))
    rooms = (*first, front.blueprint(), *openapi.blueprints())
    files = (scripts.blueprint(), dashboard.blueprint(), live.blueprint())
    for blueprint in (*rooms, limits.blueprint(settings), *files):
        app.register_blueprint(blueprint)
    _check_scopes(app)
    guard(app, settings, keyring)
    chapters = [Chapter(dialect.name, dialect.meaning, dialect.paths()) for dialect in DIALECTS]
    # Made for the first who asks: it would be half of the time that a worker takes to start.
    app.extensions["openapi"] = cache(lambda: openapi.describe(app, [*chapters, *CHAPTERS]))
    return app


def _open_past(settings: Settings, client: Elasticsearch, clock: Callable[[], datetime]) -> tuple[People, Ask]:
    """Everybody, and the door out: over Elasticsearch, and over the archive where there is one."""
    if not settings.archive:
        people = People(settings, client)
        return people, open_door(client, settings, clock, resolver=people)
    # boto3 and DuckDB take memory in each worker: only who has an archive pays for it.
    from metronome.archive.asking import Archive
    from metronome.archive.asking import open_door as with_archive

    archive = Archive(settings, client)
    people = People(settings, client, archive.further())
    alone = lambda: request.args.get("archive") == "no"  # noqa: E731
    return people, with_archive(settings, client, clock, people, alone=alone, archive=archive)


def _for_keys(ask: Ask) -> Ask:
    """Restrict answers to the application that the request's key is bound to, whatever the dialect."""

    def bound(*questions: Any) -> list[Any]:
        app = bound_app()
        return ask(*(of_app(question, app) for question in questions)) if app else ask(*questions)

    return bound


def _check_scopes(app: Flask) -> None:
    """Raise SetupError for a route without a scope, since such a route would be open to everybody."""
    for rule in app.url_map.iter_rules():
        if not hasattr(app.view_functions[rule.endpoint], "scope"):
            raise SetupError(
                f"the route {rule.rule} says no scope: mark its view {rule.endpoint!r} with @needs(…) of wire/access.py"
            )


def _answer_errors(app: Flask) -> None:
    sparing = Sparing()

    @app.errorhandler(MetronomeError)
    def ours(error: MetronomeError) -> Response:
        if error.status >= 500 and (unsaid := sparing.turn(str(error))) is not None:
            extra = {"path": request.path, "unsaid": unsaid}
            log.error(str(error), extra=extra, exc_info=error if error.status == 500 else None)
        if error.status != 500:
            return error_answer(error)
        # The error's own text names settings, files and indices. Only the operator may see those.
        return json_answer(error_body(500, error.code, "the gateway can't answer this; its log says why"), 500)

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = error.name.lower().replace(" ", "_").replace("'", "")
        response = json_answer(error_body(status, code, _advice(error)), status)
        allowed = error.get_response().headers.get("Allow")
        if allowed:
            response.headers["Allow"] = allowed
        return response

    @app.errorhandler(ParseException)
    @app.errorhandler(ClientDisconnected)
    def cut(error: Exception) -> Response:
        # gunicorn reads a chunked body only when the view asks for it, so a broken one is found this late.
        return error_answer(BadPayload("the body is cut short, or its chunks can't be read; send it again"))

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.exception("unforeseen error", extra={"path": request.path})
        return json_answer(
            error_body(500, "internal_error", "something went wrong in the gateway; its log has the details"),
            500,
        )


def _advice(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {request.path[:100]}; /openapi.json lists the routes"
    if error.code == 405:
        return f"{request.method} isn't served at {request.path[:100]}; /openapi.json lists the routes"
    return error.description or error.name


def _count_requests(app: Flask, metrics: Metrics) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # The metric is labelled with the rule. With the path, every id in a request would add a series.
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.requests.labels(route, str(response.status_code)).inc()
        metrics.request_seconds.labels(route).observe(time.perf_counter() - g.started)
        return response
