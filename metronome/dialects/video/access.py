"""Who may ask for figures of videos, and what refusals look like.

    METRICS_AUTH_ENABLED=true     whoever knows METRICS_USER and METRICS_PASSWORD; no key is asked for
    anything else                 as everywhere: nobody needs a key, or everybody does (`wire.access`)

Any page may read the answers. Source: video contract, section 2.2.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from collections.abc import Callable, Sequence
from functools import wraps
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, request

from metronome.errors import BadQuestion, MetronomeError
from metronome.settings import Settings
from metronome.wire.access import Scope, needs
from metronome.wire.request import error_answer, json_answer

log = logging.getLogger("metronome.web")

#: Where the original's routes are.
PREFIX = "/api/v1/"

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
}
_PREFLIGHT = {
    **_CORS,
    "Access-Control-Allow-Methods": "GET, POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "content-type, authorization, x-api-key",
    "Access-Control-Max-Age": "86400",
}


class Access:
    """Adds routes to a blueprint."""

    def __init__(self, routes: Blueprint, settings: Settings) -> None:
        self._routes = routes
        self._expected = (
            f"{settings.metrics_user}:{settings.metrics_password}".encode() if settings.metrics_auth else None
        )
        routes.after_app_request(_finish)
        routes.register_error_handler(MetronomeError, _as_detail)

    def add(self, path: str, view: Callable[..., Any], scope: Scope, methods: Sequence[str]) -> None:
        """Serve the path, and the preflight of a page that asks for it."""
        endpoint = f"{methods[0]} {path}".replace(".", "_")
        checked = needs(scope)(view) if self._expected is None else needs("public")(self._basic(view))
        self._routes.add_url_rule(path, endpoint, checked, methods=list(methods), provide_automatic_options=False)
        self._routes.add_url_rule(path, f"preflight {endpoint}", _preflight, methods=["OPTIONS"])

    def _basic(self, view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def checked(*given: Any, **named: Any) -> Any:
            assert self._expected is not None
            if not hmac.compare_digest(_credentials(), self._expected):
                refused = Response("Unauthorized", 401, content_type="text/plain; charset=utf-8")
                refused.headers["WWW-Authenticate"] = 'Basic realm="Application"'
                return refused
            return view(*given, **named)

        return checked


def _credentials() -> bytes:
    """`user:password` of Basic authentication, or nothing."""
    kind, _, given = request.headers.get("Authorization", "").strip().partition(" ")
    if kind.lower() != "basic":
        return b""
    try:
        return base64.b64decode(given.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""


@needs("public")
def _preflight(**_: Any) -> Response:
    return Response(status=204, headers=_PREFLIGHT)


def _finish(response: Response) -> Response:
    """Answers below `/api/v1`, by whomever: any page may read them, and errors are as the original has them."""
    if not request.path.startswith(PREFIX):
        return response
    if "Access-Control-Allow-Origin" not in response.headers:
        response.headers.extend(_CORS)
    found = response.get_json(silent=True) if response.status_code >= 400 and response.is_json else None
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        # The application's own error: a path that there isn't, a method that isn't served.
        detail = HTTPStatus(response.status_code).phrase
        response.set_data(json_answer({"errors": {"detail": detail}}).data)
    return response


def _as_detail(error: MetronomeError) -> Response:
    if error.status == 500:
        # Its text names settings, files and indices. Only the operator may see those.
        log.error(str(error), extra={"path": request.path}, exc_info=error)
        return json_answer({"errors": {"detail": "Internal Server Error"}}, 500)
    response = error_answer(error)
    wrong = {"error": error.message} if isinstance(error, BadQuestion) else {"errors": {"detail": error.message}}
    response.set_data(json_answer(wrong).data)
    return response
