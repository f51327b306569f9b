"""The Flask application: hands the two doors to every dialect, and turns every error into the one error body."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from elasticsearch import Elasticsearch
from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, HTTPException

from metronome.dialects import Doors, tick
from metronome.errors import BadPayload, MetronomeError, error_body
from metronome.intake import Intake
from metronome.logs import Sparing
from metronome.metrics import Metrics
from metronome.query import Engine
from metronome.settings import Settings
from metronome.spool.spool import Spool
from metronome.web import health, openapi

log = logging.getLogger("metronome.web")

#: Every front door; a new one is a module and a line here.
DIALECTS = (tick,)


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
    """The application of one worker. `opened` is closed by whoever opened it."""
    app = Flask("metronome.web", static_folder=None)
    # One more than is taken: werkzeug cuts a chunked body here without a word; so one that was cut can be told.
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes + 1
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.url_map.converters["item"] = tick.ItemConverter
    metrics = metrics or Metrics()
    intake = Intake(settings, opened.spool, clock=clock)
    doors = Doors(intake, Engine(opened.client, settings), settings, metrics, clock)
    for dialect in DIALECTS:
        app.register_blueprint(dialect.blueprint(doors))
    app.register_blueprint(health.blueprint(settings, opened.spool, opened.client, metrics))
    for blueprint in openapi.blueprints():
        app.register_blueprint(blueprint)
    _answer_errors(app)
    _count_requests(app, metrics)
    return app


def _answer_errors(app: Flask) -> None:
    sparing = Sparing()

    @app.errorhandler(MetronomeError)
    def ours(error: MetronomeError) -> Response:
        if error.status >= 500 and (unsaid := sparing.turn(error.message)) is not None:
            extra = {"path": request.path, "unsaid": unsaid}
            log.error(error.message, extra=extra, exc_info=error if error.status == 500 else None)
        # What Elasticsearch said, and settings' names, are for the operator's log.
        message = error.message if error.status != 500 else "the gateway can't answer this; its log says why"
        body = error.body() if error.status != 500 else error_body(500, error.code, message)
        response = _json(body, error.status)
        if error.retry_after_s is not None:
            response.headers["Retry-After"] = str(error.retry_after_s)
        return response

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        code = error.name.lower().replace(" ", "_").replace("'", "")
        response = _json(error_body(status, code, _advice(error)), status)
        allowed = error.get_response().headers.get("Allow")
        if allowed:
            response.headers["Allow"] = allowed
        return response

    @app.errorhandler(ParseException)
    @app.errorhandler(ClientDisconnected)
    def cut(error: Exception) -> Response:
        # A chunked body is read when it is asked for, and only then found to be none.
        return _json(BadPayload("the body is cut short, or its chunks can't be read; send it again").body(), 400)

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.exception("unforeseen error", extra={"path": request.path})
        return _json(
            error_body(500, "internal_error", "something went wrong in the gateway; its log has the details"),
            500,
        )


def _advice(error: HTTPException) -> str:
    if error.code == 404:
        return f"there is nothing at {request.path[:100]}; /openapi.json lists the routes"
    if error.code == 405:
        return f"{request.method} isn't served at {request.path[:100]}; /openapi.json lists the routes"
    return error.description or error.name


def _json(body: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")


def _count_requests(app: Flask, metrics: Metrics) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # The rule, not the path: labels must not grow with the ids that are asked for.
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.requests.labels(route, str(response.status_code)).inc()
        metrics.request_seconds.labels(route).observe(time.perf_counter() - g.started)
        return response
