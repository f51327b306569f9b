"""Answers below `/_/metrics/`, in JSON:API, errors too."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint, Response, request

BASE = "/_/metrics"

JSON_API = "application/vnd.api+json"

META = {"version": "2.0"}

#: An error object of JSON:API: `detail`, `source`, `title`, `status`.
Error = dict[str, Any]


#: The error of a request without a resource, as the original says it.
_NO_DATA: Error = {
    "source": {"pointer": "/data"},
    "detail": "Request must include /data.",
    "meta": {},
    "status": "400",
}


class Invalid(Exception):
    """A request whose parts are wrong; each error says which."""

    def __init__(self, errors: list[Error]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def api_answer(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, content_type=f"{JSON_API}; charset=utf-8")


def errors_answer(errors: list[Error], status: int = 400) -> Response:
    return api_answer({"errors": errors, "meta": META}, status)


def attributes_of(posted: Any) -> Any:
    """The attributes of a resource in JSON:API; raises Invalid."""
    data = posted.get("data") if isinstance(posted, dict) else None
    if not isinstance(data, dict) or not data:
        raise Invalid([_NO_DATA])
    attributes = data.get("attributes")
    if not isinstance(attributes, dict):
        pointer = "/data/attributes"
        raise Invalid([{"source": {"pointer": pointer}, "detail": f"Request must include {pointer}."}])
    return attributes


def render_errors(routes: Blueprint) -> None:
    """Every error below BASE as JSON:API, by whomever it was raised."""

    @routes.errorhandler(Invalid)
    def invalid(error: Invalid) -> Response:
        return errors_answer(error.errors)

    @routes.after_app_request
    def translated(response: Response) -> Response:
        if (
            not request.path.startswith(f"{BASE}/")
            or response.status_code < 400
            or response.mimetype != "application/json"
        ):
            return response
        said = (response.get_json(silent=True) or {}).get("error")
        # What Elasticsearch itself answered, below raw/, has another form and stays as it is.
        if isinstance(said, dict) and "message" in said:
            found: Error = {"status": str(response.status_code), "detail": said["message"]}
            if said.get("field"):
                found["source"] = {"pointer": f"/data/attributes/{said['field'].replace('.', '/')}"}
            response.set_data(orjson.dumps({"errors": [found], "meta": META}))
            response.content_type = f"{JSON_API}; charset=utf-8"
        return response
