"""`/_/metrics/raw/` and searches of preprints: Elasticsearch's own requests and answers, for administrators.

`raw/` is off unless METRONOME_RAW=yes, since it can do all that the gateway's own user in Elasticsearch can.
"""

from __future__ import annotations

import re
from typing import Any

import orjson
from flask import Blueprint, Response, request

from metronome.dialects import Doors
from metronome.dialects.counted.answers import BASE, Invalid, attributes_of
from metronome.errors import BadPayload, Forbidden, NotFound
from metronome.wire.access import current, needs
from metronome.wire.request import body, json_answer

_PATH = re.compile(r"[a-z0-9._/]*")

#: Users, roles and keys of Elasticsearch outlive a key of this gateway.
_CLOSED = "_security"

_MALFORMED = "Malformed elasticsearch query."

#: Keys with which a search reads from other indices than those that it is sent to.
_ELSEWHERE = frozenset({"index", "_index", "target_index"})


def add_routes(routes: Blueprint, doors: Doors) -> None:
    @routes.route(
        f"{BASE}/raw/", methods=["GET", "POST", "PUT", "DELETE"], defaults={"path": ""}, provide_automatic_options=False
    )
    @routes.route(f"{BASE}/raw/<path:path>", methods=["GET", "POST", "PUT", "DELETE"], provide_automatic_options=False)
    @needs("admin")
    def raw(path: str) -> Response:
        _check_bounds()
        if not current().key:
            raise Forbidden("raw/ wants a key of scope admin, also where nothing else wants one")
        if doors.settings.raw != "yes":
            raise NotFound("Endpoint is disabled.")
        if request.method == "DELETE":
            raise Invalid([{"detail": "DELETE not supported. Use GET/POST/PUT", "status": "400"}])
        if not _PATH.fullmatch(path):
            raise NotFound("a path below raw/ has small letters, digits and . _ / alone")
        if _CLOSED in path.split("/"):
            raise Forbidden("users, roles and keys of Elasticsearch can't be reached through the gateway")
        passed = doors.reports.raw.send(request.method, path, request.args, _sent(doors))
        if isinstance(passed.body, str):
            return Response(passed.body, passed.status, content_type="text/plain; charset=utf-8")
        return json_answer(passed.body, passed.status)

    @routes.post(f"{BASE}/preprints/<kind>/")
    @needs("admin")
    def search_preprints(kind: str) -> Response:
        if kind not in ("views", "downloads"):
            raise NotFound("there are preprints/views/ and preprints/downloads/")
        _check_bounds()
        query = attributes_of(_sent(doors) or {}).get("query")
        if not isinstance(query, dict) or _reaches_out(query):
            raise Invalid([{"detail": _MALFORMED, "status": "400"}])
        passed = doors.reports.raw.search({**query, "query": _of_usage(kind.removesuffix("s"), query.get("query"))})
        if passed.status != 200:
            raise Invalid([{"detail": _reason(passed.body), "status": "400"}])
        return json_answer(passed.body)


def _check_bounds() -> None:
    """Raises Forbidden for a key of one application: a search could leave it."""
    if current().app:
        raise Forbidden("a key that is bound to an application can't ask Elasticsearch itself")


def _sent(doors: Doors) -> Any | None:
    """The JSON of the request; None without a body. Raises BadPayload."""
    if not request.content_length and "Transfer-Encoding" not in request.headers:
        return None
    try:
        return orjson.loads(body(request, doors.settings))
    except ValueError as error:
        raise BadPayload(f"JSON parse error - {error}") from None


def _of_usage(event: str, query: Any) -> dict[str, Any]:
    """The counted usages of one kind, of those that meet `query`."""
    usage = [{"term": {"event": event}}, {"exists": {"field": "counter.key"}}]
    return {"bool": {"filter": usage, **({"must": query} if query else {})}}


def _reaches_out(query: Any) -> bool:
    """Whether any part of a search names an index."""
    if isinstance(query, list):
        return any(map(_reaches_out, query))
    return isinstance(query, dict) and (
        not _ELSEWHERE.isdisjoint(query) or any(_reaches_out(part) for part in query.values())
    )


def _reason(answer: Any) -> str:
    """What Elasticsearch says is wrong at the root."""
    try:
        return str(answer["error"]["root_cause"][0]["reason"])
    except (LookupError, TypeError):
        return _MALFORMED
