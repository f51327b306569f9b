"""The description of the HTTP interface, put together from what dialects and rooms say of their routes.

No dialect is known here by name. The scope of an operation is read from the mark of the view that serves it, so the
description always names the scope that is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app
from flask_swagger_ui import get_swaggerui_blueprint
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException

from metronome import __version__
from metronome.dialects import Paths, errors
from metronome.errors import SetupError
from metronome.wire.access import needs
from metronome.wire.request import json_answer

TRY = "/try"


class ErrorDetailSchema(Schema):
    status = fields.Integer()
    code = fields.String(metadata={"description": "Stable name of the error, for programs"})
    message = fields.String(metadata={"description": "What is wrong, where, and what to do"})
    field = fields.String(metadata={"description": "The parameter or property at fault, if one is"})


class ErrorSchema(Schema):
    """The one error body of all routes."""

    error = fields.Nested(ErrorDetailSchema)


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key as `Authorization: Bearer mt_…`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "A key as `X-Api-Key`"},
    "basic": {"type": "http", "scheme": "basic", "description": "Any user name, and a key as the password"},
}


@dataclass(frozen=True)
class Chapter:
    """The routes of one dialect or room, under one tag of the description."""

    name: str
    meaning: str
    paths: Paths


def plain(summary: str, description: str, media_type: str = "application/json") -> dict[str, Any]:
    """An operation that takes nothing and answers 200."""
    content = {media_type: {"schema": {"type": "string" if media_type.startswith("text") else "object"}}}
    return {"summary": summary, "responses": {"200": {"description": description, "content": content}}}


def describe(app: Flask, chapters: list[Chapter]) -> dict[str, Any]:
    """The OpenAPI 3.1 document. Raises SetupError where a described operation isn't served."""
    spec = APISpec(
        title="Metronome",
        version=__version__,
        openapi_version="3.1.0",
        info={"description": "Usage events in, numbers out, over the Elasticsearch you already run."},
        plugins=[MarshmallowPlugin()],
    )
    spec.components.schema("Error", schema=ErrorSchema)
    for name, scheme in _SECURITY.items():
        spec.components.security_scheme(name, scheme)
    for chapter in chapters:
        spec.tag({"name": chapter.name, "description": chapter.meaning})
        for path, operations in chapter.paths.items():
            spec.path(path, operations=dict(_with_scopes(app, chapter.name, path, operations)))
    return spec.to_dict()


def _with_scopes(
    app: Flask, tag: str, path: str, operations: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for method, operation in operations.items():
        scope = scope_of(app, method, _example(path, operation))
        if scope == "public":
            yield method, {**operation, "tags": [tag], "security": []}
            continue
        # Any of the three ways to send a key will do. OpenAPI lets scopes stand beside any scheme since 3.1.
        security = [{name: [scope]} for name in _SECURITY]
        responses = {**operation["responses"], **errors(401, 403, 429)}
        yield method, {**operation, "tags": [tag], "security": security, "responses": responses}


def scope_of(app: Flask, method: str, path: str) -> str:
    """The scope of the view that serves this request."""
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method=method.upper())
    except HTTPException as error:
        raise SetupError(f"{method.upper()} {path} is described, but not served ({error.name})") from error
    view: Any = app.view_functions[endpoint]
    return str(view.scope)


def _example(path: str, operation: Mapping[str, Any]) -> str:
    """The path with a value for each parameter: the `example` of its description, or 1."""
    for parameter in operation.get("parameters", ()):
        if parameter.get("in") == "path":
            path = path.replace("{" + parameter["name"] + "}", str(parameter.get("example", 1)))
    return path


def blueprints() -> list[Blueprint]:
    """`/openapi.json`, and a page at /try where the routes can be called."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    @needs("public")
    def document() -> Response:
        response = json_answer(current_app.extensions["openapi"]())
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    page = get_swaggerui_blueprint(TRY, "/openapi.json", config={"app_name": "Metronome"})

    # The package declares its own view, which can be marked only once it stands in the application.
    page.record_once(lambda state: needs("public")(state.app.view_functions[f"{page.name}.show"]) and None)
    return [routes, page]
